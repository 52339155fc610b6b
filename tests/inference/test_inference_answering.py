"""Who answers a click: the tuned SAM, the round's, or the shipped one."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_scsam import models
from napari_scsam.core.errors import ModelError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import Box, PointPrompt, Prompts, PromptSet
from napari_scsam.core.stretch import Stretch
from napari_scsam.core.volume import Volume
from napari_scsam.inference.messages import Question
from napari_scsam.inference.segmenter import Segmenter
from napari_scsam.models import Decoded, Embedding
from napari_scsam.propagation.walk import Carried, Trail, iou, propagate

TUNED, ROUND = Path("tuned/0001"), Path("rounds/0001")
PIXELS = np.arange(600.0).reshape(20, 30)
CLICK = PointPrompt(5, 5, 1)
PROPOSED = PointPrompt(9, 9, 1, origin="model", state="proposed", round=1)


class FakeSam:
    """Follows clicks, and remembers what it was asked."""

    name, device, understands_points = "fake", "cpu", True

    def __init__(self, base_hash: str = "b") -> None:
        self.base_hash = base_hash
        self.asked: list[Prompts] = []
        self.classes: list[Any] = []

    def embedding_key(self, image: Any) -> str:
        return f"{self.base_hash}{image.shape}"

    def embed(self, image: Any, cancel: Any = None) -> Embedding:
        view = np.random.default_rng(0).random((20, 30), np.float32)
        return Embedding(None, image.shape[:2], view, self.embedding_key(image))

    def decode(self, embedding: Embedding, prompts: Prompts, *, class_id: Any = None) -> Decoded:
        self.asked.append(prompts)
        self.classes.append(class_id)
        logits = np.full(embedding.shape, 2.0, np.float32)
        return Decoded(logits > 0, logits, 0.9)

    def class_log_odds(self, embedding: Embedding, class_id: int) -> Any:
        """A prior of class 2 alone, sure of all of the plane."""
        return np.full(embedding.shape, 5.0, np.float32) if class_id == 2 else None


class BoxSam(FakeSam):
    understands_points = False


class FakeRound:
    """A round whose SAM does not follow clicks: it answers by its outline."""

    number = 1

    def __init__(self) -> None:
        self.sam: FakeSam = BoxSam()
        self.base: FakeSam = BoxSam()
        self.class_ids: tuple[int, ...] = (1,)
        self.asked: list[Prompts] = []
        self.proposed: list[bool] = []

    def decode(
        self, image: Any, embedding: Any, prompts: Prompts, *_: Any, proposed: bool
    ) -> Decoded:
        self.asked.append(prompts)
        self.proposed.append(proposed)
        logits = np.full(embedding.shape, 3.0, np.float32)
        return Decoded(logits > 0, logits, 0.8, "outline")


class Setup:
    """A segmenter on stand-ins for every model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shipped, self.tuned, self.round = FakeSam(), FakeSam(), FakeRound()
        self.keeps = True  # the tuning, for clicks
        monkeypatch.setattr(models, "load_tuned", lambda folder: self.tuned)
        monkeypatch.setattr(models, "answers_clicks", lambda folder: self.keeps)
        monkeypatch.setattr(models, "load_round", lambda folder: self.round)
        self.segmenter = Segmenter(load_sam=lambda: self.shipped)

    def ask(
        self,
        *points: PointPrompt,
        box: Box | None = None,
        tuned: Path | None = TUNED,
        active: Path | None = None,
    ) -> Any:
        boxes = {} if box is None else {(1, 1): box}
        prompts = PromptSet(points, boxes)
        return self.segmenter.decode(
            Question(("a", Plane()), PIXELS, prompts, active, tuned_folder=tuned)
        )


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Setup:
    pytest.importorskip("torch")
    return Setup(monkeypatch)


def test_the_tuned_one_answers_and_once_it_is_off_the_shipped_one(setup: Setup) -> None:
    setup.ask(CLICK)
    assert (len(setup.tuned.asked), len(setup.shipped.asked)) == (1, 0)
    assert setup.tuned.classes == [1]  # it may know how the class looks
    setup.ask(CLICK, tuned=None)
    assert (len(setup.tuned.asked), len(setup.shipped.asked)) == (1, 1)


