"""What J says that it saves, what it asks about, and what it never drops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation_desk import Desk

from napari_scsam.annotation.empty_commit import ASKED
from napari_scsam.annotation.work import Draft
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import make_classes
from napari_scsam.core.prompts import PointPrompt
from napari_scsam.project import Project
from napari_scsam.project.schema import read_info, write_info


def outline(desk: Desk, row: int = 5, col: int = 5) -> None:
    desk.annotation.editor.add_point(row, col)
    desk.settle()


def saved(desk: Desk) -> np.ndarray:
    key = desk.annotation.key
    assert key is not None
    label = desk.project.label(key[0])
    assert label is not None
    return np.asarray(label[key[1].index])


def put_draft(desk: Desk, plane: Plane, label: np.ndarray, flag: str = "") -> None:
    store = desk.annotation._store
    key = (store.now.image_id, plane)
    store.step(replace(store.now, work=store.now.work.with_drafts({key: Draft(label, flag)})))


def test_j_names_what_it_saved_and_what_it_recorded_as_absent(desk: Desk) -> None:
    outline(desk)
    desk.annotation.commit()
    desk.settle()
    assert desk.state.status == "Saved slice 1 of volume: one. two: not there."
    image_id, plane = desk.annotation.key
    assert desk.project.commits(image_id)[-1].judged.on(plane.index) == (1, 2)


def test_the_other_classes_can_be_left_open_and_looked_for_later(desk: Desk) -> None:
    outline(desk)
    image_id, plane = desk.annotation.key
    desk.annotation.accept_and_next(others_open=True)
    desk.settle()
    assert desk.state.status.startswith("Saved slice 1 of volume: one. two: not annotated yet.")
    assert desk.project.commits(image_id)[-1].judged.on(plane.index) == (1,)
    desk.canvas.go_to(plane)
    desk.annotation.editor.set_class(2)
    outline(desk, 10, 10)
    desk.annotation.accept_and_next(others_open=True)
    desk.settle()
    assert desk.project.commits(image_id)[-1].judged.on(plane.index) == (1, 2)


def test_leaving_everything_open_saves_nothing(desk: Desk) -> None:
    put_draft(desk, desk.annotation.key[1], np.zeros(desk.annotation.now.plane_shape, np.uint8))
    desk.annotation.accept_and_next(others_open=True)
    desk.settle()
    assert "no outline to save" in desk.state.status
    assert desk.project.label_version(desk.annotation.key[0]) is None


@pytest.mark.parametrize("press", ["commit", "accept_and_next"])
def test_an_empty_doubtful_draft_takes_two_presses(desk: Desk, press: str) -> None:
    image_id, plane = desk.annotation.key
    put_draft(desk, plane, np.zeros(desk.annotation.now.plane_shape, np.uint8), "object lost")
    getattr(desk.annotation, press)()
    desk.settle()
    assert f"Slice {plane.index}:" in desk.state.status
    assert "object lost" in desk.state.status
    assert desk.project.committed_planes(image_id) == []
    getattr(desk.annotation, press)()
    desk.settle()
    assert desk.project.committed_planes(image_id) == [plane.index]


@pytest.mark.parametrize("press", ["commit", "accept_and_next"])
def test_a_slice_on_which_something_is_only_asked_about_takes_two_presses(
    desk: Desk, press: str
) -> None:
    image_id, plane = desk.annotation.key
    question = PointPrompt(5, 5, 1, origin="model", state="proposed", kind="query")
    desk.segmenter.proposals = [question, replace(question, row=9, positive=False)]
    desk.annotation.use_tuned(Path("tuned"))
    desk.annotation.suggest()
    desk.settle()
    getattr(desk.annotation, press)()
    desk.settle()
    assert desk.state.status == f"Slice {plane.index}: {ASKED}"
    assert desk.project.committed_planes(image_id) == []
    desk.annotation.editor.reject()  # nothing is asked any more
    desk.settle()
    getattr(desk.annotation, press)()
    desk.settle()
    assert desk.project.committed_planes(image_id) == [plane.index]


def test_commit_all_includes_what_was_outlined_by_hand(desk: Desk) -> None:
    image_id, plane = desk.annotation.key
    other = Plane(0, plane.index + 1)
    label = np.zeros(desk.annotation.now.plane_shape, np.uint8)
    label[3:6, 3:6] = 1
    put_draft(desk, other, label)
    outline(desk, 8, 8)
    drawn = desk.annotation.preview
    desk.annotation.commit_drafts()
    desk.settle()
    assert desk.state.status.startswith("Saved 2 slices.")
    assert desk.project.committed_planes(image_id) == sorted([plane.index, other.index])
    np.testing.assert_array_equal(saved(desk), drawn)
    assert desk.annotation.prompts.is_empty
    desk.annotation.undo()
    desk.settle()
    assert not desk.annotation.prompts.is_empty
    assert list(desk.annotation.now.drafts) == [other]


def test_commit_all_leaves_other_classes_open_where_j_would(desk: Desk) -> None:
    image_id, plane = desk.annotation.key
    second, empty = Plane(0, plane.index + 1), Plane(0, plane.index + 2)
    label = np.zeros(desk.annotation.now.plane_shape, np.uint8)
    put_draft(desk, empty, label)
    desk.annotation.commit_drafts(others_open=True)
    assert "no outline to save" in desk.state.status
    with_two = label.copy()
    with_two[:2] = 2
    put_draft(desk, second, with_two)
    outline(desk, 8, 8)
    desk.annotation.commit_drafts(others_open=True)
    desk.settle()
    said = "Saved 2 slices. Classes without an outline: not annotated yet."
    assert desk.state.status == said
    judged = desk.project.commits(image_id)[-1].judged
    assert (judged.on(plane.index), judged.on(second.index)) == ((1,), (2,))
    assert list(desk.annotation.now.drafts) == [empty]


def test_what_was_left_open_stays_open_when_other_slices_are_committed(desk: Desk) -> None:
    image_id, plane = desk.annotation.key
    outline(desk)
    desk.annotation.commit(others_open=True)
    desk.settle()
    drafted = Plane(0, plane.index + 1)
    put_draft(desk, drafted, np.ones(desk.annotation.now.plane_shape, np.uint8))
    desk.annotation.commit_drafts()
    desk.settle()
    judged = desk.project.commits(image_id)[-1].judged
    assert (judged.on(plane.index), judged.on(drafted.index)) == ((1,), (1, 2))
    desk.canvas.go_to(Plane(1, 2))
    outline(desk, 3, 3)
    desk.annotation.commit()
    desk.settle()
    judged = desk.project.commits(image_id)[-1].judged
    assert (judged.on(plane.index), judged.on(drafted.index)) == ((1,), (1, 2))


@pytest.mark.parametrize("leave", ["slider", "skip"])
def test_leaving_a_plane_while_j_waits_for_its_outline_is_said(desk: Desk, leave: str) -> None:
    image_id, plane = desk.annotation.key
    desk.annotation.editor.add_point(5, 5)
    desk.annotation.accept_and_next()
    if leave == "slider":
        desk.canvas.go_to(Plane(0, plane.index + 1))
    else:
        desk.annotation.navigation.skip()
    desk.settle()
    assert desk.state.is_error
    assert desk.state.status.startswith(f"Slice {plane.index} was not saved")
    assert desk.project.committed_planes(image_id) == []
    desk.canvas.go_to(plane)
    desk.settle()
    assert desk.annotation.preview[5, 5] == 1  # its prompts are there


def test_what_is_clicked_while_a_slice_is_being_saved_is_not_lost(desk: Desk) -> None:
    outline(desk)
    desk.annotation.commit()
    desk.annotation.editor.add_point(12, 12)
    desk.settle()
    assert [(p.row, p.col) for p in desk.annotation.prompts.points] == [(12, 12)]
    assert saved(desk)[12, 12] == 0
    desk.annotation.commit()
    desk.settle()
    assert saved(desk)[12, 12] == 1


def test_a_new_class_on_a_committed_slice_eats_nothing_of_the_others(desk: Desk) -> None:
    outline(desk)
    desk.annotation.commit()
    desk.settle()
    before = saved(desk)
    desk.annotation.editor.set_class(2)
    outline(desk, 6, 6)
    desk.annotation.commit()
    desk.settle()
    np.testing.assert_array_equal(saved(desk) == 1, before == 1)
    assert (saved(desk) == 2).any()


def test_the_switch_lets_a_class_take_the_others_pixels_as_a_step(desk: Desk) -> None:
    outline(desk)
    desk.annotation.editor.set_class(2)
    outline(desk, 6, 6)
    assert desk.annotation.preview[5, 5] == 1
    desk.annotation.editor.set_over("all")
    desk.settle()
    assert desk.annotation.preview[5, 5] == 2
    desk.annotation.undo()
    desk.settle()
    assert desk.annotation.preview[5, 5] == 1


def test_j_on_another_axis_says_nothing_of_what_it_does_not_record(desk: Desk) -> None:
    outline(desk)
    desk.annotation.commit(others_open=True)
    desk.settle()
    image_id, plane = desk.annotation.key
    desk.canvas.go_to(Plane(1, 2))
    outline(desk, 3, 3)
    desk.annotation.commit()
    desk.settle()
    assert desk.project.commits(image_id)[-1].judged.on(plane.index) == (1,)
    assert desk.state.status == "Saved slice 2 of volume: one. two: decided on axis 0 slices."


def test_commit_all_on_another_axis_leaves_nothing_open_and_does_not_say_so(desk: Desk) -> None:
    desk.canvas.go_to(Plane(1, 2))
    label = np.zeros(desk.annotation.now.plane_shape, np.uint8)
    label[1:3, 1:3] = 1
    put_draft(desk, Plane(1, 3), label)
    desk.annotation.commit_drafts(others_open=True)
    desk.settle()
    assert desk.state.status == "Saved 1 slice."


@pytest.mark.parametrize("plane", [Plane(0, 1), Plane(1, 2)])
def test_a_slice_judged_for_a_class_that_left_the_table_is_saved_again(
    project: Project, plane: Plane
) -> None:
    image_id = project.images()[0].id
    project.commit(image_id, np.zeros(project.image(image_id).shape, np.uint8))
    project.close()
    info = read_info(project.folder)
    write_info(project.folder, replace(info, classes=make_classes(["one"])))
    with Project.open(project.folder) as later:
        desk = Desk(later)
        desk.annotation.navigation.open_image(image_id, plane)
        desk.settle()
        outline(desk)
        desk.annotation.commit()
        desk.settle()
        commits = later.commits(image_id)
        assert len(commits) == 2, desk.state.status
        assert commits[-1].judged.on(1) == (1,)


def test_beside_a_slice_judged_for_a_class_alone_that_left_the_table(project: Project) -> None:
    image_id = project.images()[0].id
    shape = project.image(image_id).shape
    project.commit(image_id, np.zeros(shape[1:], np.uint8), plane=Plane(0, 0), judged=[2])
    project.close()
    info = read_info(project.folder)
    write_info(project.folder, replace(info, classes=make_classes(["one"])))
    with Project.open(project.folder) as later:
        desk = Desk(later)
        desk.annotation.navigation.open_image(image_id, Plane(1, 2))
        desk.settle()
        outline(desk)
        desk.annotation.commit()
        desk.settle()
        assert len(later.commits(image_id)) == 2, desk.state.status
