"""Outlines of label planes, against pixel by pixel counting."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")

from napari_scsam._napari.contours import Contours, contours_of

Edge = tuple[tuple[float, float], tuple[float, float], tuple[float, float], int]


def edges_of(label: np.ndarray) -> set[Edge]:
    """Each pixel's sides to another class: start, end, direction into the pixel, class."""
    padded, found = np.pad(label, 1), set()
    for row, col in np.argwhere(label > 0).tolist():
        here = int(label[row, col])
        sides = {(-1, 0): (0, 1), (1, 0): (0, 1), (0, -1): (1, 0), (0, 1): (1, 0)}
        for (down, right), (length, width) in sides.items():
            if padded[row + 1 + down, col + 1 + right] != here:
                middle = np.array([row + down / 2, col + right / 2])
                half = np.array([length, width]) / 2
                ends = tuple(middle - half), tuple(middle + half)
                found.add((*ends, (float(-down), float(-right)), here))
    return found


def single(contours: Contours) -> list[Edge]:
    """The segments, cut into sides of single pixels."""
    found = []
    for (start, end), inward, class_id in zip(
        contours.pieces, contours.inward, contours.class_ids, strict=True
    ):
        count = round(np.abs(end - start).sum())
        for step in range(count):
            a, b = (start + (end - start) * (step + more) / count for more in (0, 1))
            found.append((tuple(a), tuple(b), tuple(inward), int(class_id)))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_every_side_of_a_pixel_to_another_class_is_outlined_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = np.kron(rng.integers(0, 4, (5, 6)), np.ones((2, 3))).astype(np.uint8)
    label[rng.random(label.shape) < 0.1] = 0
    contours = contours_of(label)
    found = single(contours)
    assert len(found) == len(set(found))
    assert set(found) == edges_of(label)
    assert len(contours) < len(found)  # neighbours are one segment

    dashed = single(contours_of(label, 2))
    assert set(dashed) < set(found)
    assert 0.3 < len(dashed) / len(found) < 0.7


def test_pixels_below_those_of_the_screen_are_outlined_together() -> None:
    label = np.zeros((40, 50), np.uint8)
    label[10:25, 8:37] = 1
    label[33, 44] = 2  # seen, too
    coarse = contours_of(label, coarse=3)
    assert 0 < len(coarse) <= len(contours_of(label))
    for class_id, (top, left, bottom, right) in {1: (10, 8, 25, 37), 2: (33, 44, 34, 45)}.items():
        own = coarse.pieces[coarse.class_ids == class_id].reshape(-1, 2) + 0.5
        low, high = own.min(axis=0), own.max(axis=0)
        assert (low <= (top, left)).all() and (low > (top - 3, left - 3)).all()
        assert (high >= (bottom, right)).all() and (high < (bottom + 3, right + 3)).all()


def test_nothing_has_no_outline_and_all_of_a_plane_has_its_frame() -> None:
    assert len(contours_of(np.zeros((4, 5), np.uint8))) == 0
    frame = contours_of(np.full((4, 5), 7, np.uint8))
    assert len(frame) == 4
    assert set(single(frame)) == edges_of(np.full((4, 5), 7, np.uint8))
