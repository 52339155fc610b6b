"""Undo reaches the commits of earlier sessions."""

from __future__ import annotations

import numpy as np
from annotation_desk import Desk

from napari_scsam.annotation.earlier_versions import earlier_versions
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project


def commit_at(desk: Desk, index: int) -> None:
    image_id, _ = desk.annotation.key
    desk.annotation.navigation.open_image(image_id, Plane(0, index))
    desk.annotation.editor.add_point(8, 8)
    desk.settle()
    desk.annotation.commit()
    desk.settle()


def test_undo_and_redo_go_through_commits_of_the_session_before(desk: Desk) -> None:
    image_id, _ = desk.annotation.key
    folder = desk.project.folder
    for index in (0, 2):
        commit_at(desk, index)
    first, both = (desk.project.label(image_id), desk.project.committed_planes(image_id))
    assert both == [0, 2]
    desk.annotation.close()
    desk.project.close()

    with Project.open(folder) as project:
        later = Desk(project)
        later.annotation.navigation.open_image(image_id, Plane(0, 1))
        later.settle()
        commit_at(later, 1)
        for left in ([0, 2], [0], []):
            later.annotation.undo()
            if left == [0, 2]:  # the click on slice 1 is a step of its own
                later.settle()
                assert project.committed_planes(image_id) == left
                later.annotation.undo()
            later.settle()
            assert project.committed_planes(image_id) == left
        assert "undo" not in later.state.enabled
        assert later.annotation.key == (image_id, Plane(0, 0))
        for _ in range(2):
            later.annotation.redo()
            later.settle()
        assert project.committed_planes(image_id) == [0, 2]
        np.testing.assert_array_equal(project.label(image_id), first)


def test_what_was_undone_is_not_undone_again(desk: Desk) -> None:
    image_id, _ = desk.annotation.key
    commit_at(desk, 0)
    commit_at(desk, 2)
    desk.annotation.undo()
    desk.settle()
    commit_at(desk, 1)
    numbers = [version.number for version in earlier_versions(desk.project, image_id)]
    assert numbers == [None, 1, 3]
