"""Compressed TIFFs: read, or one line that says what to install or that they are not read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from test_io_bounds import read_and_measure, tiff_of_one_page

from napari_scsam.core.errors import InputError
from napari_scsam.io import read_volume
from napari_scsam.io.tiff_codecs import picture_size

if TYPE_CHECKING:
    from pathlib import Path

imagecodecs = pytest.importorskip("imagecodecs")

PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
LOSSLESS: dict[str, dict[str, Any]] = {
    "zlib": {},
    "lzma": {},
    "lzw": {},
    "zstd": {},
    "packbits": {},
    "png": {},
    "jpegxl": {"lossless": True},
    "webp": {"lossless": True},
    "jpeg2000": {"reversible": True},
}


def write(path: Path, name: str) -> Path:
    if not getattr(imagecodecs, name.upper().replace("JPEG2000", "JPEG2K")).available:
        pytest.skip(f"this imagecodecs has no {name}")
    arguments = LOSSLESS[name]
    tifffile.imwrite(path, PICTURE, photometric="rgb", compression=name, compressionargs=arguments)
    return path


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_compressed_picture_is_read_exactly(name: str, tmp_path: Path) -> None:
    volume = read_volume(write(tmp_path / "a.tif", name))
    assert volume.rgb
    np.testing.assert_array_equal(volume.data, PICTURE)


def test_without_imagecodecs_the_line_says_what_to_install(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.tif", n) for n in ("lzw", "zstd", "jpegxl", "webp")]
    for path, (said, *_) in zip(paths, read_and_measure(paths, plain=True), strict=True):
        assert str(path) in said and path.stem.upper() in said
        assert "pip install imagecodecs," in said and "\n" not in said


def test_an_imagecodecs_without_the_decoder_is_one_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise imagecodecs.DelayedImportError("zstd_decode")

    path = write(tmp_path / "a.tif", "zstd")
    read_volume(path)
    monkeypatch.setitem(tifffile.TIFF.DECOMPRESSORS._codecs, 50000, missing)
    with pytest.raises(InputError, match=r"pip install 'imagecodecs\[all\]'") as caught:
        read_volume(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("code", "name"), [(34661, "JBIG"), (34887, "LERC"), (34934, "JPEGXR")])
def test_what_no_package_reads_or_bounds_is_not_called_damaged(
    code: int, name: str, tmp_path: Path
) -> None:
    tiff_of_one_page(tmp_path / "a.tif", bytes(40), (8, 5), code)
    with pytest.raises(InputError, match=rf"a\.tif is compressed as {name}\w*, which is not read"):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("size", [(8, 8), (64, 48), (48, 64), (1000, 1000), (513, 70), (1, 3)])
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(
    size: tuple[int, int], container: bool
) -> None:
    if not imagecodecs.JPEGXL.available:
        pytest.skip("this imagecodecs has no JPEG XL")
    content = imagecodecs.jpegxl_encode(
        np.zeros((*size, 3), np.uint8), lossless=True, usecontainer=container
    )
    assert picture_size(content, 50002) == size[0] * size[1] * 3
