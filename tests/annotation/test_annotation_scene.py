"""What a scene shows of a state, without a canvas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_scsam.annotation.scene import Facts, Scene, ShownMask, ShownPrompts, resolve
from napari_scsam.annotation.state import AnnotationState, OpenImage, Selection
from napari_scsam.annotation.unfinished_outline import UnfinishedOutline
from napari_scsam.annotation.work import Draft, Work
from napari_scsam.annotation.working_label import WorkingLabel
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import make_classes
from napari_scsam.core.patches import Patch
from napari_scsam.core.prompts import PointPrompt, PromptSet
from napari_scsam.core.volume import Volume
from napari_scsam.inference.messages import Answer

CLASSES = make_classes(["one", "two"])
SHAPE = (4, 6, 8)
HERE = Plane(0, 1)
CLICK = PromptSet((PointPrompt(2, 3, 1),))
LABEL = np.ones((6, 8), np.uint8)


def volume() -> Volume:
    return Volume(np.zeros(SHAPE, np.float32))


def state(work: Work | None = None, plane: Plane | None = HERE) -> AnnotationState:
    image = OpenImage("a", "scan", volume())
    return AnnotationState(CLASSES[0], work or Work(), image=image, plane=plane)


def facts(now: AnnotationState, **more: object) -> Facts:
    return Facts(now, CLASSES, **more)  # type: ignore[arg-type]


def test_a_plane_shows_its_answer_and_a_draft_only_where_nothing_was_asked() -> None:
    other, far = Plane(0, 2), Plane(0, 3)
    draft = Draft(LABEL * 2)
    work = Work(
        prompts={("a", HERE): CLICK, ("b", far): CLICK},
        drafts={("a", HERE): draft, ("a", other): draft, ("b", far): draft},
    )
    scene = resolve(facts(state(work), answers={HERE: Answer(CLICK, LABEL, "points")}), Scene())
    assert scene.masks == {HERE: ShownMask(LABEL), other: ShownMask(draft.label, True)}
    assert scene.dock.enabled >= {"commit", "commit_drafts"}


def test_the_outline_before_stays_while_the_next_one_is_awaited_and_no_longer() -> None:
    now = state(Work(prompts={("a", HERE): CLICK}))
    before = resolve(facts(now, answers={HERE: Answer(CLICK, LABEL, "points")}), Scene())
    more = PromptSet((*CLICK.points, PointPrompt(4, 4, 1)))
    waiting = replace(now, work=Work(prompts={("a", HERE): more}))
    scene = resolve(facts(waiting, is_waiting=True), before)
    assert scene.masks == before.masks
    assert resolve(facts(replace(now, work=Work())), scene).masks == {}
    reopened = replace(waiting, image=OpenImage("a", "scan", volume()))
    assert resolve(facts(reopened), scene).masks == {}


def test_a_plane_across_drafts_shows_them_as_one_mask_until_they_change() -> None:
    across = Plane(1, 2)
    now = state(Work(drafts={("a", Plane(0, 3)): Draft(LABEL)}), across)
    scene = resolve(facts(now), Scene())
    assert scene.crossing is not None
    assert scene.crossing.label.tolist() == [[0] * 8] * 3 + [[1] * 8]
    assert scene.crossing.is_draft
    again = resolve(facts(replace(now, tool="box")), scene)
    assert again.crossing == scene.crossing  # the very same array: nothing to repaint
    assert set(again.masks) == {Plane(0, 3)}
    changed = state(Work(drafts={("a", Plane(0, 0)): Draft(LABEL)}), across)
    later = resolve(facts(replace(changed, image=now.image)), scene)
    assert later.crossing is not None
    assert later.crossing.label.tolist() == [[1] * 8] + [[0] * 8] * 3


def test_slices_with_anything_uncommitted_are_drafts() -> None:
    places = [Plane(0, 0), Plane(0, 2), Plane(0, 3), Plane(1, 1)]
    patched = WorkingLabel(np.zeros_like(LABEL)).with_patch(Patch(0, 0, LABEL), PromptSet(), LABEL)
    work = Work(
        prompts={("a", places[0]): CLICK, ("a", places[3]): CLICK, ("b", HERE): CLICK},
        working_labels={("a", places[1]): patched},
        drafts={("a", places[2]): Draft(LABEL, "why")},
    )
    now = replace(state(work), unfinished={("a", HERE): UnfinishedOutline(((1, 1),), 1)})
    shown = resolve(facts(now, annotated=frozenset({0})), Scene()).slices
    assert shown is not None
    assert shown.marks == {0: "draft", 1: "draft", 2: "draft", 3: "flagged"}


def test_rejected_points_are_not_drawn_and_the_selected_one_is_counted_among_the_drawn() -> None:
    points = [replace(CLICK.points[0], row=row) for row in (1, 2, 3)]
    points[0] = replace(points[0], state="rejected")
    work = Work(prompts={("a", HERE): PromptSet(tuple(points))})
    now = replace(state(work), selection=Selection(point=2))
    shown = resolve(facts(now), Scene()).prompts
    assert shown == ShownPrompts(HERE, PromptSet(tuple(points[1:])), 1, None, (1, 1))


def test_in_three_dimensions_the_prompts_of_the_plane_before_stay() -> None:
    now = state(Work(prompts={("a", HERE): CLICK}))
    flat = resolve(facts(now), Scene())
    scene = resolve(facts(now.at(None)), flat)
    assert scene.prompts == flat.prompts
    assert scene.plane is None
    assert "commit" not in scene.dock.enabled


@pytest.mark.parametrize(
    ("tool", "drag"), [("inside", "pan"), ("outside", "pan"), ("box", "box"), ("lasso", "lasso")]
)
def test_dragging_does_what_the_tool_says(tool: str, drag: str) -> None:
    now = replace(state(), tool=tool)  # type: ignore[arg-type]
    assert resolve(facts(now), Scene()).drag == drag
