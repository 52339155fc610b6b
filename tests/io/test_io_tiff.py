"""TIFF in and out: axes, spacing and what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_scsam.core.errors import InputError
from napari_scsam.core.volume import Volume
from napari_scsam.io import read_labels, read_volume, write_labels

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 999, (5, 20, 30)).astype(np.uint16)
COLOUR = RNG.integers(0, 255, (20, 30, 4)).astype(np.uint8)
MM_OME = {f"PhysicalSize{axis}Unit": "mm" for axis in "XYZ"}


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (STACK[0], {}),
        (STACK, {}),
        (STACK, {"metadata": None}),
        (STACK[:1, None], {}),
        (STACK, {"imagej": True, "metadata": {"axes": "ZYX"}}),
        (STACK, {"compression": "zlib"}),
        (STACK, {"tile": (16, 16)}),
        (STACK, {"bigtiff": True}),
        (STACK, {"byteorder": ">"}),
        (STACK.astype(np.float32) / 7, {}),
        (STACK[0] > 500, {}),
        (COLOUR[..., :3], {"photometric": "rgb"}),
        (np.stack([COLOUR[..., :3]] * 2), {"photometric": "rgb"}),
    ],
)
def test_pixels_come_back_as_they_were(
    pixels: np.ndarray, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, pixels, **options)
    volume = read_volume(path)
    colour = options.get("photometric") == "rgb"
    assert volume.rgb is colour
    expected = pixels if colour else pixels.squeeze()
    assert volume.data.dtype == pixels.dtype
    np.testing.assert_array_equal(volume.data, expected)
    assert not volume.spacing_known


def test_alpha_planes_and_palettes_become_plain_colour(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, COLOUR, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_volume(path).data, COLOUR[..., :3])
    tifffile.imwrite(
        path, np.moveaxis(COLOUR[..., :3], -1, 0), photometric="rgb", planarconfig="separate"
    )
    np.testing.assert_array_equal(read_volume(path).data, COLOUR[..., :3])
    palette = RNG.integers(0, 255, (3, 256)).astype(np.uint8)
    tifffile.imwrite(
        path, COLOUR[..., 0], photometric="palette", colormap=palette.astype(np.uint16) * 257
    )
    np.testing.assert_array_equal(read_volume(path).data, palette.T[COLOUR[..., 0]])


@pytest.mark.parametrize(
    ("pixels", "options", "spacing"),
    [
        (
            STACK,
            {
                "imagej": True,
                "resolution": (1 / 0.5, 1 / 0.25),
                "metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "mm"},
            },
            (2, 0.25, 0.5),
        ),
        (
            STACK,
            {
                "imagej": True,
                "resolution": (2, 4),
                "metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "um"},
            },
            (2e-3, 0.25e-3, 0.5e-3),
        ),
        (
            STACK,
            {
                "ome": True,
                "metadata": {
                    "axes": "ZYX",
                    "PhysicalSizeX": 0.5,
                    "PhysicalSizeY": 0.25,
                    "PhysicalSizeZ": 2,
                    **MM_OME,
                },
            },
            (2, 0.25, 0.5),
        ),
        (
            STACK[0],
            {"ome": True, "metadata": {"PhysicalSizeX": 500, "PhysicalSizeY": 250}},
            (0.25, 0.5),
        ),
        (STACK[0], {"resolution": (20, 40), "resolutionunit": 3}, (0.25, 0.5)),
        (STACK[0], {"resolution": (254, 508), "resolutionunit": 2}, (0.05, 0.1)),
    ],
    ids=["imagej mm", "imagej um", "ome mm", "ome default um", "per cm", "per inch"],
)
def test_spacing_is_read_in_millimetres(
    pixels: np.ndarray, options: dict[str, Any], spacing: tuple[float, ...], tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "scan.tif", pixels, **options)
    volume = read_volume(tmp_path / "scan.tif")
    assert volume.spacing_known
    np.testing.assert_allclose(volume.spacing, spacing, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"resolution": (72, 72), "resolutionunit": 2},
        {"resolution": (300, 300), "resolutionunit": 2},
        {"resolution": (5, 5), "resolutionunit": 1},
    ],
)
def test_a_screen_resolution_is_no_spacing(options: dict[str, Any], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "scan.tif", STACK[0], **options)
    assert not read_volume(tmp_path / "scan.tif").spacing_known


def test_a_stack_without_slice_spacing_has_no_spacing(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "scan.tif", STACK, resolution=(20, 40), resolutionunit=3)
    volume = read_volume(tmp_path / "scan.tif")
    assert not volume.spacing_known
    assert volume.spacing == (1, 1, 1)


def test_series_that_are_no_volume_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(InputError, match="5 time points"):
        read_volume(path)
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(InputError, match="5 channels"):
        read_volume(path)
    with tifffile.TiffWriter(path) as file:
        file.write(STACK[0])
        file.write(STACK[0, :5])
    with pytest.raises(InputError, match="2 pictures of different kinds"):
        read_volume(path)


WITHOUT_IMAGECODECS = """
import sys
sys.modules["imagecodecs"] = None
from napari_scsam.core.errors import InputError
from napari_scsam.io import read_volume
try:
    read_volume(sys.argv[1])
except InputError as error:
    print(error)
"""


def test_lzw_is_read_or_what_it_needs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lzw.tif"
    Image.fromarray(COLOUR).save(path, compression="tiff_lzw")
    # A process of its own: tifffile looks for the package once, when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_IMAGECODECS, path], capture_output=True, text=True
    )
    assert "pip install imagecodecs" in done.stdout, done.stderr
    pytest.importorskip("imagecodecs")
    np.testing.assert_array_equal(read_volume(path).data, COLOUR[..., :3])


@pytest.mark.parametrize("spacing", [None, (3.0, 0.5, 0.25), (0.7, 0.31)])
def test_labels_carry_their_spacing(spacing: tuple[float, ...] | None, tmp_path: Path) -> None:
    shape = (2, 20, 30) if spacing is None or len(spacing) == 3 else (20, 30)
    label = RNG.integers(0, 3, shape).astype(np.uint8)
    path = tmp_path / "label.tif"
    write_labels(path, label, Volume.from_array(label, spacing))
    np.testing.assert_array_equal(read_labels(path), label)
    again = read_volume(path)
    assert again.spacing_known is (spacing is not None)
    np.testing.assert_allclose(again.spacing, spacing or (1, 1, 1), rtol=1e-6)
