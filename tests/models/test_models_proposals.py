"""Proposal rules on constructed probability maps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Never

import numpy as np
import pytest

from napari_scsam.core.errors import InputError
from napari_scsam.core.prompts import PointPrompt
from napari_scsam.models import Decoded, Embedding
from napari_scsam.models.doubtful_outlines import AGREED, doubtful_as_questions
from napari_scsam.models.proposals import propose, propose_from_maps, proposed_outline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_scsam.core.arrays import FloatArray, Pixels
    from napari_scsam.core.prompts import Prompts

SHAPE = (256, 200)


def disc(row: float, col: float, radius: float, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    r, c = np.indices(shape)
    return np.hypot(r - row, c - col) <= radius


def probability(*parts: tuple[np.ndarray, float], base: float = 0.01) -> np.ndarray:
    out = np.full(SHAPE, base, np.float32)
    for mask, value in parts:
        out[mask] = value
    return out


def kinds(points: Iterable[PointPrompt], kind: str) -> list[PointPrompt]:
    return [p for p in points if p.kind == kind]


def test_each_of_two_parts_is_confirmed_at_its_centre() -> None:
    both = probability((disc(60, 50, 20), 0.9), (disc(180, 140, 25), 0.8))
    points = propose_from_maps(both, both, class_id=3, round_number=7)
    confirm = kinds(points, "confirm")
    assert [(round(p.row / 4), round(p.col / 4)) for p in confirm] == [(45, 35), (15, 12)]
    assert [round(p.confidence, 2) for p in confirm] == [0.8, 0.9]
    for p in points:
        assert (p.class_id, p.origin, p.state, p.round) == (3, "model", "proposed", 7)
    assert not kinds(points, "query")


def test_a_long_part_gets_more_points_all_inside() -> None:
    long = np.zeros(SHAPE, bool)
    long[30:220, 90:106] = True
    p = probability((long, 0.9))
    confirm = kinds(propose_from_maps(p, p, 1), "confirm")
    assert len(confirm) == 3
    assert all(long[int(q.row), int(q.col)] for q in confirm)
    rows = sorted(q.row for q in confirm)
    assert min(np.diff(rows)) > 40


def test_every_part_keeps_its_point_and_few_others_come_with_them() -> None:
    parts = [disc(row, col, 9) for row in (30, 90, 150, 210) for col in (40, 150)]
    unet = probability(*((part, 0.9) for part in parts), (disc(120, 95, 12), 0.4))
    long = np.zeros(SHAPE, bool)
    long[10:240, 90:100] = True
    unet[long] = 0.8
    spills = np.any([disc(row, 184, 12) for row in (40, 120, 200)], axis=0)
    points = propose_from_maps(unet, np.where(spills, 0.9, unet).astype(np.float32), 1)
    assert all(any(part[int(p.row), int(p.col)] for p in points) for part in parts)
    assert len(kinds(points, "query")) == 2  # of three
    assert len(kinds(points, "confirm")) == 9  # of the long one's three points the first


def test_nothing_is_proposed_in_a_constant_border() -> None:
    organ = disc(100, 60, 25)
    view = np.random.default_rng(0).random(SHAPE, np.float32)
    view[180:] = 0
    border = disc(220, 100, 25)
    models = OneClassModels(probability((organ, 0.9), (border, 0.9)), agreeing(organ))
    points = propose(models, np.zeros(SHAPE), Embedding(None, SHAPE, view, ""), 4)
    assert points
    assert max(p.row for p in points) < 180


def test_a_saturated_structure_is_no_border() -> None:
    chamber = disc(100, 100, 25)
    view = np.random.default_rng(0).random(SHAPE, np.float32)
    view[chamber] = 1
    models = OneClassModels(probability((chamber, 0.9)), agreeing(chamber))
    (first, *_) = propose(models, np.zeros(SHAPE), Embedding(None, SHAPE, view, ""), 4)
    assert (first.kind, first.row, first.col) == ("confirm", 100, 100)


def test_nothing_is_proposed_in_the_air_around_the_body() -> None:
    rng = np.random.default_rng(0)
    view = rng.uniform(0, 0.04, SHAPE).astype(np.float32)  # noise in the air
    torso, bladder = disc(128, 100, 80), disc(100, 90, 20)
    view[torso] = rng.uniform(0.4, 1.0, int(torso.sum()))
    view[bladder] = rng.uniform(0, 0.02, int(bladder.sum()))  # as dark, but inside
    outside = disc(30, 170, 15)
    models = OneClassModels(probability((bladder, 0.9), (outside, 0.9)), agreeing(bladder))
    points = propose(models, np.zeros(SHAPE), Embedding(None, SHAPE, view, ""), 4)
    assert points
    assert all(torso[int(p.row), int(p.col)] for p in points)


def test_confirm_lies_where_both_agree() -> None:
    unet = probability((disc(100, 100, 40), 0.9))
    sam = probability((disc(100, 120, 15), 0.9))
    first = propose_from_maps(unet, sam, 1)[0]
    assert (first.kind, first.positive) == ("confirm", True)
    assert disc(100, 120, 5)[int(first.row), int(first.col)]


def test_a_spill_of_sam_is_queried_as_outside() -> None:
    organ, spill = disc(100, 60, 25), disc(100, 150, 15)
    unet = probability((organ, 0.9), (spill, 0.05))
    sam = probability((organ, 0.9), (spill, 0.8))
    (query,) = kinds(propose_from_maps(unet, sam, 1), "query")
    assert not query.positive
    assert disc(100, 150, 3)[int(query.row), int(query.col)]
    assert query.confidence == pytest.approx(1 - (0.05 + 0.8) / 2, abs=0.01)


def test_a_part_that_only_the_unet_is_sure_of_is_queried_as_inside() -> None:
    organ, extra = disc(100, 60, 25), disc(180, 150, 15)
    unet = probability((organ, 0.9), (extra, 0.99))
    sam = probability((organ, 0.9), (extra, 0.4))
    points = propose_from_maps(unet, sam, 1)
    # The part's centre is already a confirm point of the U-Net's: no second click on it.
    assert not kinds(points, "query")
    assert any(p.positive and extra[int(p.row), int(p.col)] for p in points)


def test_a_thin_rim_of_disagreement_is_no_question() -> None:
    unet = probability((disc(100, 100, 40), 0.9))
    sam = probability((disc(100, 100, 42), 0.9))
    assert not kinds(propose_from_maps(unet, sam, 1), "query")


def test_a_missed_object_is_asked_about() -> None:
    organ, faint = disc(80, 60, 20), disc(190, 150, 12)
    unet = probability((organ, 0.9), (faint, 0.4))
    sam = probability((organ, 0.9))
    (missed,) = kinds(propose_from_maps(unet, sam, 1), "missed")
    assert missed.positive
    assert disc(190, 150, 6)[int(missed.row), int(missed.col)]
    assert 0.2 <= missed.confidence <= 0.5


def test_the_soft_edge_of_a_seen_object_is_neither_missed_nor_a_negative() -> None:
    r, c = np.indices(SHAPE)
    soft = (1 / (1 + np.exp((np.hypot(r - 100, c - 100) - 30) / 6))).astype(np.float32)
    assert [p.kind for p in propose_from_maps(soft, soft, 1)] == ["confirm"]


def test_negatives_stand_in_the_ring_and_are_no_more_than_the_points_inside() -> None:
    organ = disc(128, 100, 30)
    doubts = [disc(128, 138, 4), disc(90, 100, 4), disc(166, 100, 4)]
    unet = probability((organ, 0.9), *((d, 0.15) for d in doubts))
    points = propose_from_maps(unet, unet, 1)
    negatives = kinds(points, "negative")
    assert len(negatives) == 1 == sum(p.positive for p in points)
    gap = np.hypot(negatives[0].row - 128, negatives[0].col - 100) - 30
    assert 3 <= gap <= 12
    assert not negatives[0].positive


def test_nothing_is_proposed_on_an_empty_image_whatever_sam_says() -> None:
    faint = probability((disc(100, 100, 30), 0.19))
    everywhere = np.ones(SHAPE, np.float32)
    assert propose_from_maps(faint, everywhere, 1) == []


def test_a_full_image_gets_a_point_inside_and_none_outside() -> None:
    full = np.full(SHAPE, 0.95, np.float32)
    points = propose_from_maps(full, full, 1)
    assert points
    assert all(p.kind == "confirm" and p.positive for p in points)


def test_points_keep_their_distance_from_existing_ones() -> None:
    p = probability((disc(100, 100, 20), 0.9))
    (alone,) = kinds(propose_from_maps(p, p, 1), "confirm")
    near = (alone.row + 3, alone.col + 3)
    assert propose_from_maps(p, p, 1, existing=[near]) == []


def test_lengths_grow_with_the_plane() -> None:
    small = np.zeros((1024, 1024), np.float32)
    small[disc(500, 500, 6, small.shape)] = 0.9
    assert propose_from_maps(small, small, 1) == []  # 113 px of a million: noise
    small[disc(500, 500, 30, small.shape)] = 0.9
    assert len(propose_from_maps(small, small, 1)) == 1


def test_the_same_maps_give_the_same_points() -> None:
    rng = np.random.default_rng(0)
    maps = [np.clip(rng.normal(0.4, 0.3, SHAPE), 0, 1).astype(np.float32) for _ in range(2)]
    assert propose_from_maps(*maps, 1) == propose_from_maps(*maps, 1)


def test_maps_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="Two maps"):
        propose_from_maps(np.zeros((4, 4)), np.zeros((4, 5)), 1)


class OneClassModels:
    """A `RoundModels` whose U-Net says `unet` and whose SAM answers by `reply`."""

    class_ids = (4,)
    number = 2
    trained: tuple[str, ...] = ("unet", "sam")

    def __init__(self, unet: np.ndarray, reply: Any, understands_points: bool = True) -> None:
        self._unet, self._reply = unet, reply
        self.pair = unet
        self.understands_points = understands_points
        self.asked: list[Prompts] = []

    @property
    def sam(self) -> Any:
        return self

    def probabilities(
        self,
        image: Pixels,
        embedding: Embedding | None = None,
        which: str = "pair",
        around: Any = None,
    ) -> FloatArray:
        shown = self._unet if which == "unet" else self.pair
        return np.stack([1 - shown, shown])

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        self.asked.append(prompts)
        return self._reply(prompts)


EMBEDDING = Embedding(None, SHAPE, np.random.default_rng(0).random(SHAPE, np.float32), "")


def agreeing(mask: np.ndarray) -> Any:
    logits = np.where(mask, 5, -5).astype(np.float32)
    return lambda prompts: Decoded(mask, logits, 0.9)


def following(mask: np.ndarray) -> Any:
    """Answers a map by itself, and other prompts by a mask."""

    def reply(prompts: Prompts) -> Decoded:
        found = mask if prompts.box is None else np.asarray(prompts.mask) > 0
        return Decoded(found, np.where(found, 5, -5).astype(np.float32), 0.9)

    return reply


def test_sam_is_asked_with_the_points_that_are_then_proposed() -> None:
    organ = disc(100, 60, 25)
    models = OneClassModels(probability((organ, 0.9)), agreeing(organ))
    points = propose(models, np.zeros(SHAPE), EMBEDDING, 4)
    assert [(p.row, p.col) for p in kinds(points, "confirm")] == list(models.asked[0].points)
    assert models.asked[0].mask is None
    assert points[0].round == 2


def test_what_is_confirmed_is_the_outline_of_the_pair() -> None:
    organ, missed_by_unet, unsure = disc(60, 60, 20), disc(180, 60, 20), disc(120, 150, 20)
    models = OneClassModels(probability((organ, 0.9), (unsure, 0.7)), following(organ))
    models.pair = probability((organ, 0.9), (missed_by_unet, 0.9))
    points = propose(models, np.zeros(SHAPE), EMBEDDING, 4)
    found = {(p.row, p.col) for p in kinds(points, "confirm")}
    assert found == {(60, 60), (180, 60)}
    # What the U-Net alone sees is asked for.
    assert any(unsure[int(p.row), int(p.col)] for p in kinds(points, "query"))


def test_an_outline_that_sam_does_not_repeat_is_a_question() -> None:
    organ, spill = disc(60, 60, 20), disc(180, 60, 20)
    models = OneClassModels(probability((organ, 0.9), (spill, 0.9)), agreeing(organ))
    points = propose(models, np.zeros(SHAPE), EMBEDDING, 4)
    assert [(p.row, p.col) for p in kinds(points, "confirm")] == [(60, 60)]
    (asked,) = (p for p in points if spill[int(p.row), int(p.col)])
    assert (asked.kind, asked.positive, asked.state) == ("query", True, "proposed")
    proposals, odds = proposed_outline(models, np.zeros(SHAPE), EMBEDDING, 4)
    assert len(kinds(proposals, "confirm")) == 2
    np.testing.assert_array_equal(odds > 0, organ | spill)


def test_a_sam_that_the_round_did_not_train_is_no_judge() -> None:
    organ = disc(60, 60, 20)
    models = OneClassModels(probability((organ, 0.9)), agreeing(disc(180, 60, 20)))
    models.trained = ("unet",)
    assert kinds(propose(models, np.zeros(SHAPE), EMBEDDING, 4), "confirm")


def test_a_small_outline_may_differ_by_a_pixel() -> None:
    small, wider = disc(60, 60, 6), disc(60, 60, 7)
    models = OneClassModels(probability((small, 0.9)), agreeing(wider))
    assert 2 * small.sum() / (small.sum() + wider.sum()) < AGREED
    assert kinds(propose(models, np.zeros(SHAPE), EMBEDDING, 4), "confirm")
    organ, larger = disc(100, 100, 30), disc(100, 100, 36)
    models = OneClassModels(probability((organ, 0.9)), agreeing(larger))
    assert not kinds(propose(models, np.zeros(SHAPE), EMBEDDING, 4), "confirm")


def test_sam_is_no_judge_of_a_ring() -> None:
    ring = disc(100, 100, 30) & ~disc(100, 100, 22)
    models = OneClassModels(probability((ring, 0.9)), agreeing(disc(100, 100, 30)))
    points = propose(models, np.zeros(SHAPE), EMBEDDING, 4)
    assert kinds(points, "confirm")


def test_a_long_part_that_is_doubtful_asks_once() -> None:
    long = np.zeros(SHAPE, bool)
    long[30:220, 90:106] = True
    models = OneClassModels(probability((long, 0.9)), agreeing(disc(60, 98, 30)))
    confirm = PointPrompt(125.0, 98.0, 4, True, "model", "confirm", 0.9, "proposed", 2)
    two = [confirm, replace(confirm, row=60.0)]
    odds = np.where(long, 2, -2).astype(np.float32)
    assert doubtful_as_questions(two, models, EMBEDDING, odds) == [replace(confirm, kind="query")]


def test_the_largest_doubtful_parts_ask_and_no_more_than_a_person_would_place() -> None:
    organ = disc(40, 40, 30)
    parts = [disc(row, 150, radius) for row, radius in ((40, 26), (100, 24), (155, 22), (205, 20))]
    maps = probability((organ, 0.9), *((part, 0.9) for part in parts), (disc(150, 40, 30), 0.4))
    points = propose(OneClassModels(maps, agreeing(organ)), np.zeros(SHAPE), EMBEDDING, 4)
    assert [(p.row, p.col) for p in kinds(points, "confirm")] == [(40, 40)]
    asked = [p for p in points if p.kind != "confirm"]
    assert [(p.row, p.col) for p in asked] == [(40, 150), (100, 150), (155, 150)]


def test_a_sam_without_points_is_given_the_unets_mask() -> None:
    organ = disc(100, 60, 25)
    models = OneClassModels(probability((organ, 0.9)), agreeing(organ), understands_points=False)
    propose(models, np.zeros(SHAPE), EMBEDDING, 4)
    assert np.array_equal(models.asked[0].mask, organ)


def test_a_sam_with_nothing_to_go_by_leaves_the_unet_alone() -> None:
    def refuse(prompts: Prompts) -> Never:
        raise InputError("There is nothing to segment yet.")

    faint = probability((disc(100, 60, 25), 0.4))
    points = propose(OneClassModels(faint, refuse), np.zeros(SHAPE), EMBEDDING, 4)
    assert [(p.kind, p.row, p.col) for p in points] == [("missed", 100, 60)]


def test_an_unknown_class_is_refused() -> None:
    models = OneClassModels(probability(), agreeing(disc(1, 1, 1)))
    with pytest.raises(InputError, match="5"):
        propose(models, np.zeros(SHAPE), EMBEDDING, 5)
