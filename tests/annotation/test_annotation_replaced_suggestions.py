"""A click inside a suggested outline replaces it; others correct it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from annotation_desk import Desk

from napari_scsam.annotation.editor import REPLACED
from napari_scsam.core.prompts import Kind, PointPrompt

if TYPE_CHECKING:
    from napari_scsam.project import Project


def proposal(row: int, col: int, kind: Kind = "confirm", positive: bool = True) -> PointPrompt:
    return PointPrompt(row, col, 1, positive, origin="model", state="proposed", kind=kind)


@pytest.fixture
def desk(project: Project) -> Desk:
    desk = Desk(project)
    desk.annotation.use_tuned(Path("tuned"))
    desk.annotation.navigation.open_image(project.images()[0].id)
    desk.settle()
    return desk


def suggest(desk: Desk, *proposals: PointPrompt) -> None:
    desk.segmenter.proposals = list(proposals)
    desk.annotation.suggest()
    desk.settle()


def states(desk: Desk) -> list[tuple[int, str, int]]:
    return [(int(p.row), p.state, p.object_id) for p in desk.annotation.prompts.points]


def click(desk: Desk, row: float, col: float, positive: bool = True) -> None:
    desk.canvas.listener.add_point(row, col, positive)
    desk.settle()


def test_a_click_in_the_only_outline_rejects_all_that_was_suggested(desk: Desk) -> None:
    suggest(desk, proposal(5, 5), proposal(12, 5, "query"), proposal(3, 9, "negative", False))
    before = desk.annotation.prompts
    click(desk, 6.0, 6.4)
    assert [(r, s) for r, s, _ in states(desk)] == [
        (5, "rejected"),
        (12, "rejected"),
        (3, "rejected"),
        (6, "accepted"),
    ]
    assert desk.state.status == REPLACED
    assert desk.annotation.preview is not None
    assert desk.annotation.preview[7, 7] == 1
    assert desk.annotation.preview[4, 4] == 0
    desk.annotation.undo()
    desk.settle()
    assert desk.annotation.prompts == before


def test_of_two_outlines_only_the_one_that_is_clicked_goes(desk: Desk) -> None:
    suggest(desk, proposal(5, 5), proposal(12, 5), proposal(14, 9, "query"))
    click(desk, 5.0, 6.0)
    assert states(desk) == [
        (5, "rejected", 1),
        (12, "proposed", 1),
        (14, "proposed", 1),
        (5, "accepted", 2),
    ]
    click(desk, 12.0, 6.0)  # of the new object, which is a person's
    assert states(desk)[1] == (12, "proposed", 1)


def test_a_click_beside_the_outline_and_an_outside_click_in_it_correct_it(desk: Desk) -> None:
    suggest(desk, proposal(5, 5))
    click(desk, 9.0, 9.0)
    click(desk, 6.0, 6.0, positive=False)
    click(desk, 5.0, 6.0)  # a person has added to this object before
    assert [s for _, s, _ in states(desk)] == ["proposed", "accepted", "accepted", "accepted"]


def test_what_was_accepted_or_committed_is_not_replaced(desk: Desk, project: Project) -> None:
    suggest(desk, proposal(5, 5))
    desk.annotation.editor.accept_all()
    desk.settle()
    click(desk, 5.0, 6.0)
    assert states(desk)[0] == (5, "accepted", 1)
    desk.annotation.commit()
    desk.settle()
    suggest(desk, proposal(5, 5))
    click(desk, 5.0, 6.0)
    assert "rejected" not in [s for _, s, _ in states(desk)]


def test_deleting_a_suggested_point_removes_its_outline_whatever_other_points_it_has(
    desk: Desk,
) -> None:
    suggest(desk, proposal(5, 5), proposal(6, 7), proposal(12, 5), proposal(14, 9, "query"))
    desk.canvas.listener.select_point(0)
    desk.canvas.listener.delete_selected()
    desk.settle()
    assert [s for _, s, _ in states(desk)] == ["rejected", "rejected", "proposed", "proposed"]
    assert desk.annotation.preview is not None
    assert not desk.annotation.preview[3:9, 3:10].any()
    assert desk.annotation.preview[12, 5] == 1
    desk.canvas.listener.select_point(1)  # displayed second: the question
    desk.canvas.listener.delete_selected()
    desk.settle()
    assert [s for _, s, _ in states(desk)] == ["rejected", "rejected", "proposed", "rejected"]
