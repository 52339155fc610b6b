"""Thumbnails: made once, bounded, and never in the way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from napari_scsam.project import Project, thumbnails
from napari_scsam.project.thumbnails import SIDE, Thumbnails

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A wide volume whose slice 2 is bright on the left, a picture in colour, a tiny one."""
    volume = np.zeros((5, 60, 240), np.float32)
    volume[2, :, :120] = 1000
    tifffile.imwrite(tmp_path / "a.tif", volume, imagej=True, metadata={"axes": "ZYX"})
    red = np.zeros((300, 200, 3), np.uint8)
    red[:150] = (250, 10, 10)
    imageio.imwrite(tmp_path / "b.png", red)
    imageio.imwrite(tmp_path / "c.png", np.arange(72, dtype=np.uint8).reshape(9, 8))
    with Project.create(tmp_path / "project", ["one"]) as made:
        made.add_images([tmp_path / f"{name}" for name in ("a.tif", "b.png", "c.png")])
        yield made


def folder(project: Project) -> Path:
    return project.folder / "cache/thumbnails"


def test_a_slice_is_small_has_its_proportions_and_is_read_once(project: Project) -> None:
    a, b, c = project.images()
    made = Thumbnails(project)
    left = made.get(a.id, None)  # the middle slice
    assert left.shape == (SIDE // 4, SIDE, 3) and left.dtype == np.uint8
    assert left[:, : SIDE // 3].min() > 250 and left[:, -SIDE // 3 :].max() < 5
    assert made.get(a.id, 0).max() < 5
    red = made.get(b.id, None)
    assert red.shape == (SIDE, round(SIDE * 2 / 3), 3)
    assert red[5, 5, 0] > 200 and red[5, 5, 1] < 60
    assert made.get(c.id, 0).shape == (9, 8, 3)
    assert {path.name for path in folder(project).iterdir()} == {
        *(f"{a.id}-2.png", f"{a.id}-0.png", f"{b.id}-0.png", f"{c.id}-0.png"),
    }
    for record in (a, b, c):
        record.path.unlink()
    assert np.array_equal(Thumbnails(project).get(a.id, 2), left)  # from the cache


def test_what_can_not_be_read_has_none(project: Project) -> None:
    a, b, _ = project.images()
    b.path.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    made = Thumbnails(project)
    assert made.get(b.id, None) is None
    assert made.get(a.id, 99) is None and made.get("00000000", None) is None
    # A damaged file of the cache is made again.
    first = made.get(a.id, 2)
    (folder(project) / f"{a.id}-2.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert np.array_equal(made.get(a.id, 2), first)


def test_a_full_disk_or_a_link_in_place_of_the_folder_only_means_that_none_is_kept(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = project.images()[0]

    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(thumbnails, "open_new", full)
        assert Thumbnails(project).get(a.id, 2) is not None
    assert not list(folder(project).iterdir())
    folder(project).rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder(project).symlink_to(tmp_path / "elsewhere")
    assert Thumbnails(project).get(a.id, 2) is not None
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_oldest_are_deleted_when_there_are_too_many(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = project.images()[0]
    monkeypatch.setattr(thumbnails, "MOST_FILES", 4)
    monkeypatch.setattr(thumbnails, "DELETED_PART", 4)
    made = Thumbnails(project)
    for index in range(5):
        made.get(a.id, index)
        path = folder(project) / f"{a.id}-{index}.png"
        if path.exists():
            os.utime(path, (index, index))
    assert sorted(path.name[-5] for path in folder(project).iterdir()) == ["2", "3", "4"]
