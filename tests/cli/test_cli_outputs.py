"""No command writes over what came in, and over other files only when told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from command_line import Run, here, process

from napari_scsam.cli.demo import _free_folder
from napari_scsam.core.errors import InputError
from napari_scsam.io import check_outputs
from napari_scsam.project import Project
from napari_scsam.project.export import export_labels

if TYPE_CHECKING:
    from collections.abc import Callable

# Every command that writes files of its own, and what it would call them.
COMMANDS = ("export", "predict", "segment")


class Desk:
    """A project of one scan, a round that no model is read from, and the commands on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scan = folder / "scans" / "p01.nii.gz"
        self.scan.parent.mkdir()
        values = np.random.default_rng(0).integers(0, 900, (9, 7, 5)).astype(np.int16)
        nib.save(nib.Nifti1Image(values, np.diag([0.5, 0.6, 3, 1])), self.scan)
        self.project = folder / "trial"
        with Project.create(self.project, ["prostate"]) as project:
            (image,) = project.add_images([self.scan])
            project.commit(image, np.ones((5, 7, 9), np.uint8))
        self.round = folder / "round"
        self.round.mkdir()
        (self.round / "manifest.json").write_text("{}")
        self.before = self.state()

    def state(self) -> dict[str, bytes | None]:
        return {
            str(p.relative_to(self.folder)): p.read_bytes() if p.is_file() else None
            for p in sorted(self.folder.rglob("*"))
        }

    def line(self, command: str, out: Path) -> tuple[object, ...]:
        """A command that writes ``out/p01.nii.gz``."""
        return {
            "export": ("export", self.project, "--format", "nifti", "--out", out),
            "predict": ("predict", self.round, self.scan, "--out", out),
            "segment": (
                *("segment", self.scan, "--plane", 2, "--box", "1,1,5,6"),
                *("--out", out / "p01.nii.gz"),
            ),
        }[command]

    def refused(self, command: str, out: Path, *more: object, run: Run = here) -> str:
        """The one line of a command that is refused and leaves everything as it was."""
        self.before = self.state()
        done = run(*self.line(command, out), *more)
        assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
        assert self.state() == self.before
        (line,) = done.stderr.strip().splitlines()
        return line


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def _itself(desk: Desk) -> Path:
    return desk.scan.parent


def _linked_folder(desk: Desk) -> Path:
    (desk.folder / "out").symlink_to(desk.scan.parent, target_is_directory=True)
    return desk.folder / "out"


def _linked_file(desk: Desk) -> Path:
    (desk.folder / "out").mkdir()
    (desk.folder / "out" / "p01.nii.gz").symlink_to(desk.scan)
    return desk.folder / "out"


def _second_name(desk: Desk) -> Path:
    (desk.folder / "out").mkdir()
    os.link(desk.scan, desk.folder / "out" / "p01.nii.gz")
    return desk.folder / "out"


def _roundabout(desk: Desk) -> Path:
    return desk.project / ".." / "scans"


@pytest.mark.parametrize("way", [_itself, _linked_folder, _linked_file, _second_name, _roundabout])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_scan_is_never_written_over(
    desk: Desk, command: str, way: Callable[[Desk], Path]
) -> None:
    """Not even when told to overwrite; the first way as a process."""
    line = desk.refused(command, way(desk), "--overwrite", run=process if way is _itself else here)
    assert "p01.nii.gz is an image or another input, which is never written over" in line


@pytest.mark.parametrize("command", COMMANDS)
def test_other_files_are_replaced_only_when_told(desk: Desk, command: str) -> None:
    out = desk.folder / "out"
    out.mkdir()
    mine = out / "p01.nii.gz"
    mine.write_bytes(b"made by hand")
    line = desk.refused(command, out)
    assert "p01.nii.gz exists already" in line and "--overwrite" in line
    done = here(*desk.line(command, out), "--overwrite")
    if command == "predict":  # the round has no models: it was asked for, after the check
        assert "exists already" not in done.stderr and mine.read_bytes() == b"made by hand"
        return
    assert done.returncode == 0, done.stderr
    assert nib.load(mine).shape == nib.load(desk.scan).shape


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_written_among_the_projects_own_files(desk: Desk, command: str) -> None:
    assert "only the project itself writes" in desk.refused(command, desk.project / "labels" / "a")


@pytest.mark.parametrize("name", ["labels", "rounds", "tuned", "cache", "backups", "scans"])
def test_every_folder_of_a_project_is_its_own(desk: Desk, name: str) -> None:
    with pytest.raises(InputError, match=f"would lie in {name} of the project"):
        check_outputs([desk.project / name / "x.nii.gz"], [], overwrite=True)
    check_outputs([desk.project / "exports" / "x.nii.gz"], [])


def test_a_file_is_no_folder_to_write_into(desk: Desk) -> None:
    with pytest.raises(InputError, match="is no folder"):
        check_outputs([desk.scan / "out" / "x.nii.gz"], [])


def test_one_file_in_the_way_keeps_all_of_them_from_being_written(desk: Desk) -> None:
    out = desk.folder / "out"
    (out / "p01").mkdir(parents=True)
    (out / "p01" / "0004.png").write_bytes(b"made by hand")
    before = desk.state()
    done = here("export", desk.project, "--format", "png", "--out", out)
    assert done.returncode == 2 and "0004.png exists already" in done.stderr
    assert desk.state() == before


def test_an_image_of_the_project_is_kept_from_a_prediction_of_another(desk: Desk) -> None:
    """The round of a project is named by itself: the project's images are known all the same."""
    inside = desk.project / "rounds" / "0001"
    inside.mkdir(parents=True)
    (inside / "manifest.json").write_text("{}")
    other = desk.folder / "other" / "p01.nii.gz"
    other.parent.mkdir()
    other.write_bytes(desk.scan.read_bytes())
    before = desk.state()
    done = here("predict", inside, other, "--out", desk.scan.parent, "--overwrite")
    assert done.returncode == 2 and "never written over" in done.stderr, done.stderr
    assert desk.state() == before


def test_the_demo_takes_a_free_name_beside_a_file_too(tmp_path: Path) -> None:
    for name, made in (("a", Path.touch), ("b", Path.mkdir)):
        made(tmp_path / name)
    assert _free_folder(tmp_path / "a") == tmp_path / "a-2"
    assert _free_folder(tmp_path / "b") == tmp_path / "b"


def test_the_same_holds_for_the_python_interface(desk: Desk) -> None:
    with Project.open(desk.project, read_only=True) as project:
        out = desk.folder / "out"
        (path,) = export_labels(project, out, "nifti")
        with pytest.raises(ValueError, match="overwrite=True"):
            export_labels(project, out, "nifti")
        assert export_labels(project, out, "nifti", overwrite=True) == [path]
        with pytest.raises(ValueError, match="never written over"):
            export_labels(project, desk.scan.parent, "nifti", overwrite=True)
