"""Second opinions: the first label is hidden, and stays current beside the second one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.project.opinions import (
    added_versions,
    author_of,
    leading_to_current,
    opinions,
)
from napari_scsam.workflows.agreement import compare_opinions

if TYPE_CHECKING:
    from annotation_desk import Desk

    from napari_scsam.project import Project

AS_IT_IS = {255: 255}


@pytest.fixture
def of_anna(project: Project) -> np.ndarray:
    """The label that anna made, of slices 1 and 3, with a square of 3 x 6; ben is here now."""
    image = project.images()[0].id
    project.sign("anna")
    label = np.zeros((20, 30), np.uint8)
    label[4:7, 4:10] = 1
    for index in (1, 3):
        project.commit(image, label, plane=Plane(0, index))
    project.sign("ben")
    return project.label(image)


@pytest.fixture
def blind(of_anna: np.ndarray, desk: Desk) -> Desk:
    """A desk in front of anna's first slice, without seeing her label."""
    desk.annotation.navigation.give_second_opinions(True)
    desk.settle()
    return desk


def click(desk: Desk, row: int, col: int) -> None:
    desk.annotation.editor.add_point(row, col)
    desk.settle()


def test_what_others_labelled_is_hidden_and_comes_back(
    blind: Desk, of_anna: np.ndarray, project: Project
) -> None:
    assert blind.annotation.key == (project.images()[0].id, Plane(0, 1))
    assert (blind.canvas.scene.committed == NOT_ANNOTATED).all()
    assert not blind.canvas.scene.slices.marks
    assert "Committed" not in blind.state.counts
    blind.annotation.undo()  # a step of before, which is anna's commit
    blind.settle()
    assert "what anna committed" in blind.state.status and blind.state.is_error
    assert np.array_equal(project.label(project.images()[0].id), of_anna)
    blind.annotation.navigation.give_second_opinions(False)
    blind.settle()
    assert np.array_equal(blind.canvas.scene.committed, of_anna)


def test_the_second_label_is_kept_beside_the_first_and_compared(
    blind: Desk, of_anna: np.ndarray, project: Project
) -> None:
    image = project.images()[0].id
    click(blind, 5, 5)  # a square of 3 x 3, all of it in anna's
    blind.annotation.accept_and_next()
    blind.settle()
    assert blind.annotation.key == (image, Plane(0, 3))  # the next slice of hers
    assert np.array_equal(project.label(image), of_anna) and project.label_version(image) == 2
    (opinion,) = opinions(project)[image]
    assert opinion.planes == (1,) and opinion.commit.by == "ben"
    shown = blind.canvas.scene.committed
    assert shown[1].sum() == 9 and (shown[3] == NOT_ANNOTATED).all()
    blind.annotation.undo()
    blind.settle()
    assert np.array_equal(project.label(image), of_anna)
    assert (blind.canvas.scene.committed[3] == NOT_ANNOTATED).all()
    (compared,), problems = compare_opinions(project)
    assert (compared.first, compared.second, compared.plane) == ("anna", "ben", 1)
    assert compared.dice == {1: pytest.approx(2 * 9 / (9 + 18))} and problems == []
    # Anna sees her own, and ben's slice is nothing that she has to do.
    project.sign("anna")
    blind.annotation.navigation.give_second_opinions(True)
    blind.settle()
    assert np.array_equal(blind.canvas.scene.committed, of_anna)


def test_a_slice_that_nobody_labelled_is_labelled_as_ever(
    blind: Desk, of_anna: np.ndarray, project: Project
) -> None:
    image = project.images()[0].id
    blind.canvas.go_to(Plane(0, 2))
    click(blind, 8, 8)
    blind.annotation.commit()
    blind.settle()
    label = project.label(image)
    assert label[2].sum() == 9 and np.array_equal(label[[1, 3]], of_anna[[1, 3]])
    assert opinions(project) == {}


def test_a_slice_along_another_axis_takes_over_none_that_it_crosses(
    of_anna: np.ndarray, desk: Desk, project: Project
) -> None:
    """It changes one line of each; who labelled the slice stays who labelled it."""
    image = project.images()[0].id
    desk.canvas.go_to(Plane(1, 12))
    click(desk, 2, 8)
    desk.annotation.commit()  # by ben
    desk.settle()
    label = project.label(image)
    assert label[1, 12, 8] == 1 and label[1].sum() == of_anna[1].sum() + 3
    desk.canvas.go_to(Plane(0, 1))
    desk.annotation.navigation.give_second_opinions(True)
    desk.settle()
    assert (desk.canvas.scene.committed[[1, 3]] == NOT_ANNOTATED).all()
    click(desk, 5, 5)
    desk.annotation.commit()
    desk.settle()
    (compared,), _ = compare_opinions(project)
    assert (compared.first, compared.second, compared.plane) == ("anna", "ben", 1)
    # A slice that is labelled line by line is theirs who labelled the lines.
    desk.annotation.navigation.give_second_opinions(False)
    desk.settle()
    for row in range(20):
        desk.canvas.go_to(Plane(1, row))
        desk.annotation.commit()
        desk.settle()
    versions = [commit.version for commit in leading_to_current(project, image)]
    chain, added = leading_to_current(project, image), added_versions(project, image)
    assert set(versions[2:]) == added
    assert [author_of(chain, index, added) for index in range(5)] == [
        *("ben", "anna", "ben", "anna", "ben")
    ]


def test_drafts_and_other_axes_change_nothing_of_others(
    blind: Desk, of_anna: np.ndarray, project: Project
) -> None:
    """What commits a whole label: the slices that were not seen stay, changed ones are kept."""
    image = project.images()[0].id
    second = blind.annotation.navigation.queue.second
    whole = second.label(image)
    whole[0] = 0
    second.commit(image, whole, mapping=AS_IT_IS, source=("drafts", {}))
    assert np.array_equal(project.label(image)[[1, 3]], of_anna[[1, 3]])
    assert not project.label(image)[0].any() and opinions(project) == {}
    whole = second.label(image)
    whole[3] = 2
    version = second.commit(image, whole, mapping=AS_IT_IS, source=("drafts", {})).version
    assert version == project.label_version(image)
    assert np.array_equal(project.label(image)[[1, 3]], of_anna[[1, 3]])
    (opinion,) = opinions(project)[image]
    assert opinion.planes == (3,) and (second.label(image)[3] == 2).all()
    # Drafts that are added beside the work of somebody else leave it theirs.
    second.is_on = False
    whole = project.label(image)
    whole[4] = 0
    second.commit(image, whole, mapping=AS_IT_IS, source=("drafts", {}))
    second.is_on = True
    assert (second.label(image)[1] == NOT_ANNOTATED).all()
    assert not second.label(image)[4].any()
