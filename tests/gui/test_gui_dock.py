"""The dock's states: training, export, open layers, errors, closing, and its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gui.conftest import Hand

    from napari_scsam._qt.dock import ScsamDock

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QMessageBox, QPushButton, QWidget

from napari_scsam._qt import models_ahead
from napari_scsam._qt.models_ahead import ModelsAhead
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import PALETTE
from napari_scsam.core.settings import TrainSettings
from napari_scsam.inference.process_client import SegmenterProcess
from napari_scsam.project import Project

pytestmark = pytest.mark.gui

OBJECT_NAMES = """
    open_project new_project use_open_layers queue suggest accept_all reject commit skip undo
    redo class_list prompt_kind propagate train pause_train cancel_train train_progress
    train_plot rounds promote rollback metrics export status
"""


def test_every_control_exists_from_the_start_and_fits_320_px(dock: ScsamDock) -> None:
    for name in OBJECT_NAMES.split():
        assert dock.findChild(QWidget, name) is not None, name
    assert dock.minimumSizeHint().width() <= 320
    policies = {b.objectName(): b.focusPolicy() for b in dock.findChildren(QPushButton)}
    assert set(policies.values()) == {Qt.FocusPolicy.TabFocus}, policies  # and not by a click


def test_the_manifest_opens_this_dock(viewer: Any) -> None:
    docked, widget = viewer.window.add_plugin_dock_widget("napari-scsam")
    assert type(widget).__name__ == "ScsamDock"
    widget.shut_down()
    viewer.window.remove_dock_widget(docked)


@pytest.mark.slow
def test_a_round_is_trained_promoted_and_suggests(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path
) -> None:
    truth = np.zeros((6, 96, 80), np.uint8)
    rows, cols = np.mgrid[:96, :80]
    truth[:, (rows - 34) ** 2 + (cols - 58) ** 2 <= 14**2] = 1
    with Project.create(tmp_path / "project", ["disc"]) as project:
        (image,) = project.add_images([volume_path])
        for index in (2,):
            project.commit(image, truth[index], plane=Plane(0, index))
    dock.open_project_folder(tmp_path / "project")
    hand.wait_for_image()
    hand.press("suggest")
    assert hand.status().startswith("No round yet")

    small = TrainSettings(pictures=32, unlabelled_planes=0, image_size=64)
    dock._parts.training.form.show_settings(small)
    hand.press("train")
    hand.until(lambda: hand.find("train_progress").value() > 0)
    assert not hand.find("train").isEnabled()
    # Annotation goes on meanwhile.
    hand.click(34, 58)
    hand.wait_for_mask()
    hand.until(lambda: hand.find("rounds").count() == 1)
    assert "first" in hand.status()
    assert hand.find("train_plot").point_count > 0
    assert "active" in hand.find("rounds").item(0).text()
    assert dock.session.project.active_round().number == 1

    dock.session.canvas.go_to(Plane(0, 5))
    hand.press("suggest")
    hand.until(lambda: "uggested" in hand.status())
    hand.click(34, 58)
    hand.wait_for_mask()
    assert dock.session.canvas.layers["preview"].data[5].any()


def test_cancelling_a_round_leaves_everything_as_it_was(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path, endless_rounds: None
) -> None:
    with Project.create(tmp_path / "project", ["disc"]) as project:
        (image,) = project.add_images([volume_path])
        project.commit(image, np.ones((96, 80), np.uint8), plane=Plane(0, 1))
    dock.open_project_folder(tmp_path / "project")
    hand.wait_for_image()
    dock._parts.training.form.set_value("pictures", 80_000)
    hand.press("train")
    hand.until(lambda: hand.find("cancel_train").isEnabled())
    hand.press("cancel_train")
    hand.until(lambda: "cancelled" in hand.status())
    assert hand.find("train").isEnabled()
    assert dock.session.project.rounds() == []


def test_training_without_a_label_is_refused_in_one_line(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path
) -> None:
    dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    hand.wait_for_image()
    hand.press("train")
    hand.until(lambda: hand.status().startswith("⚠"))
    assert "\n" not in hand.status()
    assert hand.find("train").isEnabled()


def test_committed_labels_are_exported(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path
) -> None:
    dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    image_id, plane = hand.wait_for_image()
    hand.click(34, 58)
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    dock.export_to(tmp_path / "out", "nifti")
    hand.until(lambda: hand.status().startswith("Exported 1 file"))
    (path,) = (tmp_path / "out").iterdir()
    written = np.asarray(nib.load(path).dataobj).T
    np.testing.assert_array_equal(written, dock.session.project.label(image_id))
    assert (written[plane.index] == 1).any()


def test_the_dock_asks_before_an_export_replaces_a_file(
    hand: Any, dock: Any, volume_path: Any, tmp_path: Any
) -> None:
    dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    image_id, _ = hand.wait_for_image()
    project = dock.session.project
    project.commit(image_id, np.ones(project.image(image_id).shape, np.uint8))
    mine = tmp_path / "out" / "volume.nii.gz"
    mine.parent.mkdir()
    mine.write_bytes(b"made by hand")
    for answer in ("Cancel", "Replace"):
        dock.export_to(mine.parent, "nifti")
        hand.until(lambda: bool(dock.findChildren(QMessageBox)))
        (box,) = dock.findChildren(QMessageBox)
        assert "Replace" in box.text() and mine.name in box.text()
        assert mine.read_bytes() == b"made by hand"
        (button,) = (b for b in box.buttons() if answer in b.text())
        button.click()
        hand.until(lambda: not dock.findChildren(QMessageBox))
    hand.until(lambda: hand.status().startswith("Exported 1 file"))
    assert np.asarray(nib.load(mine).dataobj).all()
    dock.export_to(volume_path.parent, "tiff")
    hand.until(lambda: "never written over" in hand.status())


def test_a_damaged_project_opens_to_be_looked_at_and_says_so(
    hand: Any, dock: Any, volume_path: Any, tmp_path: Any
) -> None:
    with Project.create(tmp_path / "project", ["disc"]) as project:
        (image,) = project.add_images([volume_path])
        for index in range(3):
            project.commit(image, np.ones((96, 80), np.uint8), plane=Plane(0, index))
    journal = tmp_path / "project" / "journal.sqlite"
    spoilt = journal.read_bytes().replace(b'"plane": 2', b'"plane": 3')
    journal.write_bytes(spoilt)
    dock.open_project_folder(tmp_path / "project")
    hand.wait_for_image()
    # It was overwritten by that of the opened image, which blamed another window.
    hand.until(lambda: "is damaged (event" in hand.status())
    assert "read-only" in hand.find("project_name").text()
    assert dock.session.project.committed_planes(image) == [0, 1]
    assert journal.read_bytes() == spoilt


def test_open_layers_are_taken_into_a_project(
    hand: Any, dock: Any, viewer: Any, tmp_path: Any
) -> None:
    rng = np.random.default_rng(0)
    scan = rng.normal(size=(3, 40, 30)).astype(np.float32)
    layer = viewer.add_image(scan, name="my scan", scale=(2.0, 0.5, 0.5))
    hand.press("use_open_layers")
    assert "my scan" in hand.find("new_note").text()
    hand.find("new_folder").setText(str(tmp_path / "project"))
    hand.find("new_classes").setText("disc, ring")
    hand.until(hand.find("new_colour_2").isVisible)
    hand.find("new_colour_2").set_colour(QColor("#123456"))
    hand.press("create_project")
    hand.wait_for_image()
    (record,) = dock.session.project.images()
    assert record.spacing == pytest.approx((2.0, 0.5, 0.5))
    np.testing.assert_array_equal(dock.session.project.volume(record.id).data, scan)
    assert [c.name for c in dock.session.project.classes] == ["disc", "ring"]
    assert [c.colour for c in dock.session.project.classes] == [PALETTE[0], "#123456"]
    assert not layer.visible
    hand.click(20, 15)
    (point,) = hand.points()
    assert (point.row, point.col) == pytest.approx((20, 15), abs=1)


def test_a_folder_that_is_no_project_is_one_clear_line(
    hand: Hand, dock: ScsamDock, tmp_path: Path
) -> None:
    dock.open_project_folder(tmp_path)
    hand.until(lambda: "is not a project" in hand.status())
    assert dock.session is None


def test_a_bad_image_leaves_no_half_made_project(
    hand: Hand, dock: ScsamDock, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    dock.create_project(tmp_path / "project", ["disc"], [tmp_path / "bad.png"])
    hand.until(lambda: hand.status().startswith("⚠"))
    assert "bad.png" in hand.status()
    assert not (tmp_path / "project").exists()


def test_a_project_open_elsewhere_is_shown_read_only(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path
) -> None:
    with Project.create(tmp_path / "project", ["disc"]) as elsewhere:
        elsewhere.add_images([volume_path])
        dock.open_project_folder(tmp_path / "project")
        hand.wait_for_image()
        assert dock.session.project.read_only
        hand.until(lambda: "is open in another window" in hand.status())
        assert not hand.find("commit").isEnabled()
        assert not hand.find("train").isEnabled()
        hand.click(34, 58)
        assert hand.points() == ()
        assert "read-only" in hand.status()


def test_without_the_models_the_dock_says_how_to_get_them(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the model process finds in place of torch on a machine without it.
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "torch.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "none"))
    dock._make_segmenter = SegmenterProcess
    dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    hand.wait_for_image()
    hand.click(34, 58)
    hand.until(lambda: "pip install" in hand.status())
    assert hand.status().startswith("⚠")
    assert "\n" not in hand.status()


def test_a_killed_model_process_is_started_again_by_the_next_click_which_says_so(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in is killed; the real process is in `test_inference_process`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setattr("napari_scsam.inference.process_client.SERVER", "model_stand_in")
    # Embedding ahead may find the process gone first; nobody waits for it, so nothing is said.
    monkeypatch.setattr(ModelsAhead, "again", lambda _: None)
    dock._make_segmenter = SegmenterProcess
    dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    hand.wait_for_image()
    hand.click(34, 58)
    hand.wait_for_mask()
    psutil.Process(dock.session.segmenter._child.pid).kill()
    hand.click(40, 52)
    hand.until(lambda: "It was started again." in hand.status())
    assert "\n" not in hand.status()
    hand.wait_for_mask()
    assert dock.session.canvas.layers["preview"].data[3].any()


def test_freed_memory_is_returned_with_each_image_and_not_with_each_slice(
    hand: Hand,
    dock: ScsamDock,
    without_models: None,
    volume_path: Path,
    picture_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    returned: list[bool] = []
    monkeypatch.setattr(models_ahead, "return_freed_memory", lambda: returned.append(True))
    dock.create_project(tmp_path / "project", ["disc"], [volume_path, picture_path])
    hand.wait_for_image()
    hand.until(lambda: len(returned) == 1)
    hand.viewer.dims.set_current_step(0, 1)
    hand.qtbot.wait(2 * models_ahead.REST_MS)
    second = [record.id for record in dock.session.project.images()][1]
    dock.session.annotation.navigation.open_image(second)
    hand.until(lambda: dock.session.annotation.now.image_id == second)
    hand.until(lambda: len(returned) == 2)


def test_the_window_needs_no_torch_for_the_loop(tmp_path: Path, volume_path: Path) -> None:
    script = f"""
