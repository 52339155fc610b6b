"""What the dock does with a project besides annotation: images, classes, keys, and help."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QColorDialog,
    QComboBox,
    QDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QShortcut,
    QToolButton,
)

from napari_scsam._qt.key_sheet import KEYS
from napari_scsam._qt.settings_form import SettingsForm
from napari_scsam.annotation.work import Draft
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project, files

if TYPE_CHECKING:
    from pathlib import Path

    from gui.conftest import Hand

    from napari_scsam._qt.dock import ScsamDock

pytestmark = pytest.mark.gui


@pytest.fixture
def opened(hand: Hand, loop: Any) -> Hand:
    """A hand on a dock with a project of two classes and one volume."""
    return hand


def question(hand: Hand, name: str) -> QMessageBox:
    hand.until(lambda: hand.dock.findChild(QMessageBox, name) is not None)
    found = hand.dock.findChild(QMessageBox, name)
    assert found is not None
    return found


def test_a_folder_is_counted_before_its_images_are_added(
    opened: Hand, dock: ScsamDock, tmp_path: Path
) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    for i in range(3):
        tifffile.imwrite(folder / f"{i}.tif", np.arange(i, i + 81, dtype=np.uint8).reshape(9, 9))
    (folder / "notes.txt").write_text("x")
    assert opened.find("add_images", QPushButton).isEnabled()
    assert opened.find("add_images", QPushButton).text() == "Add images…"
    dock._edits.count_images([folder])
    asked = question(opened, "add_question")
    assert asked.text().startswith("3 images found, 1 other file passed over. Add them")
    opened.qtbot.mouseClick(asked.findChild(QPushButton, "add_found"), Qt.MouseButton.LeftButton)
    opened.until(lambda: opened.status() == "Added 3 images.")
    opened.until(lambda: opened.find("queue").model().rowCount() == 4)

    dock._edits.add_images([folder / "0.tif"])
    opened.until(lambda: opened.status() == "Added 0 images. 1 was in the project already.")
    dock._edits.count_images([tmp_path / "nowhere"])
    opened.until(lambda: "There is no file or folder" in opened.status())


class Gate:
    """Holds the reading of images at one of them until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
        self.is_open, read = threading.Event(), files.read_volume

        def waiting(path: Path) -> Any:
            if path.name == at:
                self.is_open.wait(20)
            return read(path)

        monkeypatch.setattr(files, "read_volume", waiting)


