"""Clicks turned into a box, and outside clicks that carve."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.data import coins

from napari_scsam.core.errors import InputError
from napari_scsam.core.prompts import Prompts
from napari_scsam.models.clicks_to_box import (
    _filled,
    _sharpness,
    box_from_prompts,
    carve,
    grow_region,
)

SHAPE = (150, 240)
FLAT = np.full(SHAPE, 0.3, np.float32)


def disc(row: float, col: float, radius: float, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    r, c = np.indices(shape)
    return np.hypot(r - row, c - col) <= radius


def picture(*parts: tuple[np.ndarray, float], seed: int = 0) -> np.ndarray:
    """Parts on grey, with noise, in 0..1."""
    out = np.full(SHAPE, 0.3)
    for mask, value in parts:
        out[mask] = value
    out += np.random.default_rng(seed).normal(0, 0.02, SHAPE)
    return np.clip(out, 0, 1).astype(np.float32)


def test_a_click_grows_to_its_objects_outline() -> None:
    view = picture((disc(40, 180, 20), 0.7))
    box = box_from_prompts(view, SHAPE, Prompts([(35, 175)], [1]))
    assert box == pytest.approx((20, 160, 60, 200), abs=3)


def test_the_box_is_in_the_planes_pixels_when_the_picture_is_smaller() -> None:
    view = picture((disc(40, 180, 20), 0.7))
    box = box_from_prompts(view, (600, 960), Prompts([(140, 700)], [1]))
    assert box == pytest.approx((80, 640, 240, 800), abs=10)


def test_a_large_picture_is_thinned_out_for_growing() -> None:
    view = np.kron(picture((disc(40, 180, 20), 0.7)), np.ones((5, 5), np.float32))
    box = box_from_prompts(view, SHAPE, Prompts([(35, 175)], [1]))
    assert box == pytest.approx((20, 160, 60, 200), abs=3)


def test_two_clicks_on_two_objects_give_one_box_around_both() -> None:
    view = picture((disc(40, 60, 15), 0.7), (disc(100, 180, 15), 0.8))
    box = box_from_prompts(view, SHAPE, Prompts([(40, 60), (100, 180)], [1, 1]))
    assert box == pytest.approx((25, 45, 115, 195), abs=3)


def test_a_correction_on_the_rim_changes_little() -> None:
    ring = disc(70, 120, 40) & ~disc(70, 120, 20)
    view = picture((disc(70, 120, 20), 0.8), (ring, 0.5))
    for label in (1, 0):
        box = box_from_prompts(view, SHAPE, Prompts([(70, 120), (70, 141)], [1, label]))
        assert box == pytest.approx((50, 100, 90, 140), abs=4)


def test_an_outside_click_holds_the_region_off() -> None:
    bridge = np.zeros(SHAPE, bool)
    bridge[68:72, 60:180] = True
    view = picture((disc(70, 60, 20), 0.7), (disc(70, 180, 20), 0.7), (bridge, 0.7))
    free = box_from_prompts(view, SHAPE, Prompts([(70, 60)], [1]))
    held = box_from_prompts(view, SHAPE, Prompts([(70, 60), (70, 180)], [1, 0]))
    assert free[3] > 190
    assert held[3] < 160


def test_an_outside_click_in_the_background_changes_little() -> None:
    view = picture((disc(40, 180, 20), 0.7))
    box = box_from_prompts(view, SHAPE, Prompts([(40, 180), (40, 206)], [1, 0]))
    assert box == pytest.approx((20, 160, 60, 200), abs=3)


def test_a_mask_under_the_click_is_preferred_to_the_picture() -> None:
    view = picture((disc(40, 180, 20), 0.7))
    mask = disc(40, 180, 30) | disc(110, 60, 15)
    box = box_from_prompts(view, SHAPE, Prompts([(40, 180)], [1], mask=mask))
    assert box == pytest.approx((9, 149, 71, 211), abs=0.1)


def test_a_mask_elsewhere_than_the_click_is_not_taken() -> None:
    view = picture((disc(40, 180, 20), 0.7))
    prompts = Prompts([(40, 180)], [1], mask=disc(110, 60, 15))
    assert box_from_prompts(view, SHAPE, prompts) == pytest.approx((20, 160, 60, 200), abs=3)


def test_a_masks_component_with_an_outside_click_is_left_out() -> None:
    mask = disc(40, 180, 20) | disc(110, 60, 15)
    logits = np.where(mask, 3, -3).astype(np.float32)
    prompts = Prompts([(40, 180), (110, 60)], [1, 0], mask=logits)
    assert box_from_prompts(FLAT, SHAPE, prompts) == pytest.approx((19, 159, 61, 201))


def test_a_click_on_nothing_still_gives_a_box_around_it() -> None:
    r0, c0, r1, c1 = box_from_prompts(FLAT, SHAPE, Prompts([(0, 239)], [1]))
    assert 0 <= r0 < r1 <= 149
    assert 0 <= c0 < c1 <= 239


def test_only_outside_clicks_are_refused() -> None:
    with pytest.raises(InputError, match="inside the object"):
        box_from_prompts(FLAT, SHAPE, Prompts([(5, 5)], [0]))


def test_a_real_picture() -> None:
    """One click in the middle of a coin of scikit-image's picture boxes that coin."""
    view = (coins() / 255).astype(np.float32)
    row, col = 253, 107
    r0, c0, r1, c1 = box_from_prompts(view, view.shape, Prompts([(row, col)], [1]))
    assert r0 < row < r1
    assert c0 < col < c1
    assert 35 < r1 - r0 < 75
    assert 35 < c1 - c0 < 75