import sys, time, napari
from pathlib import Path
from qtpy.QtWidgets import QApplication
from napari_scsam._qt.dock import ScsamDock

def until(condition):
    while not condition():
        QApplication.processEvents()
        time.sleep(0.01)  # the core is the model process's

if __name__ == "__main__":
    viewer = napari.Viewer()
    dock = ScsamDock(viewer)
    viewer.window.add_dock_widget(dock)
    dock.create_project({str(tmp_path / "project")!r}, ["disc"], [{str(volume_path)!r}])
    until(lambda: dock.session is not None and dock.session.annotation.key is not None)
    loop = dock.session.annotation
    loop.editor.add_point(34, 58)
    until(lambda: loop.preview is not None)
    assert loop.preview.any()
    loop.commit()
    until(lambda: loop.now.commits == 1)
    dock.shut_down()
    heavy = {{"torch", "peft", "triton", "monai"}} & set(sys.modules)
    viewer.close()
    sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_closing_while_a_slice_is_being_embedded_stops_quietly(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path
) -> None:
    dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    hand.wait_for_image()
    hand.click(34, 58)
    dock.shut_down()
    hand.qtbot.wait(300)
    assert dock.session is None
    assert Path(tmp_path / "project" / "project.toml").is_file()
    with Project.open(tmp_path / "project") as project:  # the lock is free again
        assert project.labelled() == {}