def test_a_few_outlines_suggest_what_no_round_knows(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "outlines_of", lambda folder: 5)
    by_round: list[int] = []

    def propose(_round: Any, _image: Any, _embedding: Any, class_id: int, _around: Any) -> Any:
        by_round.append(class_id)
        return [PROPOSED]

    def either(found: Any, tuned: Any, *others: Any) -> Any:
        assert tuned is setup.tuned
        return propose(found, *others)

    monkeypatch.setattr(models, "propose", propose)
    monkeypatch.setattr(models, "propose_either", either)

    def suggest(active: Path | None, tuned: Path | None) -> Any:
        question = Question(("a", Plane()), PIXELS, PromptSet(), active, tuned_folder=tuned)
        return setup.segmenter.suggest(question, (1, 2))

    answer = suggest(None, TUNED)
    assert [(p.class_id, p.kind, p.round) for p in answer.prompts.points] == [(2, "confirm", None)]
    assert answer.from_outlines == 5
    assert (answer.preview == 2).all()
    answer = suggest(ROUND, TUNED)
    assert [(p.class_id, p.round) for p in answer.prompts.points] == [(1, 1), (2, None)]
    assert by_round == [1]
    answer = suggest(None, None)
    assert (answer.prompts.points, answer.from_outlines) == ((), 0)


def test_after_a_round_the_tuned_one_answers_clicks_and_the_round_its_own_suggestions(
    setup: Setup,
) -> None:
    assert setup.ask(PROPOSED, active=ROUND).via == "outline"
    assert not setup.tuned.asked
    setup.ask(CLICK, active=ROUND)
    setup.ask(box=(1, 1, 9, 9), active=ROUND)
    assert [p.box for p in setup.tuned.asked] == [None, (1, 1, 9, 9)]
    # A click that corrects a suggestion is told the outline that it corrects.
    setup.ask(PROPOSED, CLICK, active=ROUND)
    assert setup.tuned.asked[-1].mask is not None and (setup.tuned.asked[-1].mask == 3).all()


def test_what_outlines_suggest_instead_of_the_round_is_answered_by_the_tuned_one(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "outlines_of", lambda folder: 5)
    theirs = replace(PROPOSED, round=None)
    monkeypatch.setattr(models, "propose_either", lambda *_: [theirs])
    question = Question(("a", Plane()), PIXELS, PromptSet(), ROUND, tuned_folder=TUNED)
    answer = setup.segmenter.suggest(question, (1,))
    assert (answer.via, answer.from_outlines) == ("points", 5)
    assert len(setup.tuned.asked) == 1 and not setup.round.asked


@pytest.mark.parametrize("follows", [True, False])
def test_suggestions_are_the_rounds_outline_even_where_its_sam_follows_clicks(
    setup: Setup, follows: bool
) -> None:
    setup.round.sam = FakeSam() if follows else BoxSam()
    assert setup.ask(PROPOSED, tuned=None, active=ROUND).via == "outline"
    assert len(setup.round.asked) == 1 and not setup.round.sam.asked
    # The first correction is SAM's to answer, who is told the outline.
    setup.ask(PROPOSED, CLICK, tuned=None, active=ROUND)
    told = [
        asked.mask is not None and bool((asked.mask == 3).all()) for asked in setup.round.sam.asked
    ]
    assert told == ([True] if follows else [])
    # Nor is the outline drawn again for that.
    assert setup.round.proposed == ([True] if follows else [True, False])


def test_suggestions_of_a_class_that_the_round_does_not_know_are_points_like_others(
    setup: Setup,
) -> None:
    setup.round.class_ids = (2,)
    setup.ask(PROPOSED, active=ROUND)
    assert len(setup.tuned.asked) == 1 and not setup.round.asked


def test_without_a_tuning_the_shipped_one_answers_where_the_rounds_does_not_follow_clicks(
    setup: Setup,
) -> None:
    setup.round.base = FakeSam()
    setup.ask(PROPOSED, CLICK, CLICK, tuned=None, active=ROUND)
    assert len(setup.round.base.asked) == 2 and not setup.round.sam.asked
    assert setup.round.proposed == [True]


def test_a_rounds_sam_answers_the_first_click_and_the_shipped_one_those_that_correct(
    setup: Setup,
) -> None:
    setup.round.sam, setup.round.base = FakeSam(), FakeSam()
    second = replace(CLICK, row=12)
    setup.ask(CLICK, second, tuned=None, active=ROUND)
    assert [len(asked.points) for asked in setup.round.sam.asked] == [1]
    assert [len(asked.points) for asked in setup.round.base.asked] == [2]
    assert (setup.round.base.asked[0].mask == 2).all()
    setup.ask(box=(1, 1, 9, 9), tuned=None, active=ROUND)
    assert len(setup.round.sam.asked) == 2 and len(setup.round.base.asked) == 1
    setup.ask(PROPOSED, CLICK, tuned=None, active=ROUND)
    assert len(setup.round.sam.asked) == 2 and len(setup.round.base.asked) == 2


