"""What was cut off is taken up again; what can't be done is said; nothing goes elsewhere."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_scsam.cli.__main__ import main
from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.io import atomic
from napari_scsam.project import Project

if TYPE_CHECKING:
    from pathlib import Path

# Makes one project after the other, in a process that is killed at its first step, its second,
# and so on, until one is made to its end. Says how many there were.
KILLED = """
import itertools, os, signal, sys
from napari_scsam.project import Project

def make(folder, step):
    left = step

    def stop(event, arguments):
        nonlocal left
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "sqlite3.connect"):
            if folder in str(arguments[0]):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(stop)
    Project.create(folder, ["organ"]).close()
    os._exit(0)

for step in itertools.count(1):
    child = os.fork()
    if not child:
        make(f"{sys.argv[1]}/p{step}", step)
    if os.waitpid(child, 0)[1] == 0:
        break
print(step)
"""

needs_kill = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
needs_mounts = pytest.mark.skipif(
    not sys.platform.startswith("linux") or bool(getattr(os, "geteuid", lambda: 1)()),
    reason="only root may mount a small disk",
)


@needs_kill
def test_a_kill_at_any_step_of_making_a_project_leaves_no_dead_end(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10
    for step in range(1, int(done.stdout)):
        folder = tmp_path / f"p{step}"
        try:
            project = Project.create(folder, ["organ"])
        except ProjectError:
            project = Project.open(folder)
        with project:
            assert [c.name for c in project.classes] == ["organ"]
        assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_what_is_no_left_over_is_never_removed(tmp_path: Path, project: Project) -> None:
    """A project that has lost its project.toml is no folder to make another one in."""
    project.close()
    (project.folder / "project.toml").unlink()
    before = (project.folder / "journal.sqlite").read_bytes()
    for folder in (project.folder / "labels", project.folder / "cache"):
        assert not folder.exists()
    with pytest.raises(ProjectError, match="not an empty folder"):
        Project.create(project.folder, ["organ"])
    assert (project.folder / "journal.sqlite").read_bytes() == before


def test_a_new_project_without_its_images_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, bad = tmp_path / "p", tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    assert main(["new", str(folder), "--classes", "organ", "--images", str(bad)]) == 2
    assert "bad.png" in capsys.readouterr().err
    assert not folder.exists()
    assert main(["new", str(folder), "--classes", "organ"]) == 0


def test_a_full_disk_does_not_keep_a_project_from_being_opened(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = project.images()[0].id
    project.commit(image, np.ones((7, 9), np.uint8), plane=Plane(0, 1))
    project.close()

    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "_flush_file", full)
    with Project.open(project.folder) as again:
        assert again.committed_planes(image) == [1] and not again.read_only
        (note,) = again.notes
        assert note.startswith("No copy of the journal was made: The disk is full")
    assert main(["settings", str(project.folder), "--window", "volume"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "note: No copy of the journal was made" in said[0] and "disk is full" in said[1]


@needs_mounts
def test_a_really_full_disk_does_neither(tmp_path: Path, scans: list[Path]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can't be mounted")
    try:
        with Project.create(disk / "p", ["a"]) as project:
            (image,) = project.add_images(scans[:1])
            project.commit(image, np.ones((7, 9), np.uint8), plane=Plane(0, 0))
        state = os.statvfs(disk)
        (disk / "filler").write_bytes(bytes(state.f_bavail * state.f_frsize))
        with Project.open(disk / "p") as again:
            assert again.committed_planes(image) == [0] and again.label(image) is not None
            assert any("disk is full" in note for note in again.notes)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@needs_mounts
def test_nothing_is_written_where_a_disk_was(tmp_path: Path, scans: list[Path]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can't be mounted")
    try:
        project = Project.create(disk / "p", ["a"])
        (image,) = project.add_images(scans[:1])
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    _is_gone(project, image)
    assert list(disk.iterdir()) == []


def test_nothing_is_written_where_another_folder_is(project: Project, tmp_path: Path) -> None:
    image = project.images()[0].id
    project.folder.rename(tmp_path / "moved")
    project.folder.mkdir()
    _is_gone(project, image)
    assert list(project.folder.iterdir()) == []
    project.folder.rmdir()
    (tmp_path / "moved").rename(project.folder)
    project.commit(image, np.ones((7, 9), np.uint8), plane=Plane(0, 1))  # it is back


def _is_gone(project: Project, image: str) -> None:
    for change in (
        lambda: project.commit(image, np.ones((7, 9), np.uint8), plane=Plane(0, 1)),
        lambda: project.change(cache_gb=1),
        lambda: project.skip(image, 1),
        lambda: project.revert(image, None),
    ):
        with pytest.raises(ProjectError, match="no longer at"):
            change()


@needs_kill
def test_hidden_files_of_a_killed_writer_are_swept(project: Project) -> None:
    image = project.images()[0].id
    project.commit(image, np.ones((7, 9), np.uint8), plane=Plane(0, 1))
    project.close()
    labels = project.folder / "labels" / image
    left = [project.folder / ".0123abcd.project.toml", labels / ".89abcdef.000002.nii.gz"]
    mine = [project.folder / ".hidden", labels / ".mine.nii.gz"]
    for path in (*left, *mine):
        path.write_text("half")
    with Project.open(project.folder) as again:
        again.commit(image, np.ones((7, 9), np.uint8), plane=Plane(0, 2))
        assert not again.notes
    assert not any(path.exists() for path in left) and all(path.exists() for path in mine)