def test_growing_holds_every_click_and_is_deterministic() -> None:
    view = np.random.default_rng(3).uniform(0, 1, (60, 60)).astype(np.float32)
    inside, outside = np.array([[10, 10], [40, 50]]), np.array([[30, 30]])
    one, two = grow_region(view, inside, outside), grow_region(view, inside, outside)
    assert np.array_equal(one, two)
    assert one[10, 10]
    assert one[40, 50]
    assert not one[30, 30]


def test_a_component_with_only_outside_clicks_is_dropped() -> None:
    keep, drop, untouched = disc(40, 60, 15), disc(100, 180, 15), disc(120, 40, 8)
    carved = carve(keep | drop | untouched, FLAT, Prompts([(40, 60), (100, 180)], [1, 0]))
    assert np.array_equal(carved, keep | untouched)


def test_a_spill_is_cut_off_at_the_edge_in_the_picture() -> None:
    organ, spill = disc(70, 80, 25), disc(70, 125, 22)
    view = picture((organ, 0.8), (spill & ~organ, 0.55))
    carved = carve(organ | spill, view, Prompts([(70, 80), (70, 135)], [1, 0]))
    assert (carved & organ).sum() / organ.sum() > 0.95
    assert (carved & spill & ~organ).sum() / spill.sum() < 0.1


def test_without_inside_clicks_the_middle_of_the_component_stays() -> None:
    organ = disc(70, 80, 25)
    carved = carve(organ, picture((organ, 0.8)), Prompts([(70, 103)], [0]))
    assert carved[70, 70]
    assert not carved[70, 103]


@pytest.mark.parametrize("prompts", [Prompts([(70, 80)], [1]), Prompts([(5, 5)], [0]), Prompts()])
def test_a_mask_that_nobody_speaks_against_is_left_alone(prompts: Prompts) -> None:
    organ = disc(70, 80, 25)
    assert np.array_equal(carve(organ, FLAT, prompts), organ)


def test_holes_and_outlines_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    gradient = rng.random((40, 30), dtype=np.float32)
    for share in (0.3, 0.55, 0.8):
        region = rng.random((40, 30)) < share
        region[:, :3] = share > 0.5  # at the frame, too
        np.testing.assert_array_equal(_filled(region), ndimage.binary_fill_holes(region))
        outline = ndimage.binary_dilation(region) & ~ndimage.binary_erosion(region)
        assert _sharpness(region, gradient) == pytest.approx(float(gradient[outline].mean()))
