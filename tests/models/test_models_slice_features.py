"""Pooled features of the pretrained encoder, by which slices are compared before any training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_scsam.core.errors import InputError
from napari_scsam.models.groups import nearest_distances
from napari_scsam.models.slice_features import FeatureEncoder


@pytest.fixture(scope="module")
def encoder() -> FeatureEncoder:
    return FeatureEncoder(torch.device("cpu"))


def picture(kind: str, seed: int, shape: tuple[int, int] = (90, 120)) -> np.ndarray:
    """Stripes or discs with noise."""
    rows, cols = np.indices(shape)
    pattern = {
        "stripes": np.sin(rows / 3) > 0,
        "discs": (rows % 30 - 15) ** 2 + (cols % 30 - 15) ** 2 < 80,
    }
    noise = np.random.default_rng(seed).normal(0, 10, shape)
    return (100 * pattern[kind] + noise).astype(np.float32)


def test_two_kilobytes_that_tell_pictures_apart(encoder: FeatureEncoder) -> None:
    first, same, other = (
        encoder.features(picture(kind, seed))
        for kind, seed in (("stripes", 0), ("stripes", 1), ("discs", 2))
    )
    assert first.nbytes == 2048 and first.dtype == np.float32
    near, far = nearest_distances(np.stack([same, other]), first[None])
    assert near < far / 3
    np.testing.assert_array_equal(first, encoder.features(picture("stripes", 0)))


def test_neither_brightness_nor_size_nor_colour_changes_much(encoder: FeatureEncoder) -> None:
    grey = picture("discs", 0, (200, 320))
    first, other = encoder.features(grey), encoder.features(picture("stripes", 0, (200, 320)))
    scale = float(nearest_distances(other[None], first[None])[0])
    alike = [
        grey * 7 - 300,
        np.repeat(grey[..., None], 3, 2),
        np.repeat(np.repeat(grey, 3, 0), 3, 1),  # averaged in blocks first
    ]
    for image in alike:
        distance = float(nearest_distances(encoder.features(image)[None], first[None])[0])
        assert distance < scale / 5


def test_a_pattern_finer_than_the_blocks_and_thin_pictures(encoder: FeatureEncoder) -> None:
    board = (np.indices((640, 640)).sum(0) % 2).astype(np.uint8)
    assert np.isfinite(encoder.features(board)).all()
    thin = np.random.default_rng(0).normal(size=(3, 900))
    assert np.isfinite(encoder.features(thin)).all()
    with pytest.raises(InputError):
        encoder.features(np.full((20, 20), 5))
