"""Every format at one door: bad files in one clear line, masks, and atomic writing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.volume import Volume
from napari_scsam.io import read_labels, read_volume, stem, write_labels
from napari_scsam.io.atomic import atomic_write

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 999, (5, 20, 30)).astype(np.uint16)
COLOUR = RNG.integers(0, 255, (20, 30, 3)).astype(np.uint8)


def write_every_format(folder: Path) -> list[Path]:
    spacing = {"axes": "ZYX", "spacing": 2.0, "unit": "mm"}
    tifffile.imwrite(folder / "plain.tif", STACK)
    tifffile.imwrite(folder / "pages.tif", STACK, metadata=None)
    tifffile.imwrite(folder / "imagej.tif", STACK, imagej=True, metadata=spacing)
    tifffile.imwrite(folder / "ome.tif", STACK, ome=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(folder / "zip.tif", STACK, compression="zlib")
    nib.save(nib.Nifti1Image(STACK.T, np.diag([1, 2, 3, 1])), folder / "one.nii")
    nib.save(nib.Nifti1Image(STACK.T, np.diag([1, 2, 3, 1])), folder / "packed.nii.gz")
    nib.save(nib.Nifti2Image(STACK.T, np.diag([1, 2, 3, 1])), folder / "two.nii")
    for name in ("colour.png", "colour.jpg", "colour.bmp"):
        iio.imwrite(folder / name, COLOUR)
    iio.imwrite(folder / "grey16.png", STACK[0])
    return sorted(folder.iterdir())


def test_a_cut_or_scrambled_file_is_one_clear_line_and_never_wrong_pixels(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "whole").mkdir()
    victim = tmp_path / "victim"
    for path in write_every_format(tmp_path / "whole"):
        content, whole = path.read_bytes(), read_volume(path).data
        refused = 0
        for length in (*np.linspace(0, len(content) - 1, 25).astype(int), 9, 200, 355):
            victim.write_bytes(content[:length])
            refused += not _reads_the_same_or_is_refused(victim, whole)
        assert refused >= 24, path
        for _ in range(15):
            scrambled = bytearray(content)
            for place in RNG.integers(8, min(len(content), 500), 3):
                scrambled[place] = RNG.integers(256)
            victim.write_bytes(scrambled)
            _reads_the_same_or_is_refused(victim, None)
    assert capfd.readouterr() == ("", "")


def _reads_the_same_or_is_refused(path: Path, whole: np.ndarray | None) -> bool:
    try:
        pixels = read_volume(path).data
    except InputError as exc:
        assert "\n" not in str(exc)
        assert str(path) in str(exc)
        return False
    if whole is not None:
        np.testing.assert_array_equal(pixels, whole)
    return True


def test_files_that_hold_no_image_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "text.png").write_text("no image" * 100)
    (tmp_path / "scan.dcm").write_bytes(bytes(128) + b"DICM" + bytes(300))
    for name, message in [
        ("missing.png", "There is no file"),
        ("", "is a folder"),
        ("empty.nii.gz", r"is empty \(0 bytes\)"),
        ("text.png", "not an image in a known format"),
        ("scan.dcm", "dcm2niix"),
    ]:
        with pytest.raises(InputError, match=message):
            read_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((9, 9), np.nan, np.float32), "81 values that are NaN or infinite"),
        (np.where(np.eye(9) > 0, np.inf, 1).astype(np.float32), "9 values that are NaN"),
        (np.full((9, 9), 7, np.uint8), "constant .every value is 7"),
        (np.arange(9, dtype=np.uint8)[None], r"shape \(1, 9\)"),
        (np.arange(27, dtype=np.uint8).reshape(3, 9, 1), r"shape \(3, 9, 1\)"),
    ],
)
def test_pixels_that_nobody_can_outline_are_refused(
    pixels: np.ndarray, message: str, tmp_path: Path
) -> None:
    nib.save(nib.Nifti1Image(pixels.T, np.diag([2, 2, 2, 1])), tmp_path / "scan.nii")
    with pytest.raises(InputError, match=message):
        read_volume(tmp_path / "scan.nii")


def test_pictures_of_every_kind(tmp_path: Path) -> None:
    alpha = np.dstack([COLOUR, np.full((20, 30), 9, np.uint8)])
    iio.imwrite(tmp_path / "alpha.png", alpha)
    np.testing.assert_array_equal(read_volume(tmp_path / "alpha.png").data, COLOUR)
    Image.fromarray(alpha[..., 2:]).save(tmp_path / "grey alpha.png")
    grey = read_volume(tmp_path / "grey alpha.png")
    assert not grey.rgb
    np.testing.assert_array_equal(grey.data, COLOUR[..., 2])
    iio.imwrite(tmp_path / "deep.png", STACK[0])
    deep = read_volume(tmp_path / "deep.png")
    assert (deep.data.dtype, deep.spacing_known) == (np.uint16, False)
    np.testing.assert_array_equal(deep.data, STACK[0])
    Image.fromarray(COLOUR[..., 0] > 100).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "bits.png").data, COLOUR[..., 0] > 100)


def test_masks_are_read_as_numbers(tmp_path: Path) -> None:
    mask = RNG.integers(0, 3, (20, 30)).astype(np.uint8)
    palette = Image.fromarray(mask).convert("P")
    palette.putdata(mask.ravel().tolist())
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "palette.png")
    iio.imwrite(tmp_path / "same channels.png", np.dstack([mask] * 3))
    iio.imwrite(tmp_path / "grey.png", mask)
    nib.save(nib.Nifti1Image(mask.T.astype(np.float32), np.eye(4)), tmp_path / "float.nii")
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    for path in tmp_path.iterdir():
        read = read_labels(path)
        assert read.dtype.kind in "iu"
        np.testing.assert_array_equal(read, mask, err_msg=path.name)
    iio.imwrite(tmp_path / "nothing.png", np.zeros((20, 30), np.uint8))
    assert read_labels(tmp_path / "nothing.png").max() == 0


def test_what_is_no_mask_is_refused(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "colour.png", COLOUR)
    with pytest.raises(InputError, match="colour picture"):
        read_labels(tmp_path / "colour.png")
    for value in (0.5, np.nan):
        nib.save(nib.Nifti1Image(np.full((4, 4), value, np.float32), None), tmp_path / "half.nii")
        with pytest.raises(InputError, match="fractions or NaN"):
            read_labels(tmp_path / "half.nii")
    nib.save(nib.Nifti1Image(np.full((4, 4), 1e30, np.float32), None), tmp_path / "huge.nii")
    with pytest.raises(InputError, match=r"huge\.nii is no mask: it holds values up to 1e\+30"):
        read_labels(tmp_path / "huge.nii")


def test_png_labels_are_one_picture_or_one_for_each_slice(tmp_path: Path) -> None:
    label = RNG.integers(0, 3, (2, 6, 8)).astype(np.uint8)
    paths = write_labels(tmp_path / "new" / "v.png", label, Volume(label))
    assert [p.relative_to(tmp_path / "new").as_posix() for p in paths] == [
        "v/0000.png",
        "v/0001.png",
    ]
    np.testing.assert_array_equal(iio.imread(paths[1]), label[1])
    write_labels(tmp_path / "flat.png", label[0], Volume(label[0]))
    np.testing.assert_array_equal(iio.imread(tmp_path / "flat.png"), label[0])


def test_a_large_picture_is_no_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    label = RNG.integers(0, 3, (20, 30)).astype(np.uint8)
    write_labels(tmp_path / "large.png", label, Volume(label))
    np.testing.assert_array_equal(read_volume(tmp_path / "large.png").data, label)


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    label = np.zeros((6, 8), np.uint8)
    with pytest.raises(InputError, match=r"shape \(6, 8\), but its image has \(8, 6\)"):
        write_labels(tmp_path / "x.nii.gz", label, Volume(label.T))
    with pytest.raises(InputError, match="uint8, got int64"):
        write_labels(tmp_path / "x.nii.gz", label.astype(np.int64), Volume(label))
    with pytest.raises(InputError, match="no suffix of a format for masks"):
        write_labels(tmp_path / "x.jpg", label, Volume(label))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.tif", "x.png"])
def test_what_does_not_read_back_is_not_put_in_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = RNG.integers(0, 3, (6, 8)).astype(np.uint8)
    (tmp_path / name).write_bytes(b"the earlier file")
    monkeypatch.setattr(np, "array_equal", lambda *_: False)
    with pytest.raises(ProjectError, match="read back"):
        write_labels(tmp_path / name, label, Volume(label))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"the earlier file"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only disk"),
        (PermissionError(errno.EACCES, "Permission denied"), "not permitted"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_no_rest(
    error: OSError, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with (
        pytest.raises(ProjectError, match=rf"{message}.*file\.bin was not written"),
        atomic_write(path) as temporary,
    ):
        temporary.write_bytes(b"half of the ne")
        raise error
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_any_other_error_passes_through_and_leaves_no_rest(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_write(tmp_path / "file.bin") as temporary:
        temporary.write_bytes(b"half")
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_the_content_is_flushed_before_the_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(_kind(fd)), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda s, t: (steps.append("rename"), replace(s, t))[1])
    with atomic_write(tmp_path / "file.bin") as temporary:
        temporary.write_bytes(b"new")
    assert steps == (["file", "rename"] if os.name == "nt" else ["file", "rename", "folder"])


def _kind(descriptor: int) -> str:
    return "folder" if os.fstat(descriptor).st_mode & 0o040000 else "file"


def test_stems() -> None:
    names = {"a/b.nii.gz": "b", "b.NII.GZ": "b", "x.y.tif": "x.y", ".nii": ".nii", "n": "n"}
    assert {name: stem(name) for name in names} == names


@pytest.mark.realdata
def test_real_scans_can_be_read_and_written_back(tmp_path: Path) -> None:
    data = Path(os.environ.get("SCSAM_DATA", Path(__file__).parents[3] / "shared" / "data"))
    paths = sorted(data.glob("*/images/*"))[::60]
    if not paths:
        pytest.skip("the developers' scans are not here")
    for path in paths:
        volume = read_volume(path)
        (mask,) = path.parents[1].glob(f"masks/{stem(path)}.*")
        label = read_labels(mask).astype(np.uint8)
        write_labels(tmp_path / "label.nii.gz", label, volume)
        np.testing.assert_array_equal(read_labels(tmp_path / "label.nii.gz"), label)
