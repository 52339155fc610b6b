"""What distinguishes an object from its surroundings: when it is used, where, and how."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_scsam.models import Embedding
from napari_scsam.propagation.appearance import Appearance

SHAPE = (200, 256)


def disc(row: float, col: float, radius: float) -> np.ndarray:
    rows, cols = np.indices(SHAPE)
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


def embedding(bright: np.ndarray, noise: float = 0.1) -> Embedding:
    """Features that show what is bright, among noise."""
    canvas = torch.zeros(1, 1, 256, 256)
    canvas[0, 0, : SHAPE[0]] = torch.from_numpy(bright.astype(np.float32))
    shown = torch.nn.functional.avg_pool2d(canvas, 4)
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(1, 16, 64, 64, generator=draw) * noise
    features[:, :1] += shown
    return Embedding(features, SHAPE, bright.astype(np.float32), "")


def test_it_says_where_the_object_is_now_and_nothing_of_far_places() -> None:
    mask, moved = disc(90, 100, 30), disc(90, 124, 30)
    look = Appearance.of(embedding(mask), mask)
    assert look is not None and look.trust == 1
    far_away = disc(90, 230, 15)
    hint = look.hint(embedding(moved | far_away), mask)
    assert hint.shape == SHAPE and hint.dtype == np.float32
    rim = 6  # a cell that the rim runs through is of both sides
    came = disc(90, 124, 30 - rim) & ~mask
    left = disc(90, 100, 30 - rim) & ~disc(90, 124, 30 + rim)
    assert came.any() and (hint[came] > 0).all()
    assert left.any() and (hint[left] < 0).all()
    assert np.abs(hint[far_away]).max() == 0


def test_that_a_place_looks_different_weighs_more_than_that_it_looks_the_same() -> None:
    mask = disc(90, 100, 30)
    hint = Appearance.of(embedding(mask, 0.02), mask).hint(embedding(mask, 0.02), mask)
    inside, outside = hint[disc(90, 100, 20)].max(), hint[disc(90, 100, 50) & ~disc(90, 100, 40)]
    assert 0 < inside < -outside.min()


@pytest.mark.parametrize("beside", ["everywhere", "in one direction"])
def test_it_is_not_told_where_the_surroundings_look_the_same(beside: str) -> None:
    mask = disc(90, 100, 30)
    same = np.ones(SHAPE, bool) if beside == "everywhere" else disc(90, 100, 60)
    same &= (np.indices(SHAPE)[1] > 100) | (beside == "everywhere")
    assert Appearance.of(embedding(mask | same), mask) is None


@pytest.mark.parametrize("radius", [1, 2])
def test_it_is_not_learned_from_what_is_smaller_than_a_cell(radius: int) -> None:
    mask = disc(90, 100, radius)
    assert Appearance.of(embedding(mask), mask) is None


def test_a_backend_with_features_of_its_own_kind_has_no_appearances() -> None:
    mask = disc(90, 100, 30)
    plain = embedding(mask)
    look = Appearance.of(plain, mask)
    other = Embedding(object(), SHAPE, plain.view, "")
    assert Appearance.of(other, mask) is None
    assert look.hint(other, mask) is None
