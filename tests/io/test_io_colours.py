"""Colour spaces, channels and bits: each is read as what it is, or refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from handmade import png
from PIL import Image

from napari_scsam.core.errors import InputError
from napari_scsam.io import read_labels, read_volume

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 30, 5)).astype(np.uint8)
DEEP = RNG.integers(0, 2**16, (20, 30, 4)).astype(np.uint16)


def as_ink(rgb: np.ndarray, black: np.ndarray, most: int) -> np.ndarray:
    """CMYK that stands for these colours under so much black, by hand."""
    cyan_magenta_yellow = most - rgb.astype(np.int64)
    return np.concatenate([cyan_magenta_yellow, black[..., None]], -1)


def test_a_jpeg_in_cmyk_becomes_red_green_and_blue(tmp_path: Path) -> None:
    # One colour for each quarter: JPEG keeps flat areas.
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[:16, :16], rgb[:16, 16:] = (250, 20, 20), (20, 240, 20)
    rgb[16:, :16], rgb[16:, 16:] = (30, 30, 230), (200, 200, 40)
    ink = as_ink(rgb, np.zeros((32, 32), np.int64), 255).astype(np.uint8)
    Image.frombytes("CMYK", (32, 32), ink.tobytes()).save(tmp_path / "ink.jpg", quality=100)
    volume = read_volume(tmp_path / "ink.jpg")
    assert volume.rgb
    np.testing.assert_allclose(volume.data.astype(int), rgb, atol=4)


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 65535)])
def test_a_tiff_in_cmyk_becomes_red_green_and_blue(dtype: Any, most: int, tmp_path: Path) -> None:
    rgb = RNG.integers(0, most + 1, (20, 30, 3))
    black = np.zeros((20, 30), np.int64)
    black[:, 15:] = most // 2
    ink = as_ink(rgb, black, most).astype(dtype)
    tifffile.imwrite(tmp_path / "ink.tif", ink, photometric="separated")
    volume = read_volume(tmp_path / "ink.tif")
    assert (volume.rgb, volume.data.dtype) == (True, dtype)
    dimmed = rgb * (1 - black[..., None] / most)
    np.testing.assert_allclose(volume.data, dimmed, atol=0.51)


@pytest.mark.parametrize("channels", [3, 4, 2])
def test_a_png_of_16_bits_keeps_its_own_values(channels: int, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    pixels = DEEP[..., :channels]
    (tmp_path / "deep.png").write_bytes(png(pixels, 16))
    volume = read_volume(tmp_path / "deep.png")
    assert volume.data.dtype == np.uint16
    np.testing.assert_array_equal(volume.data, pixels[..., 0] if channels == 2 else DEEP[..., :3])


def test_a_tiff_of_16_bits_keeps_its_own_values(tmp_path: Path) -> None:
    for options in ({}, {"planarconfig": "separate"}, {"byteorder": ">"}):
        pixels = DEEP[..., :3]
        if options.get("planarconfig"):
            pixels = np.moveaxis(pixels, -1, 0)
        tifffile.imwrite(tmp_path / "deep.tif", pixels, photometric="rgb", **options)
        np.testing.assert_array_equal(read_volume(tmp_path / "deep.tif").data, DEEP[..., :3])


@pytest.mark.parametrize(
    ("channels", "options"),
    [
        (5, {"photometric": "minisblack", "planarconfig": "contig"}),
        (5, {"photometric": "rgb", "extrasamples": ["unspecified", "unassalpha"]}),
        (4, {"photometric": "rgb", "extrasamples": ["unspecified"]}),
        (4, {"photometric": "minisblack", "planarconfig": "contig"}),
        (2, {"photometric": "minisblack", "planarconfig": "contig"}),
    ],
)
def test_channels_are_never_cut(channels: int, options: dict[str, Any], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "channels.tif", COLOUR[..., :channels], **options)
    with pytest.raises(InputError, match=rf"channels\.tif has {channels} channels"):
        read_volume(tmp_path / "channels.tif")


@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha"])
def test_alpha_is_dropped(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "alpha.tif"
    tifffile.imwrite(path, COLOUR[..., :4], photometric="rgb", extrasamples=[kind])
    np.testing.assert_array_equal(read_volume(path).data, COLOUR[..., :3])
    options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(path, COLOUR[..., :2], extrasamples=[kind], **options)
    grey = read_volume(path)
    assert not grey.rgb
    np.testing.assert_array_equal(grey.data, COLOUR[..., 0])


@pytest.mark.parametrize("space", ["cielab", "icclab", "cfa", "ycbcr"])
def test_a_colour_space_that_is_not_read_is_named(space: str, tmp_path: Path) -> None:
    path = tmp_path / "space.tif"
    channels = 1 if space == "cfa" else 3
    tifffile.imwrite(path, COLOUR[..., :3].squeeze() if channels == 3 else COLOUR[..., 0])
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["PhotometricInterpretation"].overwrite(
            int(getattr(tifffile.PHOTOMETRIC, space.upper()))
        )
    with pytest.raises(InputError, match=rf"space\.tif is in the colour space {space.upper()}"):
        read_volume(path)


def test_a_jpeg_in_ycbcr_is_read_in_its_colours(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    red, green = np.meshgrid(np.arange(0, 240, 8), np.arange(0, 160, 8))
    smooth = np.dstack([red, green, np.zeros_like(red)]).astype(np.uint8)
    path = tmp_path / "jpeg.tif"
    stored = np.asarray(Image.fromarray(smooth).convert("YCbCr"))
    options = {"subsampling": (1, 1), "compressionargs": {"level": 98}}
    tifffile.imwrite(path, stored, photometric="ycbcr", compression="jpeg", **options)
    np.testing.assert_allclose(read_volume(path).data.astype(int), smooth, atol=6)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_values_are_refused_at_once(dtype: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "complex.tif", COLOUR[..., 0].astype(dtype))
    with pytest.raises(InputError, match=r"complex\.tif holds values of type complex"):
        read_volume(tmp_path / "complex.tif")


def test_a_palette_is_its_colours_in_a_picture_and_its_numbers_in_a_mask(tmp_path: Path) -> None:
    mask = RNG.integers(0, 3, (20, 30)).astype(np.uint8)
    table = np.array([[9, 9, 9], [255, 0, 0], [0, 255, 0]], np.uint8)
    picture = Image.fromarray(mask).convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.putpalette(table.ravel().tolist())
    for name, options in (("plain.png", {}), ("clear.png", {"transparency": 0}),
                          ("clear each.png", {"transparency": b"\x00\x80\xff"}),
                          ("plain.bmp", {}), ("plain.tif", {})):  # fmt: skip
        picture.save(tmp_path / name, **options)
        np.testing.assert_array_equal(read_volume(tmp_path / name).data, table[mask], name)
        np.testing.assert_array_equal(read_labels(tmp_path / name), mask, name)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_their_own_values(bits: int, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    values = RNG.integers(0, 2**bits, (20, 32)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "bits.tif", values, bitspersample=bits, photometric="minisblack")
    np.testing.assert_array_equal(read_volume(tmp_path / "bits.tif").data, values)
    (tmp_path / "bits.png").write_bytes(png(values, bits))
    np.testing.assert_array_equal(read_volume(tmp_path / "bits.png").data, values)