def test_reading_many_images_shows_how_far_it_is_and_can_be_cancelled(
    opened: Hand,
    dock: ScsamDock,
    loop: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = [tmp_path / f"{i}.tif" for i in range(8)]
    for i, path in enumerate(paths):
        tifffile.imwrite(path, np.arange(i, i + 81, dtype=np.uint8).reshape(9, 9))
    project, gate = dock.session.project, Gate(monkeypatch, "4.tif")
    dock._edits.add_images(paths)
    bar = opened.find("reading_progress", QProgressBar)
    opened.until(lambda: bar.isVisible() and bar.text() == "4 of 8 images")
    # A label is saved meanwhile.
    opened.click(20, 30)
    opened.wait_for_mask()
    opened.press("commit")
    opened.until(lambda: loop.now.commits == 1)
    cancel = opened.find("cancel_reading", QToolButton)
    opened.qtbot.mouseClick(cancel, Qt.MouseButton.LeftButton)
    gate.is_open.set()
    opened.until(lambda: opened.status() == "Cancelled: no image was added.")
    assert not bar.isVisible() and len(project.images()) == 1

    gate = Gate(monkeypatch, "6.tif")
    folder = tmp_path / "cancelled"
    dock.create_project(folder, ["one"], paths)
    opened.until(lambda: bar.isVisible() and bar.text() == "6 of 8 images")
    opened.qtbot.mouseClick(cancel, Qt.MouseButton.LeftButton)
    gate.is_open.set()
    opened.until(lambda: opened.status() == "Cancelled.")
    assert not folder.exists() and not bar.isVisible()
    dock.create_project(folder, ["one"], paths)
    opened.until(lambda: dock.session is not None and dock.session.project.folder == folder)
    opened.wait_for_image()
    assert len(dock.session.project.images()) == 8 and not bar.isVisible()


def test_classes_are_renamed_recoloured_and_added(
    opened: Hand, dock: ScsamDock, loop: Any, tmp_path: Path
) -> None:
    opened.click(20, 30)
    opened.wait_for_mask()
    opened.press("commit")
    opened.until(lambda: loop.now.commits == 1)
    (image,) = dock.session.project.images()
    before = dock.session.project.label(image.id)
    opened.qtbot.mouseClick(opened.find("edit_classes", QToolButton), Qt.MouseButton.LeftButton)
    name = opened.find("class_name_1", QLineEdit)
    assert name.isVisible() and name.text() == "one"
    name.setText("left ventricle")
    opened.qtbot.mouseClick(opened.find("class_colour_1"), Qt.MouseButton.LeftButton)
    opened.until(lambda: dock.findChild(QColorDialog) is not None)
    dialog = dock.findChild(QColorDialog)
    dialog.setCurrentColor(QColor("#123456"))
    dialog.accept()
    opened.press("add_class")
    opened.find("class_name_3", QLineEdit).setText("apex")
    opened.press("save_classes")
    opened.until(lambda: opened.find("class_list").count() == 3)
    opened.wait_for_image()
    shown = [opened.find("class_list").item(i).text() for i in range(3)]
    assert shown == ["1  left ventricle", "2  two", "3  apex"]
    assert not opened.find("class_name_3").isVisible()
    classes = dock.session.project.classes
    assert (classes[0].name, classes[0].colour) == ("left ventricle", "#123456")
    np.testing.assert_array_equal(dock.session.project.label(image.id), before)
    # The new class was judged on no slice that was committed before it.
    (commit,) = dock.session.project.commits(image.id)
    assert commit.judged.on(commit.planes[0]) == (1, 2)
    dock.pick_class(2)
    opened.click(30, 40)
    opened.wait_for_mask()
    opened.press("commit")
    opened.until(lambda: dock.session.annotation.now.commits == 1)
    assert 3 in dock.session.project.label(image.id)


def test_a_class_name_given_twice_is_one_line_and_changes_nothing(
    opened: Hand, dock: ScsamDock
) -> None:
    opened.find("edit_classes", QToolButton).setChecked(True)
    opened.find("class_name_2", QLineEdit).setText("one")
    opened.press("save_classes")
    opened.until(lambda: "given twice: one" in opened.status())
    assert [c.name for c in dock.session.project.classes] == ["one", "two"]
    opened.press("cancel_classes")
    assert not opened.find("save_classes").isVisible()


def test_classes_can_not_be_removed(tmp_path: Path) -> None:
    from napari_scsam.core.errors import InputError

    with Project.create(tmp_path / "project", ["one", "two"]) as project:
        with pytest.raises(InputError, match="can't be removed, since labels may hold them: two"):
            project.change(classes=project.classes[:1])
        assert [c.name for c in project.classes] == ["one", "two"]


def test_the_key_sheet_lists_every_key_of_the_window_and_one_held_down_acts_once(
    opened: Hand, dock: ScsamDock
) -> None:
    shortcuts = opened.viewer.window._qt_window.findChildren(QShortcut)
    keys = {s.key().toString(): s for s in shortcuts}
    assert {"J", "K", "U", "G"} <= set(keys)
    assert not any(keys[key].autoRepeat() for key in ("J", "K", "U", "G"))
    assert dock._keys is not None
    ours = {s.key().toString() for s in dock._keys._shortcuts}
    assert {key for key, _ in KEYS} == ours
    opened.qtbot.mouseClick(opened.find("keys", QToolButton), Qt.MouseButton.LeftButton)
    sheet = dock.findChild(QDialog, "key_sheet")
    assert sheet is not None and sheet.isVisible() and not sheet.isModal()
    text = sheet.findChild(QLabel, "key_sheet_text").text()
    assert "Shift+click" in text and all(what in text for _, what in KEYS)
    sheet.close()
    opened.activate()
    opened.window_key(Qt.Key.Key_Question)
    opened.until(lambda: any(s.isVisible() for s in dock.findChildren(QDialog, "key_sheet")))
    for found in dock.findChildren(QDialog, "key_sheet"):
        found.close()


def test_every_control_and_setting_says_what_it_does(opened: Hand, dock: ScsamDock) -> None:
    opened.find("edit_classes", QToolButton).setChecked(True)
    kinds = (QAbstractButton, QCheckBox, QComboBox, QLineEdit)
    silent = [
        found.objectName()
        for kind in kinds
        for found in dock.findChildren(kind)
        if found.objectName() and not found.objectName().startswith("qt_") and not found.toolTip()
    ]
    assert silent == []
    form = dock.findChild(SettingsForm)
    assert form is not None
    for editor in form._editors.values():
        assert editor.whatsThis() == editor.toolTip() != ""


def test_a_project_open_read_only_takes_no_images_and_no_classes(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path
) -> None:
    with Project.create(tmp_path / "project", ["disc"]) as elsewhere:
        (image,) = elsewhere.add_images([volume_path])
        dock.open_project_folder(tmp_path / "project")
        assert hand.wait_for_image() == (image, Plane(0, 3))
        assert not hand.find("add_images").isEnabled()
        assert not hand.find("edit_classes").isEnabled()


def test_what_becomes_of_other_classes_is_a_setting_of_the_project(
    opened: Hand, dock: ScsamDock, loop: Any, tmp_path: Path
) -> None:
    box = opened.find("other_classes", QComboBox)
    assert box.isVisible() and box.currentData() is False
    opened.qtbot.keyClick(box, Qt.Key.Key_Down)
    assert box.currentText() == "Other classes: not annotated yet"
    (image,) = dock.session.project.images()
    index = dock.session.annotation.key[1].index
    opened.click(20, 30)
    opened.wait_for_mask()
    opened.window_key(Qt.Key.Key_J)
    opened.until(lambda: loop.now.commits == 1)
    assert dock.session.project.commits(image.id)[-1].judged.on(index) == (1,)
    store, key = loop._store, (image.id, Plane(0, 0))
    draft = Draft(np.ones(loop.now.plane_shape, np.uint8))
    store.step(replace(store.now, work=store.now.work.with_drafts({key: draft})))
    opened.press("commit_drafts")
    opened.until(lambda: loop.now.commits == 2)
    judged = dock.session.project.commits(image.id)[-1].judged
    assert judged.on(0) == judged.on(index) == (1,)

    dock.open_project_folder(tmp_path / "project")
    opened.until(lambda: dock.session is not None and dock.session.annotation is not loop)
    opened.wait_for_image()
    assert box.currentData() is True
    opened.qtbot.keyClick(box, Qt.Key.Key_Up)
    index = dock.session.annotation.key[1].index
    opened.click(20, 30)
    opened.wait_for_mask()
    opened.press("commit")
    opened.until(lambda: dock.session.annotation.now.commits == 1)
    assert dock.session.project.commits(image.id)[-1].judged.on(index) == (1, 2)


def test_a_folder_that_is_no_project_leaves_the_open_one_open(
    opened: Hand, dock: ScsamDock, loop: Any, tmp_path: Path
) -> None:
    session = dock.session
    opened.click(20, 30)
    opened.wait_for_mask()
    (tmp_path / "holiday").mkdir()
    dock.open_project_folder(tmp_path / "holiday")
    opened.until(lambda: "holiday" in opened.status())
    assert dock.session is session
    opened.press("commit")
    opened.until(lambda: opened.status().startswith("Saved"))
    # Another project takes its place, and it can be opened for writing again at once.
    with Project.create(tmp_path / "other", ["liver"]):
        pass
    dock.open_project_folder(tmp_path / "other")
    opened.until(lambda: dock.session is not session)
    for _ in range(2):  # the open one, too
        before = dock.session
        dock.open_project_folder(tmp_path / "project")
        opened.until(lambda before=before: dock.session not in (before, None))
        assert dock.session is not None
        assert not dock.session.project.read_only
        assert dock.session.project.commit_count() == 1
