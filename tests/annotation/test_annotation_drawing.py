"""Several prompts, kinds, objects and planes without Qt, and what cannot be a prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_scsam.annotation.editor import ALREADY, NO_AREA, OUTSIDE_IMAGE, TOO_SHORT
from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import PointPrompt, PromptSet
from napari_scsam.inference.messages import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annotation_desk import Desk

    from napari_scsam.inference.messages import Question
    from napari_scsam.project import Project

LASSO = [(4, 4), (4, 8), (8, 8), (8, 4)]


def test_every_kind_of_prompt_on_two_classes_is_asked_and_undone_one_by_one(desk: Desk) -> None:
    loop = desk.annotation
    steps = [PromptSet()]
    for act in (
        lambda: loop.editor.set_box((2, 2, 10, 10)),
        lambda: loop.editor.add_point(6, 6),
        lambda: loop.editor.add_stroke("scribble", [(5, 5), (5, 9)], True),
        lambda: loop.editor.add_stroke("lasso", LASSO, False),
        lambda: loop.editor.set_class(2),
        lambda: loop.editor.add_stroke("lasso", [(12, 20), (12, 26), (17, 23)], True),
        lambda: loop.editor.add_point(15, 28, False),
    ):
        act()
        if loop.prompts != steps[-1]:
            steps.append(loop.prompts)
        desk.settle()
    assert loop.prompts.objects() == ((1, 1), (2, 1))
    assert desk.segmenter.asked[-1].prompts == steps[-1]
    assert desk.canvas.prompts == steps[-1]
    assert desk.state.counts.startswith("2 points by you, 1 box, 1 scribble, 2 lassos")
    for before in reversed(steps[:-1]):
        loop.undo()
        desk.settle()
        assert loop.prompts == before
        assert desk.canvas.prompts == before
    assert len(steps) == 7


def test_a_box_apart_begins_another_object_and_a_box_on_one_replaces_its(desk: Desk) -> None:
    loop = desk.annotation
    loop.editor.set_box((2, 2, 6, 6))
    loop.editor.set_box((3, 3, 7, 7))
    assert loop.prompts.boxes == {(1, 1): (3, 3, 7, 7)}
    loop.editor.set_box((12, 12, 18, 18))
    assert set(loop.prompts.boxes) == {(1, 1), (1, 2)}
    assert loop.now.active_object == desk.canvas.active == (1, 2)
    assert "2 objects, now number 2" in desk.state.counts
    loop.editor.set_box((2, 2, 5, 5))  # meets the first again
    assert loop.prompts.boxes == {(1, 1): (2, 2, 5, 5), (1, 2): (12, 12, 18, 18)}
    assert loop.now.active_object == (1, 1)
    loop.editor.add_point(4, 4)
    assert loop.prompts.points[0].object_key == (1, 1)


def test_another_object_begins_by_key_and_a_click_on_a_point_goes_back(desk: Desk) -> None:
    loop = desk.annotation
    loop.editor.new_object()
    assert loop.now.active_object == (1, 1)
    loop.editor.add_point(5, 5)
    loop.editor.new_object()
    assert "1 object, now another" in desk.state.counts
    loop.editor.add_point(12, 20)
    assert [p.object_id for p in loop.prompts.points] == [1, 2]
    loop.editor.select_point(0)
    loop.editor.add_point(6, 6, False)
    assert loop.prompts.points[-1].object_key == (1, 1)
    for _ in range(3):
        loop.undo()
    loop.editor.add_point(3, 3)
    assert loop.prompts.points[-1].object_key == (1, 1)


def test_a_selected_box_or_stroke_is_deleted_and_comes_back_by_undo(desk: Desk) -> None:
    loop = desk.annotation
    loop.editor.set_box((2, 2, 6, 6))
    loop.editor.add_stroke("scribble", [(5, 5), (5, 9)], True)
    loop.editor.add_stroke("scribble", [(9, 9), (12, 12)], False)
    loop.editor.select_line(0)
    assert desk.state.counts.startswith("A scribble, one, is selected")
    loop.editor.delete_selected()
    assert [s.positive for s in loop.prompts.strokes] == [False]
    loop.editor.select_line((1, 1))
    assert desk.canvas.line == (1, 1)
    loop.editor.delete_selected()
    assert loop.prompts.boxes == {}
    loop.editor.delete_selected()  # nothing is selected any more
    assert len(loop.prompts.strokes) == 1
    loop.undo()
    loop.undo()
    assert len(loop.prompts.strokes) == 2
    assert set(loop.prompts.boxes) == {(1, 1)}


def test_what_lies_beside_the_image_is_no_prompt_or_is_cut_at_its_edge(desk: Desk) -> None:
    loop = desk.annotation  # a plane of 20 x 30
    loop.editor.add_point(20.4, 5)
    assert desk.state.status == OUTSIDE_IMAGE
    loop.editor.add_stroke("scribble", [(-5, -5), (-2, 8)], True)
    assert desk.state.status == OUTSIDE_IMAGE
    loop.editor.set_box((40, 40, 60, 60))
    assert desk.state.status == NO_AREA
    assert loop.prompts.is_empty
    loop.editor.set_box((15, 25, 60, 60))
    assert loop.prompts.boxes[1, 1] == (15, 25, 19, 29)
    loop.editor.add_stroke("scribble", [(-5, 3), (2, 3), (6, 3)], True)
    assert loop.prompts.strokes[0].path == ((2, 3), (6, 3))
    loop.editor.add_point(5, 5)
    loop.editor.move_point(0, 5, 99)
    assert (loop.prompts.points[0].row, loop.prompts.points[0].col) == (5, 5)
    assert "moved back" in desk.state.status


@pytest.mark.parametrize("box", [(5, 5, 5, 5), (5, 5, 5, 12), (5, 5, 12, 5.4)])
def test_a_box_without_an_area_is_a_hint(desk: Desk, box: tuple[float, ...]) -> None:
    desk.annotation.editor.set_box(box)  # type: ignore[arg-type]
    assert desk.state.status == NO_AREA
    assert not desk.state.is_error
    assert desk.annotation.prompts.is_empty


def test_a_line_that_is_too_short_is_a_hint(desk: Desk) -> None:
    desk.annotation.editor.add_stroke("lasso", [(5, 5), (5, 9)], True)
    assert desk.state.status == TOO_SHORT
    desk.annotation.editor.add_stroke("scribble", [(5, 5)], True)
    assert desk.state.status == TOO_SHORT
    assert desk.annotation.prompts.is_empty


def test_of_two_points_at_one_pixel_the_later_one_counts(desk: Desk) -> None:
    loop = desk.annotation
    loop.editor.add_point(5.2, 5.2)
    loop.editor.add_point(4.9, 5.1, False)
    assert [p.positive for p in loop.prompts.points] == [False]
    loop.editor.add_point(9, 9)
    loop.editor.move_point(1, 5, 5)
    assert [p.positive for p in loop.prompts.points] == [True]
    loop.editor.set_class(2)
    loop.editor.add_point(5, 5)  # another class may claim the pixel
    assert len(loop.prompts.points) == 2


def test_a_proposal_that_a_person_contradicts_at_its_pixel_is_rejected(desk: Desk) -> None:
    proposal = PointPrompt(5, 5, 1, True, "model", "confirm", 0.9, "proposed", 1)
    desk.segmenter.proposals = [proposal]
    desk.use_round()
    desk.annotation.suggest()
    desk.settle()
    desk.annotation.editor.add_point(5, 5, False)
    assert [(p.origin, p.state) for p in desk.annotation.prompts.points] == [
        ("model", "rejected"),
        ("person", "accepted"),
    ]


def test_prompts_stay_on_the_plane_and_the_axis_where_they_were_drawn(desk: Desk) -> None:
    loop = desk.annotation
    loop.editor.add_point(5, 5)
    loop.editor.add_stroke("lasso", LASSO, True)
    drawn = loop.prompts
    for elsewhere in (Plane(0, 2), Plane(1, 1), Plane(2, 1)):
        desk.canvas.go_to(elsewhere)
        desk.settle()
        assert desk.canvas.prompts.is_empty
        assert desk.canvas.previews[elsewhere] is None
    desk.canvas.go_to(Plane(0, 1))
    assert desk.canvas.prompts == drawn


def test_the_view_turns_to_another_axis_at_the_last_point(desk: Desk) -> None:
    loop = desk.annotation
    assert desk.state.axes == ("axis 0", "axis 1", "axis 2")
    desk.canvas.indices = [1, 8, 11]
    loop.set_axis(2)
    assert loop.key[1] == Plane(2, 11)
    assert "slice 11 (0 to 29)" in desk.state.heading
    assert desk.state.axis == 2
    loop.editor.add_point(3, 17)  # (slice, row)
    loop.set_axis(1)
    assert loop.key[1] == Plane(1, 17)
    assert desk.state.axis == 1
    desk.canvas.indices = [99, 0, 0]
    loop.set_axis(0)
    assert loop.key[1] == Plane(0, 4)


def test_a_plane_along_another_axis_is_committed_passed_and_taken_back(
    desk: Desk, project: Project
) -> None:
    loop, (first, second) = desk.annotation, (record.id for record in project.images())
    project.commit(first, np.zeros((20, 30), np.uint8), plane=Plane(0, 3))
    desk.forget_image()  # opened anew, with that label
    loop.navigation.open_image(first, Plane(2, 27))
    desk.settle()
    loop.editor.add_point(2, 9)
    desk.settle()
    loop.accept_and_next()
    desk.settle()
    assert loop.key == (first, Plane(2, 28))
    label = project.label(first)
    assert label[2, 9, 27] == 1
    assert (label[[0, 1, 2, 4]][..., 28] == 255).all()
    assert not label[3, :, 28].any()
    # The lines across them leave the other slices to do.
    assert project.committed_planes(first) == [3]
    loop.navigation.skip()
    assert project.skipped() == []
    assert loop.key == (first, Plane(2, 29))
    loop.navigation.skip()
    desk.settle()
    assert loop.key == (second, Plane(0, 0))
    loop.undo()
    desk.settle()
    assert loop.key == (first, Plane(2, 27))
    assert (project.label(first)[2] == 255).all()
    assert project.committed_planes(first) == [3]


def test_a_round_suggests_nothing_along_an_axis_that_it_never_saw(desk: Desk) -> None:
    desk.use_round()
    desk.canvas.go_to(Plane(1, 4))
    desk.annotation.suggest()
    assert desk.state.status == "Suggestions are for axis 0 slices. Here, click or draw a box."
    assert desk.segmenter.asked == []


def test_a_slice_that_the_model_cannot_read_keeps_its_label_and_its_prompts(
    desk: Desk, project: Project
) -> None:
    loop = desk.annotation
    loop.editor.add_point(5, 5)
    desk.settle()
    loop.commit()
    desk.settle()
    good = desk.segmenter.decode

    def fail(_question: Question) -> Answer:
        raise InputError("All pixels of the image are 0.0: there is nothing to see.")

    desk.segmenter.decode = fail  # type: ignore[method-assign]
    loop.editor.add_point(6, 6)
    desk.settle()
    loop.commit()
    desk.settle()
    assert desk.state.is_error
    assert desk.state.status.startswith("There is no outline to save")
    assert project.label(loop.now.image_id)[1].any()
    assert len(loop.prompts.points) == 1
    desk.segmenter.decode = good  # type: ignore[method-assign]
    loop.editor.add_point(8, 8)
    desk.settle()
    loop.commit()
    desk.settle()
    assert project.label(loop.now.image_id)[1, 8, 8] == 1


@pytest.mark.parametrize(("iou", "words"), [(0.9, "sure 0.90"), (0.7, "fair"), (0.1, "unsure")])
def test_how_sure_the_model_is_of_its_outline_is_said(desk: Desk, iou: float, words: str) -> None:
    good = desk.segmenter.decode
    desk.segmenter.decode = lambda q: replace(good(q), iou=iou)  # type: ignore[method-assign]
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    assert f"outline: {words}" in desk.state.counts


def outline(desk: Desk, vertices: Sequence[tuple[float, float]]) -> None:
    """Set the vertices of a smooth outline one by one, and close it."""
    desk.annotation.pick_tool("smooth")
    for number in range(1, len(vertices) + 1):
        desk.canvas.listener.set_vertices(vertices[:number])
    desk.canvas.listener.complete_outline()
    desk.settle()


def test_a_smooth_outline_around_another_class_is_a_ring(desk: Desk, project: Project) -> None:
    loop = desk.annotation
    around = [(10, 3), (17, 10), (10, 17), (3, 10)]
    loop.editor.add_point(10, 10)
    desk.settle()
    cavity = np.array(loop.preview)
    loop.editor.set_class(2)
    outline(desk, around)
    assert loop.preview is not None
    np.testing.assert_array_equal(loop.preview == 1, cavity == 1)
    ring = loop.preview == 2
    assert ring[10, 5] and ring[5, 10] and ring[15, 10]
    assert ring.sum() + (cavity == 1).sum() == pytest.approx(np.pi * 49, rel=0.05)
    assert "protected" in desk.state.status
    loop.undo()
    desk.settle()
    np.testing.assert_array_equal(loop.preview, cavity)
    for vertices, said in (
        ((*around[:2], around[0]), "three different vertices"),
        ([(-15, -15), (-15, -10), (-10, -15)], "no pixel of this slice"),
    ):
        outline(desk, vertices)
        assert said in desk.state.status
    np.testing.assert_array_equal(loop.preview, cavity)
    # As a slice that has only this outline, it is saved without a model.
    loop.redo()
    outline(desk, around)
    assert "already" in desk.state.status or "protected" in desk.state.status
    loop.commit()
    desk.settle()
    np.testing.assert_array_equal(project.label(loop.now.image_id)[1] == 2, ring)


def test_clicks_correct_a_ring_that_a_box_made(desk: Desk) -> None:
    cavity = (slice(8, 13), slice(8, 13))

    def decode(question: Question) -> Answer:
        """A box of either class is answered by the cavity, a click by a square."""
        shape = question.pixels.shape[:2]
        label = np.zeros(shape, np.uint8) if question.draft is None else question.draft.copy()
        for (class_id, _), box in question.prompts.boxes.items():
            if box not in question.included.boxes.values():
                label[cavity] = class_id
        for point in question.prompts.points:
            if point not in question.included.points:
                row, col = round(point.row), round(point.col)
                label[row - 3 : row + 4, col - 3 : col + 4] = point.class_id
        return Answer(question.prompts, label, "points")

    desk.segmenter.decode = decode
    loop = desk.annotation
    loop.editor.set_box((8, 8, 12, 12))
    desk.settle()
    loop.editor.set_class(2)
    loop.editor.set_box((4, 4, 16, 16))
    desk.settle()
    ring = loop.preview == 2
    assert ring.sum() > 80 and (loop.preview[cavity] == 1).all()
    before = np.array(loop.preview)
    loop.editor.add_point(18, 10)
    desk.settle()
    assert (loop.preview == 2)[ring].all() and loop.preview[19, 10] == 2
    # Also if another class is clicked first.
    loop.undo()
    desk.settle()
    np.testing.assert_array_equal(loop.preview, before)
    loop.editor.set_class(1)
    loop.editor.add_point(10, 25)
    loop.editor.set_class(2)
    loop.editor.add_point(18, 10)
    desk.settle()
    assert (loop.preview == 2)[ring].all() and loop.preview[19, 10] == 2
    assert loop.preview[10, 25] == 1


def test_a_click_that_finds_the_outline_right_says_so(desk: Desk) -> None:
    loop = desk.annotation

    def said_after(row: float, col: float, positive: bool = True) -> str:
        desk.canvas.listener.add_point(row, col, positive)
        desk.settle()
        return str(desk.state.status)

    # A mask of clicks alone is segmented anew by each.
    assert "already" not in said_after(5, 5)
    assert "already" not in said_after(5, 6)
    loop.undo()
    loop.undo()
    loop.editor.set_box((2, 2, 12, 12))
    desk.settle()
    assert said_after(6, 6) == ALREADY.format(side="inside", name="one")
    assert said_after(16, 16, positive=False) == ALREADY.format(side="outside", name="one")
    assert "already" not in said_after(16, 6)
    loop.commit()
    desk.settle()
    assert said_after(6, 7) == ALREADY.format(side="inside", name="one")
    loop.editor.set_class(2)
    assert "already" not in said_after(18, 18)
