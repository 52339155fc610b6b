"""Smooth outlines: through their vertices, round where a circle is clicked, filled by even-odd."""

from __future__ import annotations

import numpy as np
import pytest

from napari_scsam.core.smooth_outline import enclosed, smooth_outline

CENTRE, RADIUS = np.array([50.3, 60.8]), 20.0


def on_circle(count: int) -> np.ndarray:
    turns = np.arange(count) * 2 * np.pi / count
    return CENTRE + RADIUS * np.stack([np.sin(turns), np.cos(turns)], axis=1)


@pytest.mark.parametrize("count", [5, 6, 8])
def test_a_circle_is_drawn_from_a_few_vertices(count: int) -> None:
    curve = smooth_outline(on_circle(count))
    assert curve is not None
    area = enclosed(curve, (100, 120)).sum()
    assert area == pytest.approx(np.pi * RADIUS**2, rel=0.02)


@pytest.mark.parametrize("seed", range(20))
def test_the_curve_is_closed_and_goes_through_every_vertex(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-20, 120, (int(rng.integers(3, 12)), 2))
    curve = smooth_outline(vertices)
    assert curve is not None
    assert np.isfinite(curve).all()
    np.testing.assert_array_equal(curve[0], curve[-1])
    for vertex in vertices:
        assert np.hypot(*(curve - vertex).T).min() < 1e-9
    assert enclosed(curve, (100, 100)).shape == (100, 100)


@pytest.mark.parametrize(
    "vertices", [[], [(1, 2)], [(1, 2), (3, 4)], [(1, 2), (3, 4), (3, 4)], [(1, 2), (3, 4)] * 3]
)
def test_fewer_than_three_vertices_enclose_nothing(vertices: list) -> None:
    assert smooth_outline(vertices) is None


def test_repeated_vertices_count_once() -> None:
    once = smooth_outline([(10, 10), (10, 40), (40, 25)])
    twice = smooth_outline([(10, 10), (10, 40), (10, 40), (40, 25), (10, 10)])
    assert once is not None
    assert twice is not None
    np.testing.assert_allclose(twice, once)


def test_what_is_beside_the_plane_is_cut_off_and_both_lobes_of_an_eight_are_filled() -> None:
    beyond = smooth_outline([(-30, -30), (-30, 20), (20, 20), (20, -30)])
    assert beyond is not None
    inside = enclosed(beyond, (60, 60))
    assert inside[0, 0]
    assert inside[15, 0]
    assert not inside[40:].any()
    eight = smooth_outline([(10, 10), (50, 50), (10, 50), (50, 10)])
    assert eight is not None
    filled = enclosed(eight, (60, 60))
    assert filled[30, 45]
    assert filled[30, 15]
    assert not filled[15, 30]
