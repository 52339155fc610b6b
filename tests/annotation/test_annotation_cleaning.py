"""Small islands and holes of a label: what goes, what stays, and one undo for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.annotation.cleaning import cleaned

if TYPE_CHECKING:
    from annotation_desk import Desk


def ring_and_crumbs() -> np.ndarray:
    label = np.zeros((40, 40), np.uint8)
    label[5:25, 5:25] = 1
    label[10:13, 10:13] = 0  # a hole of 9
    label[15:18, 15:18] = 2  # another class inside; nothing to fill
    label[30:32, 30:32] = 1  # an island of 4
    label[35:40, 0:6] = 1  # one of 30
    return label


def test_small_islands_go_and_small_holes_are_filled() -> None:
    label = ring_and_crumbs()
    result = cleaned(label)
    assert (result[10:13, 10:13] == 1).all()
    assert (result[15:18, 15:18] == 2).all()  # the only part of its class
    assert not result[30:32, 30:32].any()
    assert (result[35:40, 0:6] == 1).all()
    changed = np.zeros_like(label, bool)
    changed[10:13, 10:13] = changed[30:32, 30:32] = True
    np.testing.assert_array_equal(result != label, changed)


def test_objects_of_one_pixel_and_of_none_stay() -> None:
    label = np.zeros((9, 9), np.uint8)
    np.testing.assert_array_equal(cleaned(label), label)
    label[4, 4] = 1
    np.testing.assert_array_equal(cleaned(label), label)


def test_cleaning_up_is_one_step_and_is_saved(desk: Desk) -> None:
    image_id, plane = desk.annotation.key
    shape = desk.annotation.now.plane_shape
    painted = np.zeros(shape, np.uint8)
    painted[2:14, 2:14] = 1
    painted[6, 6] = 0
    painted[17, 20] = 1
    desk.canvas.listener.paint(plane, np.zeros(shape, np.uint8), painted)
    desk.settle()
    desk.annotation.painting.clean_up()
    desk.settle()
    result = desk.annotation.preview
    assert result[6, 6] == 1
    assert result[17, 20] == 0
    desk.annotation.undo()
    desk.settle()
    np.testing.assert_array_equal(desk.annotation.preview, painted)
    desk.annotation.redo()
    desk.annotation.commit()
    desk.settle()
    np.testing.assert_array_equal(desk.project.label(image_id)[plane.index], result)
    desk.annotation.painting.clean_up()
    assert "No island" in desk.state.status
