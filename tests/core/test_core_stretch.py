"""Oblong pixels made square and back: the same places, the same labels."""

from __future__ import annotations

import numpy as np
import pytest

from napari_scsam.core.geometry import Plane, affine_from_spacing, plane_names
from napari_scsam.core.prompts import PointPrompt, PromptSet, Stroke
from napari_scsam.core.stretch import Stretch
from napari_scsam.core.volume import Volume


def test_only_planes_across_thick_slices_are_stretched() -> None:
    scan = Volume.from_array(np.zeros((4, 10, 12)), (3.0, 0.5, 0.75))
    assert Stretch.of(scan, Plane(0, 1)).is_none
    assert Stretch.of(scan, Plane(1, 1)) == Stretch(4.0, 1.0)
    assert Stretch.of(scan, Plane(2, 1)) == Stretch(6.0, 1.0)
    thin = Volume.from_array(np.zeros((4, 10, 12)), (1.0, 0.9, 0.9))
    assert Stretch.of(thin, Plane(1, 1)).is_none
    far = Volume.from_array(np.zeros((4, 10, 12)), (100.0, 0.5, 0.5))
    assert Stretch.of(far, Plane(2, 0)) == Stretch(8.0, 1.0)


@pytest.mark.parametrize("stretch", [Stretch(6.0, 1.0), Stretch(3.3, 1.0), Stretch(1.0, 2.5)])
def test_a_label_comes_back_as_it_went(stretch: Stretch) -> None:
    label = np.random.default_rng(0).integers(0, 3, (9, 13)).astype(np.uint8)
    np.testing.assert_array_equal(stretch.label_back(stretch.label(label), (9, 13)), label)


def test_prompts_move_with_the_pixels() -> None:
    stretch, shape = Stretch(6.0, 1.0), (9, 40)
    ramp = np.tile(np.arange(9.0)[:, None], (1, 40))
    stretched = stretch.pixels(ramp)
    assert stretched.shape == (54, 40)
    prompts = PromptSet(
        (PointPrompt(4, 7, 1), PointPrompt(2, 3, 2, False)),
        {(1, 2): (1.0, 2.0, 6.0, 30.0)},
        (Stroke("scribble", ((3, 3), (5, 9)), 1, False),),
    )
    moved = stretch.prompts(prompts, shape)
    for before, after in zip(prompts.points, moved.points, strict=True):
        low, high = stretched[int(after.row)], stretched[int(after.row) + 1]
        assert (low[0] + high[0]) / 2 == pytest.approx(before.row)
        assert (after.col, after.class_id, after.positive) == (
            before.col,
            before.class_id,
            before.positive,
        )
    assert moved.boxes[1, 2] == pytest.approx((8.5, 2.0, 38.5, 30.0))
    assert moved.strokes[0].path[1] == pytest.approx((32.5, 9.0))
    assert not moved.strokes[0].positive


def test_a_plane_of_one_value_stays_one() -> None:
    flat = Stretch(3.7, 1.0).pixels(np.full((5, 9), 0.1, np.float32))
    assert flat.min() == flat.max()


def test_planes_are_named_by_the_direction_that_they_face() -> None:
    assert plane_names(affine_from_spacing((3.0, 1.0, 1.0))) == ("axial", "coronal", "sagittal")
    sagittal = np.array([[0, 0, 2.0, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    assert plane_names(sagittal) == ("sagittal", "axial", "coronal")
    turn = np.deg2rad(50)
    oblique = np.eye(4)
    oblique[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    assert set(plane_names(oblique)) == {"axial", "coronal", "sagittal"}


def test_log_odds_come_back_at_the_middles_of_the_planes_own_pixels() -> None:
    stretch, shape = Stretch(4.0, 1.0), (9, 13)
    odds = np.random.default_rng(1).uniform(-8, 8, shape).astype(np.float16)
    fine = np.repeat(odds, 4, axis=0)
    back = stretch.odds_back(fine, shape)
    assert back.dtype == np.float16
    np.testing.assert_allclose(back, odds, atol=0.01)
