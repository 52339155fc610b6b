"""The annotation loop without Qt: fakes for canvas, models and runner; a real project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from annotation_desk import Desk

from napari_scsam.annotation.suggestions import NO_ROUND
from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompt_edits import accepted, to_decode, with_state
from napari_scsam.core.prompts import Kind, PointPrompt, PromptSet
from napari_scsam.project import image_queue
from napari_scsam.project.journal import Event, Journal, NewEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_scsam.inference.messages import Answer, Question
    from napari_scsam.project import Project


def test_a_late_answer_never_paints_over_a_newer_one(desk: Desk) -> None:
    desk.annotation.editor.add_point(5, 5)
    first = list(desk.inference.queue)
    desk.annotation.editor.add_point(12, 20)
    desk.inference.queue = desk.inference.queue[1:] + first  # the older one comes last
    desk.inference.work(ignore_cancel=True)
    shown = desk.canvas.previews[Plane(0, 1)]
    assert shown[5, 5] == 1
    assert shown[12, 20] == 1


def test_an_answer_for_another_slice_is_not_drawn_on_this_one(desk: Desk) -> None:
    desk.annotation.editor.add_point(5, 5)
    desk.canvas.go_to(Plane(0, 2))
    desk.inference.work(ignore_cancel=True)
    assert desk.canvas.previews.get(Plane(0, 2)) is None
    desk.canvas.go_to(Plane(0, 1))  # back: asked again, and drawn
    desk.settle()
    assert desk.canvas.previews[Plane(0, 1)][5, 5] == 1


def test_commit_waits_for_the_mask_that_the_last_click_asked_for(desk: Desk) -> None:
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    desk.annotation.editor.add_point(12, 20)
    desk.annotation.commit()
    desk.settle()
    label = desk.project.label(desk.annotation.now.image_id)
    assert label[1, 12, 20] == 1
    assert label[1, 5, 5] == 1
    assert (label[[0, 2, 3, 4]] == 255).all()


def test_committing_one_class_keeps_the_other(desk: Desk) -> None:
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    desk.annotation.commit()
    desk.settle()
    desk.annotation.editor.set_class(2)
    desk.annotation.editor.add_point(12, 20)
    desk.settle()
    desk.annotation.commit()
    desk.settle()
    label = desk.project.label(desk.annotation.now.image_id)[1]
    assert label[5, 5] == 1
    assert label[12, 20] == 2
    assert (label != 255).all()


def test_a_slice_of_another_axis_leaves_the_rest_not_annotated(desk: Desk) -> None:
    desk.canvas.go_to(Plane(2, 7))
    desk.annotation.editor.add_point(2, 9)
    desk.settle()
    desk.annotation.commit()
    desk.settle()
    label = desk.project.label(desk.annotation.now.image_id)
    assert label[2, 9, 7] == 1
    assert (np.delete(label, 7, axis=2) == 255).all()


def test_undo_goes_back_across_slices_images_and_commits(desk: Desk, project: Project) -> None:
    first, second = (record.id for record in project.images())
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    desk.annotation.commit()
    desk.settle()
    desk.annotation.navigation.open_image(second, Plane(0, 0))
    desk.settle()
    desk.annotation.editor.add_point(4, 4)
    desk.settle()

    desk.annotation.undo()
    desk.settle()
    assert desk.annotation.key == (second, Plane(0, 0))
    assert desk.canvas.points == []
    desk.annotation.undo()
    desk.settle()
    assert desk.annotation.key == (first, Plane(0, 1))
    assert project.label(first) is None
    assert len(desk.canvas.points) == 1
    desk.annotation.redo()
    desk.settle()
    assert project.committed_planes(first) == [1]
    assert desk.canvas.points == []


def test_undo_keeps_a_label_from_before_the_session(project: Project) -> None:
    image = project.images()[0].id
    project.commit(image, np.ones((20, 30), np.uint8), plane=Plane(0, 4))
    desk = Desk(project)
    desk.annotation.navigation.open_image(image, Plane(0, 1))
    desk.settle()
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    desk.annotation.commit()
    desk.settle()
    for _ in range(2):  # a third one takes back the commit from before
        desk.annotation.undo()
        desk.settle()
    assert project.committed_planes(image) == [4]
    desk.annotation.redo()
    desk.settle()
    assert project.committed_planes(image) == [4]


def test_without_a_round_suggest_says_what_to_do(desk: Desk) -> None:
    desk.annotation.suggest()
    assert desk.state.status == NO_ROUND


def test_after_a_few_outlines_suggestions_come_without_a_round_and_say_so(
    desk: Desk,
) -> None:
    desk.segmenter.proposals = [PointPrompt(5, 5, 1, True, "model", "confirm", 0.9, "proposed")]
    desk.segmenter.from_outlines = 4
    desk.annotation.use_tuned(Path("tuned/0001"))
    desk.annotation.suggest()
    desk.settle()
    assert desk.state.status == "Suggested from your 4 outlines. Correct what is wrong, then J."
    before = desk.canvas.scene.plane
    desk.annotation.accept_and_next()
    desk.settle()
    assert desk.annotation.now.commits == 1
    assert desk.canvas.scene.plane != before
    # They are there when a slice opens.
    assert [p.state for p in desk.canvas.points] == ["proposed"]


def test_proposals_are_accepted_rejected_and_answered(desk: Desk) -> None:
    desk.segmenter.proposals = [
        PointPrompt(5, 5, 1, True, "model", "confirm", 0.9, "proposed", 1),
        PointPrompt(9, 9, 1, True, "model", "query", 0.5, "proposed", 1),
        PointPrompt(12, 20, 2, True, "model", "missed", 0.4, "proposed", 1),
    ]
    desk.use_round()
    desk.annotation.suggest()
    desk.settle()
    assert desk.state.counts == (
        "3 points: 1 sure ●, 1 question ◆, 1 maybe missed ○  ·  N: next question"
    )
    assert {"accept_all", "reject", "commit"} <= desk.state.enabled
    desk.annotation.editor.next_question()
    assert desk.state.counts.startswith("Is this point inside the one?")
    desk.annotation.editor.answer(False)
    point = desk.annotation.prompts.points[1]
    assert (point.positive, point.state, point.origin) == (False, "edited", "model")
    desk.annotation.editor.reject()
    assert [p.state for p in desk.annotation.prompts.points] == ["rejected", "edited", "rejected"]
    desk.annotation.undo()
    desk.annotation.editor.accept_all()
    assert [p.state for p in desk.annotation.prompts.points] == ["accepted", "edited", "accepted"]
    desk.settle()
    assert desk.project.labelled() == {}  # accepting is not committing


def test_a_suggestion_under_way_outlives_what_changes_no_prompt(desk: Desk) -> None:
    desk.segmenter.proposals = [
        PointPrompt(5, 5, 1, True, "model", "confirm", 0.9, "proposed", 1),
    ]
    desk.use_round()
    desk.annotation.suggest()
    desk.annotation.editor.set_class(2)  # a choice of class, and word of who answers clicks
    desk.annotation.use_tuned(None, redraw=True)
    desk.settle()
    assert desk.state.status.startswith("Suggested by round 1.")
    assert len(desk.annotation.prompts.points) == 1


def test_a_suggestion_through_another_window_is_not_waited_for(desk: Desk) -> None:
    desk.use_round()
    desk.annotation.suggest()
    desk.annotation.set_window("volume")
    desk.settle()
    assert not desk.annotation.prompts.points
    assert desk.state.status.startswith("Window:")


@pytest.mark.parametrize("kind", ["missed", "query", "negative"])
def test_what_is_only_asked_takes_part_in_the_mask_once_it_is_accepted(kind: Kind) -> None:
    sure = PointPrompt(5, 5, 1, True, "model", "confirm", 0.9, "proposed", 1)
    maybe = PointPrompt(9, 9, 1, kind != "negative", "model", kind, 0.3, "proposed", 1)
    prompts = PromptSet((sure, maybe))
    assert to_decode(prompts).points == (sure,)
    assert [p.state for p in accepted(prompts).points] == ["accepted", "proposed"]
    decided = with_state(prompts, "accepted")
    assert to_decode(decided) == decided


def test_a_deleted_proposal_is_remembered_as_rejected_in_the_journal(desk: Desk) -> None:
    desk.segmenter.proposals = [
        PointPrompt(5, 5, 1, True, "model", "confirm", 0.9, "proposed", 1),
        PointPrompt(9, 9, 1, True, "model", "confirm", 0.8, "proposed", 1),
    ]
    desk.use_round()
    desk.annotation.suggest()
    desk.settle()
    desk.annotation.editor.select_point(1)
    desk.annotation.editor.delete_selected()
    desk.settle()
    assert len(desk.canvas.points) == 1
    desk.annotation.commit()
    desk.settle()
    (event,) = desk.project.events("prompts")
    assert [p["state"] for p in event.payload["points"]] == ["accepted", "rejected"]


def test_a_commit_and_its_prompts_reach_the_journal_in_one_transaction(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_all, transactions = Journal.append_all, []

    def noting(journal: Journal, items: Iterable[NewEvent], *more: int) -> list[Event]:
        events = append_all(journal, items, *more)
        transactions.append([event.kind for event in events])
        return events

    monkeypatch.setattr(Journal, "append_all", noting)
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    desk.annotation.commit()
    desk.settle()
    assert transactions == [["commit", "prompts"]]
    (event,) = desk.project.events("prompts")
    image, plane = desk.annotation.key or ("", Plane())
    said = {name: event.payload[name] for name in ("image", "axis", "plane", "version")}
    assert said == {"image": image, "axis": plane.axis, "plane": plane.index, "version": 1}


def test_accept_and_next_passes_over_committed_slices_and_goes_to_the_next_image(
    desk: Desk, project: Project
) -> None:
    first, second = (record.id for record in project.images())
    for index in (2, 3, 4):
        project.commit(first, np.zeros((20, 30), np.uint8), plane=Plane(0, index))
    desk.annotation.accept_and_next()
    assert desk.state.status.startswith("Nothing to accept yet")
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    desk.annotation.accept_and_next()
    desk.settle()
    assert desk.annotation.key == (second, Plane(0, 0))
    assert project.committed_planes(first) == [1, 2, 3, 4]
    desk.annotation.navigation.previous()
    desk.settle()
    assert desk.annotation.key == (first, Plane(0, 4))


def test_a_failed_decode_is_one_line_and_the_next_click_works(desk: Desk) -> None:
    good = desk.segmenter.decode

    def fail(_question: Question) -> Answer:
        raise InputError("The image has no contrast here.")

    desk.segmenter.decode = fail  # type: ignore[method-assign]
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    assert desk.state.is_error
    assert desk.state.status == "The image has no contrast here."
    desk.segmenter.decode = good  # type: ignore[method-assign]
    desk.annotation.editor.add_point(6, 6)
    desk.settle()
    assert not desk.state.is_error
    assert desk.canvas.previews[Plane(0, 1)].any()


def test_points_outside_alone_ask_for_nothing_and_commit_nothing_inside(desk: Desk) -> None:
    desk.annotation.editor.add_point(5, 5, positive=False)
    desk.settle()
    desk.annotation.commit()
    desk.settle()
    assert not desk.project.label(desk.annotation.now.image_id)[1].any()


def test_a_skipped_slice_is_noted_off_the_windows_thread(desk: Desk) -> None:
    image = desk.annotation.now.image_id
    desk.annotation.navigation.skip()
    assert desk.annotation.key == (image, Plane(0, 2))
    assert desk.project.skipped() == []  # the window has gone on, and the disk is still to come
    desk.files.work()
    assert desk.project.skipped() == [(image, 1)]


def test_a_click_while_a_commit_is_being_undone_is_a_step_of_its_own(desk: Desk) -> None:
    image = desk.annotation.now.image_id
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    desk.annotation.commit()
    desk.settle()
    desk.annotation.undo()
    desk.canvas.go_to(Plane(0, 3))
    desk.annotation.editor.add_point(9, 9)
    desk.settle()
    assert desk.project.label(image) is None
    desk.annotation.undo()
    desk.settle()
    assert desk.project.committed_planes(image) == [1]
    assert desk.annotation.key == (image, Plane(0, 3))
    assert desk.annotation.prompts.is_empty
    desk.annotation.undo()
    desk.settle()
    assert desk.project.label(image) is None
    assert len(desk.annotation.prompts.points) == 1


def test_after_the_last_slice_come_the_open_ones_before_it(desk: Desk, project: Project) -> None:
    first, last = project.images()[0], project.images()[-1]
    end = Plane(0, image_queue.plane_total(last) - 1)
    desk.annotation.navigation.open_image(last.id, end)
    desk.settle()
    desk.annotation.navigation.skip()
    desk.settle()
    assert desk.annotation.now.key == (first.id, Plane(0, 0))
    for record in project.images():
        for index in range(image_queue.plane_total(record)):
            if (record.id, index) != (last.id, end.index):
                volume = project.volume(record.id)
                empty = np.zeros(volume.plane(Plane(0, index)).shape[:2], np.uint8)
                project.commit(record.id, empty, plane=Plane(0, index))
    desk.annotation.navigation.open_image(last.id, end)
    desk.settle()
    desk.annotation.navigation.skip()
    desk.settle()
    assert desk.state.status.endswith("No other slice is open.")
    desk.annotation.navigation.skip()  # each press added the sentence once more
    desk.settle()
    assert desk.state.status.count("No other slice is open.") == 1
