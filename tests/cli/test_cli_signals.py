"""Commands that are ended by SIGTERM: nothing is left half-done, and they can be run again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
from command_line import ok, refused

from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# So that a command takes about a second.
PICTURES, SLICES = 300, 200

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGTERM")


def ended(began: Callable[[], bool], *words: object, number: int = signal.SIGTERM) -> str:
    """The last line of a command that gets a signal as soon as it has begun."""
    command = [sys.executable, "-m", "napari_scsam.cli", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and not began():
            time.sleep(0.002)
        running.send_signal(number)
        lines = running.stderr.read().splitlines()
    assert running.returncode == 130, lines
    return lines[-1]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of pictures that differ, each of which takes some ms to read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (400, 400)).astype(np.uint8)
    iio.imwrite(folder / "0.png", pixels)
    content = (folder / "0.png").read_bytes()
    for index in range(1, PICTURES):
        (folder / f"{index}.png").write_bytes(content + index.to_bytes(2))
    return folder


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A project with a volume and a version of its label for each of some slices."""
    scan, rng = tmp_path / "scan.nii.gz", np.random.default_rng(0)
    shape = (SLICES, 128, 128)
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8).T, np.eye(4)), scan)
    with Project.create(tmp_path / "project", ["a"]) as project:
        (image,) = project.add_images([scan])
        project.commit(image, rng.integers(0, 2, shape).astype(np.uint8))
    return tmp_path / "project"


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive)]
)
def test_a_project_that_was_not_finished_is_none(
    pictures: Path, tmp_path: Path, number: int
) -> None:
    folder = tmp_path / "new"
    words = ("new", folder, "--classes", "a,b", "--images", pictures)
    exists = (folder / "project.toml").exists
    assert ended(exists, *words, number=number) == "napari-scsam: Cancelled."
    assert not folder.exists()
    assert len(ok(*words)["images"]) == PICTURES


def test_a_project_whose_creation_was_killed_is_taken_up(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    Project.create(folder, ["a", "b"], modality="ct").close()  # what SIGKILL leaves of it
    words = ("new", folder, "--modality", "ct")
    images = ("--images", pictures / "0.png")
    for others in (("--classes", "a", *images), ("--classes", "a,b")):
        assert "is a project already" in refused(*words, *others)
    assert "There is no" in refused(*words, "--classes", "a,b", "--images", tmp_path / "no.png")
    (image,) = ok(*words, "--classes", "a, b", *images)["images"]
    assert "is a project already" in refused(*words, "--classes", "a,b", *images)
    with Project.open(folder) as project:
        assert [record.id for record in project.images()] == [image]


@pytest.mark.exhaustive
def test_images_are_added_all_or_none(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    ok("new", folder, "--classes", "a")
    begun = time.monotonic() + 1.5
    words = ("add", folder, pictures)
    assert ended(lambda: time.monotonic() > begun, *words) == "napari-scsam: Cancelled."
    with Project.open(folder) as project:
        assert project.images() == [] and project.notes == []
    assert ok(*words)["total"] == PICTURES


@pytest.mark.exhaustive
def test_an_export_leaves_whole_files(labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("export", labelled, "--format", "png", "--out", out)
    assert ended(lambda: any(out.rglob("*.png")), *words) == "napari-scsam: Cancelled."
    files = [path for path in out.rglob("*") if path.is_file()]
    assert 0 < len(files) < SLICES and not any(path.name.startswith(".") for path in files)
    assert all(iio.imread(path).shape == (128, 128) for path in files)
    ok(*words, "--overwrite")
    assert len(list(out.rglob("*.png"))) == SLICES


@pytest.mark.exhaustive
def test_a_copy_that_was_not_finished_is_none(labelled: Path, tmp_path: Path) -> None:
    (labelled / "labels" / "more").mkdir()
    for index in range(3000):  # so that it takes a while
        (labelled / "labels" / "more" / f"{index}").write_bytes(b"")
    out = tmp_path / "copy"
    words = ("pack", labelled, "--out", out, "--images")
    assert ended(lambda: any(out.glob("*")), *words) == "napari-scsam: Cancelled."
    assert not out.exists() or not any(out.iterdir())
    assert ok(*words)["images"] == 1


@pytest.mark.exhaustive
def test_a_merge_that_was_interrupted_goes_on(labelled: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(labelled, other)
    with Project.open(other) as project:
        (image,) = (record.id for record in project.images())
        for index in range(0, SLICES, 4):
            project.commit(image, np.ones((128, 128), np.uint8), plane=Plane(0, index))
        theirs = project.label(image)
    labels = labelled / "labels" / image
    before = len(list(labels.iterdir()))
    words = ("merge", labelled, other)
    begun = lambda: len(list(labels.iterdir())) > before + 1  # noqa: E731
    assert ended(begun, *words) == "napari-scsam: Cancelled."
    with Project.open(labelled) as project:
        assert project.notes == [] and not np.array_equal(project.label(image), theirs)
    ok(*words)
    with Project.open(labelled) as project:
        np.testing.assert_array_equal(project.label(image), theirs)
    assert not any(path.name.startswith(".") for path in labels.iterdir())
