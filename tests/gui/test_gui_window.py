"""The window of a scan in the dock: what is offered, what is seen, and what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gui.conftest import Hand

    from napari_scsam._qt.dock import ScsamDock
    from napari_scsam.inference.process_client import SegmenterProcess

import zlib

import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QComboBox

from napari_scsam._napari.display import contrast
from napari_scsam.core.geometry import Plane

pytestmark = pytest.mark.gui


@pytest.fixture
def ct_path(tmp_path: Path) -> Path:
    """Three slices in Hounsfield units: air, and a soft disc with a dense core."""
    rows, cols = np.mgrid[:72, :64]
    away = np.hypot(rows - 30, cols - 36)
    body = np.where(away < 8, 700, np.where(away < 20, 60, -1000))
    # Of each test its own pixels: the model process and its cache are shared.
    seed = zlib.crc32(str(tmp_path).encode())
    noise = np.random.default_rng(seed).normal(0, 15, (3, 72, 64))
    path = tmp_path / "ct.tif"
    scan = np.stack([np.full_like(body, -1000), body, body]) + noise
    tifffile.imwrite(path, scan.astype(np.int16), imagej=True, metadata={"axes": "ZYX"})
    return path


def open_ct(dock: ScsamDock, hand: Hand, tmp_path: Path, ct_path: Path) -> QComboBox:
    dock.create_project(tmp_path / "project", ["core"], [ct_path], "ct")
    hand.wait_for_image()
    return hand.find("window", QComboBox)


def pick(hand: Hand, box: QComboBox, name: str) -> None:
    box.setCurrentIndex(box.findData(name))
    box.activated.emit(box.currentIndex())


def test_a_ct_opens_in_soft_tissue_and_is_seen_through_what_is_picked(
    dock: ScsamDock, hand: Hand, tmp_path: Path, ct_path: Path
) -> None:
    box = open_ct(dock, hand, tmp_path, ct_path)
    assert box.isVisible() and box.currentData() == "soft-tissue"
    image = dock.session.canvas.layers["image"]
    assert tuple(image.contrast_limits) == (-160, 240)
    hand.click(30, 36)
    hand.wait_for_mask()
    pick(hand, box, "bone")
    assert tuple(image.contrast_limits) == (-500, 1300)
    assert "Bone" in hand.status()
    hand.wait_for_mask()  # asked again, through the other window
    hand.until(lambda: dock.session.project.window.name == "bone")
    pick(hand, box, "auto")
    low, high = image.contrast_limits
    assert low < -900 and high > 600


def test_a_slice_that_the_window_hides_is_said_to_be_so_and_the_loop_goes_on(
    dock: ScsamDock, hand: Hand, tmp_path: Path, ct_path: Path
) -> None:
    open_ct(dock, hand, tmp_path, ct_path)
    dock.session.annotation.navigation.open_image(dock.session.annotation.now.image_id, Plane(0, 0))
    hand.until(lambda: "Nothing to see in the window Soft tissue" in hand.status())
    dock.session.annotation.navigation.open_image(dock.session.annotation.now.image_id, Plane(0, 1))
    hand.click(30, 36)
    hand.wait_for_mask()


def test_the_next_slices_are_embedded_before_they_are_asked_for(
    dock: ScsamDock, hand: Hand, segmenter: SegmenterProcess, tmp_path: Path, ct_path: Path
) -> None:
    folder = segmenter._cache_folder
    before = set(folder.glob("*.safetensors"))
    open_ct(dock, hand, tmp_path, ct_path)
    # Slice 2 of 3 is on show; the third comes ahead, and the first is hidden by the window.
    hand.until(lambda: len(set(folder.glob("*.safetensors")) - before) >= 2)
    assert len(set(folder.glob("*.safetensors")) - before) == 2


def test_a_colour_picture_has_no_window(
    dock: ScsamDock, hand: Hand, tmp_path: Path, picture_path: Path
) -> None:
    dock.create_project(tmp_path / "project", ["spot"], [picture_path], "rgb")
    hand.wait_for_image()
    assert not hand.find("window", QComboBox).isVisible()


def test_a_slice_of_one_value_says_that_there_is_nothing_to_see_and_the_loop_goes_on(
    dock: ScsamDock, hand: Hand, tmp_path: Path, ct_path: Path
) -> None:
    flat = tmp_path / "flat.tif"
    scan = tifffile.imread(ct_path)
    scan[1] = 7  # the middle one, on show first
    tifffile.imwrite(flat, scan, imagej=True, metadata={"axes": "ZYX"})
    dock.create_project(tmp_path / "project", ["core"], [flat], "mr")
    hand.wait_for_image()
    hand.until(lambda: "there is nothing to see" in hand.status())
    hand.click(20, 20)
    hand.until(lambda: bool(hand.points()))
    hand.until(lambda: "there is nothing to see" in hand.status())
    dock.session.annotation.navigation.open_image(dock.session.annotation.now.image_id, Plane(0, 2))
    hand.click(30, 36)
    hand.wait_for_mask()


def test_an_image_of_one_value_is_refused_in_one_line(
    dock: ScsamDock, hand: Hand, tmp_path: Path
) -> None:
    flat = tmp_path / "flat.tif"
    tifffile.imwrite(flat, np.full((48, 40), -1000, np.int16))
    dock.create_project(tmp_path / "project", ["core"], [flat], "ct")
    hand.until(lambda: "flat.tif is constant (every value is -1000)" in hand.status())
    assert "\n" not in hand.status()


@pytest.mark.parametrize(
    "data",
    [np.zeros((3, 4)), np.full((3, 4), np.nan), np.array([[np.nan, 1, np.inf], [2, 3, -np.inf]])],
)
def test_a_display_range_is_never_empty(data: np.ndarray) -> None:
    low, high = contrast(data)
    assert np.isfinite([low, high]).all() and low < high
