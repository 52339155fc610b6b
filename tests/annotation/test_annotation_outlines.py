"""When an outline is asked for, when it is not, and what waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import PointPrompt
from napari_scsam.inference.previews import Previewer

if TYPE_CHECKING:
    from annotation_desk import Desk

    from napari_scsam.inference.messages import Answer, Question


def test_a_question_that_failed_is_not_asked_again_until_something_changes(desk: Desk) -> None:
    asked = []

    def fail(question: Question) -> Answer:
        asked.append(question.prompts)
        raise InputError("There is nothing to see.")

    desk.segmenter.decode = fail
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    desk.annotation.editor.set_class(2)
    desk.annotation.editor.select_point(0)
    desk.settle()
    assert len(asked) == 1
    desk.canvas.go_to(Plane(0, 2))
    desk.canvas.go_to(Plane(0, 1))
    desk.settle()
    assert len(asked) == 2


def test_a_commit_during_a_suggestion_saves_what_was_suggested(desk: Desk) -> None:
    proposal = PointPrompt(5, 5, 1, True, "model", "confirm", 0.9, "proposed", 1)
    desk.segmenter.proposals = [proposal]
    desk.use_round()
    desk.annotation.suggest()
    desk.annotation.commit()
    desk.settle()
    assert desk.state.status == "Saved slice 1 of volume: one. two: not there."
    assert desk.project.label(desk.annotation.now.image_id)[1, 5, 5] == 1


def test_a_commit_that_waits_comes_to_nothing_when_the_plane_is_left(desk: Desk) -> None:
    desk.annotation.editor.add_point(5, 5)
    desk.annotation.commit()
    desk.canvas.go_to(Plane(0, 2))
    desk.annotation.editor.add_point(9, 9)
    desk.settle()
    desk.canvas.go_to(Plane(0, 1))
    desk.settle()
    assert desk.project.labelled() == {}


def test_an_outline_stays_until_the_next_one_comes(desk: Desk) -> None:
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    before = desk.canvas.previews[Plane(0, 1)]
    desk.annotation.editor.add_point(12, 20)
    assert desk.canvas.previews[Plane(0, 1)] is before
    desk.settle()
    assert desk.canvas.previews[Plane(0, 1)][12, 20] == 1


def test_what_the_models_are_doing_is_the_oldest_request_that_has_not_ended(desk: Desk) -> None:
    previewer = Previewer(desk.segmenter, desk.inference)
    assert previewer.doing == ""
    previewer.start(None)
    question = desk.annotation.outlines.question(desk.annotation.prompts)
    previewer.decode(question, lambda _: None, lambda _: None)
    assert previewer.doing == "Loading the model, the first time only"
    seen = []
    previewer.suggest(question, (1,), lambda _: seen.append(previewer.doing), lambda _: None)
    desk.inference.work()  # the second was cancelled by the third
    assert seen == [""] and previewer.doing == ""
