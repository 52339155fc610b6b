"""One step of a propagation: what SAM is asked, what is followed, and when it stops."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_scsam import propagation
from napari_scsam.models import Decoded, Embedding
from napari_scsam.propagation.settings import StopRule
from napari_scsam.propagation.stopping import Found, judge
from napari_scsam.propagation.walk import Trail, propagate

if TYPE_CHECKING:
    from napari_scsam.core.arrays import FloatArray, Pixels
    from napari_scsam.core.prompts import Prompts
    from napari_scsam.models.sam import SamModel

SHAPE = (64, 72)
RULE = StopRule()


class Thresholder:
    """A SAM that outlines what is bright inside the box, and remembers what it was asked."""

    def __init__(self, understands_points: bool = True, iou: float = 0.9) -> None:
        self.understands_points = understands_points
        self.iou = iou
        self.asked: list[Prompts] = []

    def embed(self, image: Pixels) -> Embedding:
        return Embedding(image, image.shape, image, "")

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        self.asked.append(prompts)
        r0, c0, r1, c1 = (round(v) for v in prompts.box)
        logits = np.full(embedding.shape, -6, np.float32)
        part = embedding.features[r0 : r1 + 1, c0 : c1 + 1]
        logits[r0 : r1 + 1, c0 : c1 + 1] = np.where(part > 0.5, 6, -6)
        return Decoded(logits > 0, logits, self.iou)


class Taught:
    """A round whose U-Net sees a class wherever it is told to."""

    class_ids = (1,)

    def __init__(self, seen: np.ndarray) -> None:
        self.seen = seen

    def probabilities(
        self,
        image: Pixels,
        embedding: Embedding | None = None,
        which: str = "pair",
        around: Any = None,
    ) -> FloatArray:
        assert which == "unet"
        inside = np.where(self.seen, 0.9, 0.1).astype(np.float32)
        return np.stack([1 - inside, inside])


def ready(label: np.ndarray) -> Trail:
    """A trail that has learned on its plane."""
    trail = Trail.start(label)
    return replace(trail, box_margin=dict.fromkeys(trail.areas, 0.01))


def disc(row: float, col: float, radius: float) -> np.ndarray:
    rows, cols = np.indices(SHAPE)
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


def tube(count: int = 20, end: int = 12) -> np.ndarray:
    """Labels of a bent tube, 1, and beside it a straight one, 2, that ends midway."""
    label = np.zeros((count, *SHAPE), np.uint8)
    for i in range(count):
        label[i][disc(30 + 6 * np.sin(i / 4), 20 + 0.8 * i, 8)] = 1
        if i < end:
            label[i][disc(50, 58, 6)] = 2
    return label


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def carried_through(
    sam: Any, truth: np.ndarray, start: int
) -> tuple[np.ndarray, dict[int, dict[int, str]]]:
    picture = (truth > 0).astype(np.float32)
    found = np.zeros_like(truth)
    found[start] = truth[start]
    flags = {}
    step = lambda index, trail: propagation.carry(sam, picture[index], trail)  # noqa: E731
    for filled in propagate(step, {start: truth[start]}, len(truth)):
        found[filled.index], flags[filled.index] = filled.label, dict(filled.flags)
    return found, flags


@pytest.mark.parametrize("points", [True, False])
def test_a_bent_tube_is_followed_and_one_that_ends_is_let_go(points: bool) -> None:
    truth = tube()
    found, flags = carried_through(Thresholder(points), truth, 6)
    assert dice(found == 1, truth == 1) > 0.97
    assert dice(found == 2, truth == 2) > 0.97
    assert flags[12] == {2: "no outline found"}
    assert not any(flags[i] for i in range(12) if i in flags)


def test_real_weights_follow_a_tube(lite: SamModel) -> None:
    truth = tube(6, 6)
    noise = np.random.default_rng(0).normal(0, 5, truth.shape)
    picture = (80 + 70 * (truth > 0) + noise).astype(np.float32)
    found = np.zeros_like(truth)
    found[2] = truth[2]
    step = lambda index, trail: propagation.carry(lite, picture[index], trail)  # noqa: E731
    for filled in propagate(step, {2: truth[2]}, len(truth)):
        found[filled.index] = filled.label
    assert dice(found == 1, truth == 1) > 0.85


def test_objects_that_lie_apart_are_asked_one_by_one_and_kept_apart_by_points() -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[disc(20, 20, 8) | disc(20, 52, 6)] = 1
    label[disc(30, 26, 4)] = 2
    sam = Thresholder()
    propagation.carry(sam, (label > 0).astype(np.float32), ready(label))
    first, second, third = sam.asked
    assert first.box[3] < 40 < second.box[1]
    assert not any(first.labels)
    assert all(label[int(r), int(c)] == 2 for r, c in first.points)
    # What the neighbour says is unsure at the outline, and sure in the middle.
    assert abs(first.mask[20, 28]) <= 1
    assert first.mask[20, 20] > 3
    assert third.box[0] > 20


def test_a_model_of_boxes_is_asked_by_boxes() -> None:
    label = disc(20, 20, 8).astype(np.uint8)
    sam = Thresholder(understands_points=False)
    propagation.carry(sam, label.astype(np.float32), ready(label))
    assert sam.asked[0].box is not None
    assert not sam.asked[0].points
    assert sam.asked[0].mask is None


def test_an_empty_slice_ends_everything_without_asking() -> None:
    label = disc(20, 20, 8).astype(np.uint8)
    sam = Thresholder()
    carried = propagation.carry(sam, np.full(SHAPE, 7.0), ready(label))
    assert carried.flags == {1: "the slice is empty"}
    assert not carried.trail.areas
    assert not sam.asked


def test_a_round_that_sees_something_else_is_heard_and_not_followed() -> None:
    label = disc(30, 30, 10).astype(np.uint8)
    picture = label.astype(np.float32)
    trail = ready(label)
    same = propagation.carry(Thresholder(), picture, trail, round_models=Taught(disc(30, 30, 9)))
    assert not same.flags
    other = propagation.carry(Thresholder(), picture, trail, round_models=Taught(disc(26, 24, 6)))
    assert other.flags == {1: "the models disagree"}
    np.testing.assert_array_equal(other.trail.label, label)  # SAM's own
    none = propagation.carry(
        Thresholder(), picture, trail, round_models=Taught(np.zeros(SHAPE, bool))
    )
    assert 1 not in none.trail.areas


def found(mask: np.ndarray, estimate: float = 0.9) -> Found:
    return Found(np.where(mask, 6.0, -6.0).astype(np.float32), estimate)


def test_an_area_that_jumps_stops_unless_it_was_on_its_way() -> None:
    before, after = disc(30, 30, 10), disc(30, 30, 15)
    area = int(before.sum())
    assert judge(before, found(after), (area, area), RULE) == ("area doubled", True)
    growing = (area // 4, area // 2, area)
    assert not judge(before, found(after), growing, RULE)[1]
    reason, stops = judge(before, found(disc(30, 30, 12.8)), (area, area), RULE)
    assert reason.startswith("area grew by 6")
    assert not stops
    reason, stops = judge(before, found(disc(30, 30, 6)), (area, area), RULE)
    assert reason.startswith("area halved")
    assert stops


def test_an_outline_that_sam_is_unsure_of_wants_a_look_then_stops() -> None:
    mask = disc(30, 30, 10)
    areas = (int(mask.sum()),)
    assert judge(mask, found(mask, 0.5), areas, RULE) == ("outline unsure", False)
    assert judge(mask, found(mask, 0.2), areas, RULE) == ("outline unsure", True)
    assert judge(mask, found(np.roll(mask, 9, 1)), areas, RULE) == ("", False)  # only moved
    bar = np.zeros(SHAPE, bool)
    bar[29:32, 4:64] = True
    assert "shape changed" in judge(mask, found(bar), areas, RULE)[0]


def test_an_outline_that_leaves_the_picture_s_own_motion_wants_a_look_then_stops() -> None:
    mask = disc(30, 30, 10)
    areas = (int(mask.sum()),)
    assert judge(mask, replace(found(mask), drift=0.35), areas, RULE) == ("", False)
    strayed = "outline drifted to another structure"
    assert judge(mask, replace(found(mask), drift=0.25), areas, RULE) == (strayed, False)
    assert judge(mask, replace(found(mask), drift=0.05), areas, RULE) == (strayed, True)
    # The U-Net sees it there, too.
    assert judge(mask, replace(found(mask), drift=0.05, agreement=0.8), areas, RULE) == ("", False)


class Slider(Thresholder):
    """A SAM whose answers slide off by two columns a plane, whatever the picture shows."""

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        logits = np.roll(np.where(prompts.mask > 0, 6, -6), 2, axis=1).astype(np.float32)
        return Decoded(logits > 0, logits, self.iou)


def test_sam_is_not_followed_where_the_picture_did_not_go() -> None:
    label = disc(30, 20, 8).astype(np.uint8)
    picture = np.random.default_rng(0).normal(0, 0.1, SHAPE).astype(np.float32) + label
    trail, reasons = Trail.start(label), []
    trail = propagation.carry(Slider(), picture, trail).trail
    for _ in range(12):
        carried = propagation.carry(Slider(), picture, trail)
        trail = carried.trail
        reasons.append(carried.flags.get(1, ""))
        if not trail.areas:
            break
    assert reasons[0] == ""
    assert set(filter(None, reasons)) == {"outline drifted to another structure"}
    assert len(reasons) < 8


def test_an_object_too_small_to_be_seen_moving_is_followed_all_the_same() -> None:
    rows, cols = np.indices((1024, 1024))
    picture = ((rows - 500) ** 2 + (cols - 300) ** 2 <= 9).astype(np.float32)
    picture += np.random.default_rng(0).normal(0, 0.05, picture.shape).astype(np.float32)
    label = (picture > 0.5).astype(np.uint8)
    trail = propagation.carry(Thresholder(), picture, Trail.start(label)).trail
    for _ in range(4):
        carried = propagation.carry(Thresholder(), picture, trail)
        assert not carried.flags
        trail = carried.trail
    np.testing.assert_array_equal(trail.label, label)


class Filler(Thresholder):
    """A SAM that fills its box."""

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        return super().decode(replace(embedding, features=np.ones(SHAPE)), prompts)


def test_how_loose_a_box_may_be_is_learned_where_the_mask_is_known() -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[20:40, 20:44] = 1
    picture = label.astype(np.float32)
    follower = propagation.carry(Thresholder(False), picture, Trail.start(label)).trail
    filler = propagation.carry(Filler(False), picture, Trail.start(label)).trail
    assert follower.box_margin[1] > 0.01  # it can follow what moves
    assert filler.box_margin[1] < 0.01  # it would grow from slice to slice
    np.testing.assert_array_equal(filler.label, label)


def test_three_doubtful_slices_in_a_row_are_the_last() -> None:
    label = disc(30, 30, 10).astype(np.uint8)
    trail = ready(label)
    for expected in (True, True, False):
        carried = propagation.carry(Thresholder(iou=0.5), label.astype(np.float32), trail)
        assert carried.flags == {1: "outline unsure"}
        trail = carried.trail
        assert (1 in trail.areas) is expected
    assert trail.label.any()  # its outline stays, to be looked at


WIDE = (256, 256)


def ball(col: float) -> np.ndarray:
    rows, cols = np.indices(WIDE)
    return (rows - 120) ** 2 + (cols - col) ** 2 <= 30**2


class Copier:
    """A SAM that gives back the mask that it is told, and whose features show what is bright."""

    understands_points = True

    def __init__(self) -> None:
        self.asked: list[Prompts] = []

    def embed(self, image: Pixels) -> Embedding:
        bright = torch.from_numpy(image)[None, None]
        draw = torch.Generator().manual_seed(0)
        features = 0.2 * torch.randn(1, 8, 64, 64, generator=draw)
        features[:, :1] += torch.nn.functional.avg_pool2d(bright, 4)
        return Embedding(features, image.shape, image, "")

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        self.asked.append(prompts)
        return Decoded(prompts.mask > 0, prompts.mask, self.sure())

    def sure(self) -> float:
        return 0.9


class Wanderer(Copier):
    """One that loses the object where it is told of its look, which is each second time."""

    def sure(self) -> float:
        return 0.9 if len(self.asked) % 2 else 0.1


def picture_of(bright: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.05, bright.shape)
    return (bright + noise).astype(np.float32)


def started(sam: Any, bright: np.ndarray, label: np.ndarray) -> Trail:
    return propagation.carry(sam, picture_of(bright), Trail.start(label.astype(np.uint8))).trail


def test_what_looks_unlike_its_surroundings_is_followed_by_a_sam_that_copies_its_mask() -> None:
    trail = started(Copier(), ball(80), ball(80))
    for step in range(1, 13):
        carried = propagation.carry(Copier(), picture_of(ball(80 + 3 * step)), trail)
        assert not carried.flags
        trail = carried.trail
    assert dice(trail.label == 1, ball(116)) > 0.9 > 0.5 > dice(ball(80), ball(116))
    assert dice(carried.logits[1] > 0, ball(116)) > 0.9


def test_what_looks_like_its_surroundings_is_asked_for_once() -> None:
    sam, rows = Copier(), np.indices(WIDE)[0]
    bright = rows > 0
    trail = started(sam, bright, ball(80))
    propagation.carry(sam, picture_of(bright), trail)
    assert len(sam.asked) == 1


def test_each_way_goes_on_by_itself_while_they_agree() -> None:
    sam = Copier()
    trail = started(sam, ball(80), ball(80))
    carried = propagation.carry(sam, picture_of(ball(82)), trail)
    plain, told = (asked.mask > 0 for asked in sam.asked)
    assert 0.8 < dice(plain, told) < 1
    carried = propagation.carry(sam, picture_of(ball(82)), carried.trail)
    np.testing.assert_array_equal(sam.asked[2].mask > 0, plain)
    assert dice(sam.asked[3].mask > 0, ball(82)) > dice(plain, ball(82))


def test_a_class_that_one_way_lost_is_let_go() -> None:
    trail = started(Wanderer(), ball(80), ball(80))
    carried = propagation.carry(Wanderer(), picture_of(ball(80)), trail)
    assert carried.flags == {1: "outline unsure"}
    assert not carried.trail.areas


def test_a_class_that_the_unet_sees_is_not_told_of_its_look() -> None:
    sam = Copier()
    trail = started(sam, ball(80), ball(80))
    propagation.carry(sam, picture_of(ball(80)), trail, round_models=Taught(ball(80)))
    assert len(sam.asked) == 1


def test_a_trail_goes_to_another_process_and_back() -> None:
    trail = started(Copier(), ball(80), ball(80))
    picture = picture_of(ball(83))
    here = propagation.carry(Copier(), picture, trail)
    there = propagation.carry(Copier(), picture, pickle.loads(pickle.dumps(trail)))
    np.testing.assert_array_equal(here.logits[1], there.logits[1])
