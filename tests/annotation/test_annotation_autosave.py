"""What is not committed comes back: after another project, and after a kill."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from annotation_desk import Desk

from napari_scsam.annotation.pending import pending_of, read_back, to_json
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
    kept = json.loads(json.dumps(to_json(pending_of(worked.annotation.now.work, image_id))))
    assert read_back(kept, (5, 20, 30))
    with pytest.raises(ValueError, match=r"reshape|no plane"):
        read_back(kept, (5, 8, 9))
    with pytest.raises(ValueError, match="no plane"):
        read_back(kept, (1, 20, 30))
