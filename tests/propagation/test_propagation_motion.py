"""Outlines that go along with what moves in the picture, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_scsam.propagation.motion import Drift
from napari_scsam.propagation.settings import SETTINGS


def picture(shift: tuple[int, int] = (0, 0), size: int = 96) -> np.ndarray:
    """A textured plane whose content lies `shift` further down and to the right."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(size, size)), 3)
    moved = np.roll(noise / np.abs(noise).max() / 2 + 0.5, shift, (0, 1))
    return moved.astype(np.float32)


def outline(row: float, col: float, shape: tuple[int, int] = (96, 96)) -> np.ndarray:
    """Log-odds of a disc of radius 14."""
    rows, cols = np.indices(shape)
    away = np.hypot(rows - row, cols - col)
    return np.clip(0.4 * (14 - away), -8, 8).astype(np.float32)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_an_outline_follows_the_picture_over_several_planes() -> None:
    drift = Drift.start(picture(), {1: outline(40, 44), 2: outline(66, 30)})
    for step in (1, 2, 3, 4):
        drift = drift.onto(picture((2 * step, -step)))
    for class_id, row, col in ((1, 40, 44), (2, 66, 30)):
        found = drift.log_odds(class_id, (96, 96)) > 0
        assert dice(found, outline(row + 8, col - 4) > 0) > 0.97
        assert dice(found, outline(row, col) > 0) < 0.8  # where it began
    assert drift.log_odds(3, (96, 96)) is None


def test_outlines_may_be_on_a_finer_grid_than_the_view_and_come_back_on_it() -> None:
    fine = outline(80, 88, (192, 192))
    drift = Drift.start(picture(), {1: fine}).onto(picture())
    assert drift.outlines[1].shape == (96, 96)
    assert dice(drift.log_odds(1, (192, 192)) > 0, fine > 0) > 0.97


def test_a_large_view_is_compared_in_small() -> None:
    view = np.kron(picture(), np.ones((8, 8), np.float32))
    drift = Drift.start(view, {1: outline(40, 44)})
    assert max(drift.picture.shape) == SETTINGS.flow.longest


def test_a_plane_of_another_shape_ends_it() -> None:
    drift = Drift.start(picture(), {1: outline(40, 44)}).onto(picture(size=80))
    assert drift.log_odds(1, (80, 80)) is None


@pytest.mark.parametrize("view", [np.zeros((96, 96), np.float32), np.ones((96, 96), np.float32)])
def test_a_plane_of_one_value_moves_nothing(view: Any) -> None:
    drift = Drift.start(view, {1: outline(40, 44)}).onto(view)
    np.testing.assert_allclose(drift.log_odds(1, (96, 96)), outline(40, 44), atol=1e-4)


@pytest.mark.parametrize(("radius", "known"), [(0, False), (4, False), (6, True)])
def test_an_outline_too_small_to_be_seen_moving_is_not_followed(radius: int, known: bool) -> None:
    rows, cols = np.indices((96, 96))
    odds = (radius - np.hypot(rows - 40, cols - 44)).astype(np.float32)
    drift = Drift.start(picture(), {1: odds}).onto(picture((2, 0)))
    assert (drift.log_odds(1, (96, 96)) is not None) is known
