"""The loop in a real viewer, with real mouse clicks and real buttons."""

from __future__ import annotations

import numpy as np
import pytest

from napari_scsam.project import Project

pytestmark = pytest.mark.gui


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def _disc(shape: tuple[int, int], row: float, col: float, radius: float) -> np.ndarray:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


def test_click_decode_commit_on_a_slice_of_a_volume(hand, dock, volume_path, tmp_path):
    dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    hand.until(lambda: dock.session is not None and dock.session.annotation.key is not None)
    key = dock.session.annotation.key
    assert key[1].index == 3

    hand.click(34, 58)
    points = dock.session.annotation.prompts.points
    assert len(points) == 1
    assert abs(points[0].row - 34) < 1
    assert abs(points[0].col - 58) < 1
    hand.until(lambda: dock.session.annotation.preview is not None)
    preview = dock.session.canvas.layers["preview"].data[3]
    assert _dice(preview == 1, _disc((96, 80), 34, 58, 14)) > 0.7

    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    shown = preview.copy()
    assert not dock.session.canvas.layers["preview"].data[3].any()
    dock.close_project()
    with Project.open(tmp_path / "project") as project:
        label = project.label(key[0])
        assert project.committed_planes(key[0]) == [3]
    assert (label[[0, 1, 2, 4, 5]] == 255).all()
    assert (shown == 0).all()  # the view was cleared; the label was not
    assert _dice(label[3] == 1, _disc((96, 80), 34, 58, 14)) > 0.7