def test_a_round_is_asked_itself_where_neither_its_sam_nor_the_shipped_one_follows_clicks(
    setup: Setup,
) -> None:
    assert setup.ask(CLICK, tuned=None, active=ROUND).via == "outline"
    assert not setup.shipped.asked and not setup.round.sam.asked


def test_a_tuning_of_another_base_is_not_asked(setup: Setup) -> None:
    setup.tuned.base_hash = "other"
    setup.ask(CLICK)
    assert (len(setup.tuned.asked), len(setup.shipped.asked)) == (0, 1)


def test_a_refused_tuning_suggests_and_leaves_clicks_to_the_shipped_one(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.keeps = False
    monkeypatch.setattr(models, "outlines_of", lambda folder: 3)
    theirs = replace(PROPOSED, round=None)
    monkeypatch.setattr(models, "propose_from_prior", lambda *_: [theirs])
    question = Question(("a", Plane()), PIXELS, PromptSet(), None, tuned_folder=TUNED)
    assert setup.segmenter.suggest(question, (1,)).from_outlines == 3
    assert (len(setup.tuned.asked), len(setup.shipped.asked)) == (1, 0)
    # A correction is answered by the shipped one, which gets the suggested outline.
    setup.ask(theirs, CLICK)
    assert (len(setup.tuned.asked), len(setup.shipped.asked)) == (1, 1)
    assert setup.shipped.asked[0].mask is not None
    setup.ask(CLICK)
    assert (len(setup.tuned.asked), len(setup.shipped.asked)) == (1, 2)
    monkeypatch.setattr(models, "describe", lambda sam: "SAM")
    assert setup.segmenter.describe() == "SAM"


def test_a_damaged_tuning_costs_a_line_in_the_log_and_no_click(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged(folder: Path) -> Any:
        raise ModelError("damaged")

    monkeypatch.setattr(models, "load_tuned", damaged)
    with caplog.at_level(logging.WARNING):
        setup.ask(CLICK)
        setup.ask(CLICK, PointPrompt(8, 8, 1))
    assert len(setup.shipped.asked) >= 1
    assert [r.message for r in caplog.records].count(
        "Clicks are answered without the tuning 0001: damaged"
    ) == 1


class ThresholdingSam(FakeSam):
    """Outlines what is bright, and remembers the shapes of what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[tuple[int, ...]] = set()

    def embed(self, image: Any, cancel: Any = None) -> Embedding:
        self.shown.add(image.shape)
        return Embedding(image, image.shape, image.astype(np.float32), str(hash(image.tobytes())))

    def decode(self, embedding: Embedding, prompts: Prompts, *, class_id: Any = None) -> Decoded:
        self.asked.append(prompts)
        logits = np.where(embedding.features > 0.5, 6, -6).astype(np.float32)
        return Decoded(logits > 0, logits, 0.9)


def test_masks_are_carried_along_thick_slices_as_they_are_clicked_on_with_square_pixels() -> None:
    rows, cols = np.indices((12, 48))
    inside = [(4 * (rows - 6)) ** 2 + (cols - 16 - i) ** 2 <= 14**2 for i in range(6)]
    data = np.stack(inside, axis=1).astype(np.float32)
    volume = Volume.from_array(data, (4.0, 1.0, 1.0))
    sam = ThresholdingSam()
    segmenter = Segmenter(load_sam=lambda: sam)

    def step(index: int, trail: Trail) -> Carried:
        plane = Plane(1, index)
        stretch = Stretch.of(volume, plane)
        return segmenter.carry(
            Question(("a", plane), volume.plane(plane), PromptSet(), None, stretch=stretch), trail
        )

    found = {f.index: f.label for f in propagate(step, {0: inside[0].astype(np.uint8)}, 6, 1.0)}
    assert sam.shown == {(48, 48)}
    assert sorted(found) == [1, 2, 3, 4, 5]
    for index, label in found.items():
        assert label.shape == (12, 48)
        assert iou(label == 1, inside[index]) > 0.9
    # The box around an object is as high as it is wide, where it is round.
    r0, c0, r1, c1 = sam.asked[-1].box or (0, 0, 0, 0)
    assert (r1 - r0) / (c1 - c0) == pytest.approx(1, abs=0.15)
