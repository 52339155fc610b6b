"""What is not committed comes back: after another project, and after a kill."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from annotation_desk import Desk

from napari_scsam.annotation.pending import pending_of, read_back, to_json
from napari_scsam.annotation.unfinished_outline import MOST_VERTICES
from napari_scsam.annotation.work import Work
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def stroke(desk: Desk, row: int, value: int = 1) -> None:
    """Draw a line across the slice on show, as the canvas reports it."""
    key = desk.annotation.key
    assert key is not None
    before = desk.annotation.preview
    before = np.zeros(desk.annotation.now.plane_shape, np.uint8) if before is None else before
    after = before.copy()
    after[row : row + 2, 4:20] = value
    desk.canvas.listener.paint(key[1], before, after)
    desk.settle()


def reopened(folder: Path, image_id: str, plane: Plane, use: Callable[[Desk], Any]) -> Any:
    """A new window on the folder, as after a kill: nobody has closed anything."""
    with Project.open(folder) as project:
        desk = Desk(project)
        desk.annotation.navigation.open_image(image_id, plane)
        desk.settle()
        return use(desk)


@pytest.fixture
def worked(desk: Desk) -> Desk:
    """A click, a box, a scribble and two strokes, one over an answer; nothing committed."""
    editor = desk.annotation.editor
    editor.add_point(5, 5)
    editor.add_stroke("scribble", [(10, 10), (10, 14)])
    editor.set_box((12, 12, 16, 18))
    desk.settle()
    stroke(desk, 8)
    editor.set_class(2)
    editor.add_point(15, 25)
    desk.settle()
    stroke(desk, 17, 2)
    return desk


def test_prompts_and_strokes_come_back_after_a_kill(worked: Desk) -> None:
    image_id, plane = worked.annotation.key
    shown, prompts = worked.annotation.preview, worked.annotation.prompts
    folder = worked.project.folder
    worked.project.close()  # frees the lock, as a kill does; the desk keeps nothing more

    def check(desk: Desk) -> None:
        assert desk.annotation.prompts == prompts
        np.testing.assert_array_equal(desk.annotation.preview, shown)
        assert "of the last session was restored" in desk.state.status
        desk.annotation.commit()
        desk.settle()
        np.testing.assert_array_equal(desk.project.label(image_id)[plane.index], shown)
        assert not (folder / "pending" / f"{image_id}.json").exists()  # swept

    reopened(folder, image_id, plane, check)


def test_drafts_come_back_with_their_flags(desk: Desk) -> None:
    from dataclasses import replace

    from napari_scsam.annotation.work import Draft

    image_id, plane = desk.annotation.key
    label = np.zeros(desk.annotation.now.plane_shape, np.uint8)
    label[3:6, 3:6] = 1
    store = desk.annotation._store
    drafts = {(image_id, Plane(0, i)): Draft(label, "area doubled" * (i == 2)) for i in (2, 3)}
    store.step(replace(store.now, work=store.now.work.with_drafts(drafts)))
    desk.settle()
    folder = desk.project.folder
    desk.project.close()

    def check(again: Desk) -> None:
        found = again.annotation.now.drafts
        assert {p.index: d.flag for p, d in found.items()} == {2: "area doubled", 3: ""}
        np.testing.assert_array_equal(found[Plane(0, 3)].label, label)

    reopened(folder, image_id, plane, check)


def test_undo_on_another_image_loses_nothing_of_what_came_back(worked: Desk) -> None:
    image_id, plane = worked.annotation.key
    prompts, folder = worked.annotation.prompts, worked.project.folder
    other = worked.project.images()[1].id
    worked.project.close()

    def check(desk: Desk) -> None:
        desk.annotation.navigation.open_image(other, Plane(0, 1))
        desk.settle()
        desk.annotation.editor.add_point(3, 3)
        desk.settle()
        desk.annotation.navigation.open_image(image_id, plane)
        desk.settle()
        desk.annotation.undo()
        desk.settle()
        desk.annotation.navigation.open_image(image_id, plane)
        desk.settle()
        assert desk.annotation.prompts == prompts

    reopened(folder, image_id, plane, check)


def test_closing_writes_what_no_thread_has_written_yet(worked: Desk) -> None:
    image_id, plane = worked.annotation.key
    folder = worked.project.folder
    worked.annotation.editor.add_point(2, 28)  # its writing waits in the queue
    prompts = worked.annotation.prompts
    worked.annotation.close()
    worked.project.close()
    reopened(folder, image_id, plane, lambda desk: _same(desk.annotation.prompts, prompts))


def _same(a: object, b: object) -> None:
    assert a == b


@pytest.mark.parametrize("damage", ["{", '{"version": 9, "planes": []}', '{"version": 1}', "[]"])
def test_a_damaged_file_is_set_aside_and_said(worked: Desk, damage: str) -> None:
    image_id, plane = worked.annotation.key
    folder = worked.project.folder
    worked.project.close()
    path = folder / "pending" / f"{image_id}.json"
    path.write_text(damage, encoding="utf-8")

    def check(desk: Desk) -> None:
        assert desk.state.is_error
        assert "could not be read" in desk.state.status
        assert path.with_suffix(".damaged").read_text(encoding="utf-8") == damage
        assert desk.annotation.prompts.is_empty

    reopened(folder, image_id, plane, check)


def test_another_images_size_does_not_fit(worked: Desk) -> None:
    image_id, _ = worked.annotation.key
    kept = json.loads(json.dumps(to_json(pending_of(worked.annotation.now.work, {}, image_id))))
    assert read_back(kept, (5, 20, 30))
    with pytest.raises(ValueError, match=r"reshape|no plane"):
        read_back(kept, (5, 8, 9))
    with pytest.raises(ValueError, match="no plane"):
        read_back(kept, (1, 20, 30))


AROUND = ((10.0, 3.0), (17.0, 10.0), (10.0, 17.0), (3.0, 10.0))


def set_vertices(desk: Desk, *places: tuple[float, float]) -> None:
    """Click the vertices of a smooth outline, as the canvas reports it."""
    desk.annotation.pick_tool("smooth")
    for place in places:
        now = desk.annotation.now.outline
        desk.canvas.listener.set_vertices([*(() if now is None else now.vertices), place])
    desk.settle()


def test_an_unfinished_outline_comes_back_after_a_kill_and_is_swept(desk: Desk) -> None:
    image_id, plane = desk.annotation.key
    desk.annotation.editor.set_class(2)
    set_vertices(desk, *AROUND)
    beside = Plane(0, plane.index + 1)
    desk.canvas.go_to(beside)
    set_vertices(desk, *AROUND[:2])
    folder = desk.project.folder
    desk.project.close()
    path = folder / "pending" / f"{image_id}.json"

    def check(again: Desk) -> None:
        assert "restored on 2 slices" in again.state.status
        assert again.canvas.scene.prompts.outline.vertices == AROUND
        assert again.canvas.scene.prompts.outline.class_id == 2
        again.annotation.commit()  # J completes it, whichever tool is active
        again.settle()
        label = again.project.label(image_id)
        assert label[plane.index, 10, 10] == 2 and label[plane.index, 19, 19] == 0
        assert again.canvas.scene.prompts.outline is None
        again.canvas.go_to(beside)
        assert again.canvas.scene.prompts.outline.vertices == AROUND[:2]
        assert path.exists()
        again.annotation.commit()  # two vertices enclose nothing
        again.settle()
        assert again.canvas.scene.prompts.outline is None
        assert not path.exists()

    reopened(folder, image_id, plane, check)


def test_an_outline_of_another_image_waits_and_is_written(desk: Desk) -> None:
    image_id, plane = desk.annotation.key
    other, folder = desk.project.images()[1].id, desk.project.folder
    set_vertices(desk, *AROUND)
    desk.annotation.navigation.open_image(other, Plane(0, 1))
    desk.settle()
    assert desk.canvas.scene.prompts.outline is None
    assert "undo" not in desk.state.enabled
    set_vertices(desk, *AROUND[:1])
    desk.annotation.navigation.open_image(image_id, plane)
    desk.settle()
    assert desk.canvas.scene.prompts.outline.vertices == AROUND
    desk.canvas.listener.complete_outline()
    desk.settle()
    desk.annotation.close()
    desk.project.close()

    def check(again: Desk) -> None:
        assert again.canvas.scene.prompts.outline.vertices == AROUND[:1]

    reopened(folder, other, Plane(0, 1), check)


def test_an_outline_is_bounded_where_it_is_set(desk: Desk) -> None:
    """So that what is written can be read again."""
    rows, cols = desk.annotation.now.plane_shape
    set_vertices(desk, (-rows, 2.0 * cols))
    outline = desk.annotation.now.outline
    for place in ((-rows - 1, 0), (0, 2.0 * cols + 1), (float("nan"), 0)):
        set_vertices(desk, place)
        assert "too far from the image" in desk.state.status
    desk.canvas.listener.set_vertices([(1, 1)] * (MOST_VERTICES + 1))
    assert f"at most {MOST_VERTICES} points" in desk.state.status
    assert desk.annotation.now.outline == outline
    desk.canvas.listener.set_vertices([(1, 1)] * MOST_VERTICES)
    key = desk.annotation.key
    kept = json.loads(
        json.dumps(to_json(pending_of(Work(), desk.annotation.now.unfinished, key[0])))
    )
    assert len(read_back(kept, (5, rows, cols))[key[1]].outline.vertices) == MOST_VERTICES


def test_the_outline_of_a_class_that_is_gone_becomes_the_active_one(desk: Desk) -> None:
    image_id, plane = desk.annotation.key
    set_vertices(desk, *AROUND)
    folder = desk.project.folder
    desk.project.close()
    path = folder / "pending" / f"{image_id}.json"
    path.write_text(path.read_text().replace('"class_id":1', '"class_id":99'))

    def check(again: Desk) -> None:
        assert "Unfinished outline of class 99" in again.state.counts
        again.annotation.pick_tool("smooth")
        again.canvas.listener.complete_outline()
        again.settle()
        assert again.annotation.preview[10, 10] == 1

    reopened(folder, image_id, plane, check)
