"""A segmenter that suggests ahead: what was made before is what would be made now."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("torch")

from napari_scsam import models
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import PointPrompt, PromptSet
from napari_scsam.inference.messages import Question
from napari_scsam.inference.segmenter import SUGGESTED_AHEAD, Segmenter
from napari_scsam.models import Decoded, Embedding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_scsam.core.prompts import Prompts

WAIT_S = 20
SHAPE = (20, 30)
ROUND = Path("rounds/0001")


class Sam:
    name, device, understands_points, base_hash = "fake", "cpu", True, "b"

    def embedding_key(self, image: np.ndarray) -> str:
        return str(hash(image.tobytes()))

    def embed(self, image: np.ndarray, cancel: Any = None) -> Embedding:
        return Embedding(None, SHAPE, image.astype(np.float32), self.embedding_key(image))

    def decode(self, embedding: Embedding, prompts: Prompts, *, class_id: Any = None) -> Decoded:
        logits = np.full(SHAPE, 2.0, np.float32)
        return Decoded(logits > 0, logits, 0.9)

    def class_log_odds(self, embedding: Embedding, class_id: int) -> None:
        return None


class Round:
    """Outlines all of a plane."""

    number, class_ids = 1, (1,)

    def __init__(self) -> None:
        self.sam = self.base = Sam()

    def decode(self, *_: Any, proposed: bool) -> Decoded:
        logits = np.full(SHAPE, 3.0, np.float32)
        return Decoded(logits > 0, logits, 0.8, "outline")


class Setup:
    """A segmenter, and the planes that its round has proposed on, by which thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proposed: list[tuple[float, str]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        monkeypatch.setattr(models, "load_round", lambda folder: Round())
        monkeypatch.setattr(models, "propose", self._propose)
        self.segmenter = Segmenter(load_sam=Sam)

    def _propose(self, _round: Any, image: np.ndarray, *_: Any) -> list[PointPrompt]:
        assert self.go_on.wait(WAIT_S)
        self.proposed.append((float(image[0, 0]), threading.current_thread().name))
        row = float(image[0, 0])
        return [PointPrompt(row, 3, 1, True, "model", "confirm", 0.9, "proposed", 1)]

    def places(self) -> list[float]:
        return [place for place, _ in self.proposed]

    def settle(self) -> None:
        assert self.segmenter.wait_ahead(WAIT_S)


def about(index: int) -> Question:
    pixels = np.random.default_rng(index).random(SHAPE)
    pixels[0, 0] = index
    return Question(("a", Plane(0, index)), pixels, PromptSet(), ROUND)


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    made = Setup(monkeypatch)
    made.segmenter.suggest(about(1), (1,))
    yield made
    made.go_on.set()
    made.segmenter.close()


def test_what_was_suggested_ahead_is_the_answer_without_any_work(setup: Setup) -> None:
    anew = Segmenter(load_sam=Sam).suggest(about(2), (1,))
    for _ in range(2):
        setup.segmenter.prefetch([about(2)])
        setup.settle()
    assert setup.proposed[2:] == [(2, "ahead")]  # once
    before = len(setup.proposed)
    answer = setup.segmenter.suggest(about(2), (1,))
    assert len(setup.proposed) == before
    assert answer.prompts == anew.prompts and np.array_equal(answer.preview, anew.preview)
    # It is answered like any other afterwards.
    click = PointPrompt(9, 9, 1)
    prompts = replace(answer.prompts, points=(*answer.prompts.points, click))
    assert setup.segmenter.decode(replace(about(2), prompts=prompts)).preview.any()


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": np.full(SHAPE, 2.0) + np.fliplr(np.eye(*SHAPE))},
        {"round_folder": Path("rounds/0002")},
        {"tuned_folder": Path("tuned/0001")},
        {"around": (np.ones(SHAPE), np.ones(SHAPE))},
        {"prompts": PromptSet((PointPrompt(9, 9, 1),))},
        {"draft": np.ones(SHAPE, np.uint8)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_it_is_no_answer_to_another_question(
    setup: Setup, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "load_tuned", lambda folder: Sam())
    monkeypatch.setattr(models, "answers_clicks", lambda folder: True)
    monkeypatch.setattr(models, "outlines_of", lambda folder: 3)
    monkeypatch.setattr(models, "propose_either", lambda r, _tuned, *o: models.propose(r, *o))
    setup.segmenter.prefetch([about(2)])
    setup.settle()
    setup.segmenter.suggest(replace(about(2), **change), (1,))
    assert setup.places() == [1, 2, 2]


def test_only_the_planes_that_come_next_get_suggestions(setup: Setup) -> None:
    across = replace(about(9), key=("a", Plane(1, 9)))
    setup.segmenter.prefetch([across, *(about(n) for n in range(2, 8))])
    setup.settle()
    assert setup.places() == [1, *range(2, 1 + SUGGESTED_AHEAD)]


def test_nothing_is_suggested_before_anyone_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Setup(monkeypatch)
    made.segmenter.prefetch([about(2)])
    made.settle()
    made.segmenter.close()
    assert not made.proposed


def test_a_click_does_not_wait_for_a_suggestion_of_another_plane(setup: Setup) -> None:
    setup.go_on.clear()
    setup.segmenter.prefetch([about(2)])
    prompts = PromptSet((PointPrompt(9, 9, 1),))
    assert setup.segmenter.decode(replace(about(1), prompts=prompts)).preview.any()
    assert setup.places() == [1]
    setup.go_on.set()
    setup.settle()


def test_another_round_meanwhile_makes_no_difference(setup: Setup) -> None:
    setup.go_on.clear()
    setup.segmenter.prefetch([about(2)])
    other = Path("rounds/0002")
    setup.segmenter.prepare(other)
    setup.go_on.set()
    setup.settle()
    assert setup.segmenter._round_folder == other
    setup.segmenter.suggest(replace(about(2), round_folder=other), (1,))
    assert setup.places()[-1] == 2 and setup.proposed[-1][1] != "ahead"
