"""A committed label outlives a killed process, a full disk and a damaged journal."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from napari_scsam.core.errors import InputError, ProjectError, ReadOnlyError
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project

# Commits for ever; says what is durable. Slice i is filled with the number of the commit,
# which is also written in words, so that the parent knows what must be there.
COMMITTER = """
import sys
import numpy as np
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project

with Project.open(sys.argv[1]) as project:
    image = project.images()[0].id
    print("open", flush=True)
    while True:
        number = (project.label_version(image) or 0) + 1
        label = np.full((7, 9), 1 + number % 2, np.uint8)
        saved = project.commit(image, label, plane=Plane(0, number % 5))
        print(saved.version, number % 5, 1 + number % 2, flush=True)
"""

# Commits slices with what they came from, and is killed as soon as a commit is in the journal.
KILLED_AFTER_COMMIT = """
import os, signal, sys
import numpy as np
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project, journal

with Project.open(sys.argv[1]) as project:
    image = project.images()[0].id
    append_all = journal.Journal.append_all

    def appended(self, items, *more):
        append_all(self, items, *more)
        os.kill(os.getpid(), signal.SIGKILL)

    journal.Journal.append_all = appended
    label = np.ones((7, 9), np.uint8)
    project.commit(image, label, plane=Plane(0, 1), source=("prompts", {"points": [1]}))
"""

needs_kill = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")


@needs_kill
def test_the_last_acknowledged_label_survives_kill_9_at_any_moment(project: Project) -> None:
    project.close()
    rng = np.random.default_rng(5)
    acknowledged = 0
    for _ in range(6):
        lines = _kill_after(project.folder, float(rng.uniform(0.0, 0.25)))
        with Project.open(project.folder, wait=10) as again:
            image = again.images()[0].id
            version = again.label_version(image) or 0
            label = again.label(image)
            if lines:
                acknowledged, plane, value = map(int, lines[-1].split())
                # One more may have become durable without having been told.
                assert version in (acknowledged, acknowledged + 1)
                if version == acknowledged:
                    assert label is not None
                    assert (label[plane] == value).all()
            assert version >= acknowledged
    assert acknowledged > 0


@needs_kill
def test_a_kill_right_after_a_commit_loses_nothing_of_where_the_label_came_from(
    project: Project,
) -> None:
    project.close()
    subprocess.run([sys.executable, "-c", KILLED_AFTER_COMMIT, str(project.folder)], check=False)
    with Project.open(project.folder, wait=10) as again:
        image = again.images()[0].id
        assert again.label_version(image) == 1
        (event,) = again.events("prompts")
        assert event.payload == {"image": image, "points": [1], "version": 1}


def test_a_commit_whose_source_can_not_be_noted_is_no_commit(project: Project) -> None:
    image, label = project.images()[0].id, np.ones((7, 9), np.uint8)
    with pytest.raises(InputError, match="'revert'"):
        project.commit(image, label, plane=Plane(0, 1), source=("revert", {"version": None}))
    with pytest.raises(TypeError):  # no JSON
        project.commit(image, label, plane=Plane(0, 1), source=("prompts", {"points": label}))
    assert project.label_version(image) is None
    assert not project.commits(image) and not project.events("prompts")


def _kill_after(folder: Path, seconds: float) -> list[str]:
    command = [sys.executable, "-c", COMMITTER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        # A line that was cut off was not shown to anyone.
        return [line for line in child.stdout.read().splitlines(True) if line.endswith("\n")]


@pytest.mark.parametrize("call", ["write_bytes", "replace"])
def test_a_full_disk_leaves_the_earlier_label_and_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    image = project.images()[0].id
    before = np.full((7, 9), 1, np.uint8)
    project.commit(image, before, plane=Plane(0, 2))

    def fail(self: Path, *_: object) -> None:
        if call == "write_bytes":
            self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, fail)
        with pytest.raises(ProjectError, match=r"disk is full.*Nothing that was saved") as caught:
            project.commit(image, before * 2, plane=Plane(0, 2))
    assert "\n" not in str(caught.value)
    label = project.label(image)
    assert label is not None
    np.testing.assert_array_equal(label[2], before)
    folder = project.folder / "labels" / image
    assert [p.name for p in folder.iterdir()] == ["000001.nii.gz"]
    assert project.commit(image, before * 2, plane=Plane(0, 2)).version == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a small disk")
def test_a_really_full_disk_at_every_step(tmp_path: Path, scans: list[Path]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        _fill_and_commit(disk, scans)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill_and_commit(disk: Path, scans: list[Path]) -> None:
    with Project.create(disk / "p", ["a", "b"]) as project:
        (image, _) = project.add_images(scans)
        project.commit(image, np.full((7, 9), 1, np.uint8), plane=Plane(0, 0))
        refused = 0
        for free in range(0, 64 * 1024, 4096):
            _leave_free(disk, free)
            version, before = project.label_version(image), project.label(image)
            try:
                project.commit(image, np.full((7, 9), 2, np.uint8), plane=Plane(0, 1))
            except ProjectError as exc:
                assert "disk is full" in str(exc).lower()
                refused += 1
                assert project.label_version(image) == version
                assert before is not None
                np.testing.assert_array_equal(project.label(image), before)
        assert refused
        (disk / "filler").unlink()
    with Project.open(disk / "p") as again:
        label = again.label(image)
        assert label is not None
        assert (label[0] == 1).all()


def _leave_free(disk: Path, free: int) -> None:
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    state = os.statvfs(disk)
    filler.write_bytes(b"\0" * max(0, state.f_bavail * state.f_frsize - free))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="remounts a small disk")
def test_a_read_only_disk_can_be_looked_at(tmp_path: Path, scans: list[Path]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a disk")
    try:
        with Project.create(disk / "p", ["a"]) as project:
            (image,) = project.add_images(scans[:1])
            project.commit(image, np.ones((7, 9), np.uint8), plane=Plane(0, 3))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(ReadOnlyError, match="can't be written"):
            Project.open(disk / "p")
        with Project.open(disk / "p", read_only=True) as reader:
            assert reader.committed_planes(image) == [3]
            assert reader.label(image) is not None
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_the_journal_refuses_to_forget(project: Project) -> None:
    with closing(sqlite3.connect(project.folder / "journal.sqlite")) as connection:
        for statement in ("DELETE FROM events", "UPDATE events SET kind = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                connection.execute(statement)


def test_the_journal_is_backed_up_when_opened_and_a_damaged_one_names_the_copy(
    project: Project,
) -> None:
    image = project.images()[0].id
    for index in range(5):
        project.close()
        project = Project.open(project.folder)
        project.commit(image, np.full((7, 9), 1, np.uint8), plane=Plane(0, index))
    project.close()
    copies = sorted((project.folder / "backups").glob("*"))
    assert len(copies) == 3
    journal = project.folder / "journal.sqlite"
    content = journal.read_bytes()
    page = 4096
    journal.write_bytes(content[:page] + b"\xff" * (len(content) - page))
    with pytest.raises(ProjectError, match=rf"damaged .* copy .*{copies[-1].name} over it"):
        Project.open(project.folder)
    journal.write_bytes(copies[-1].read_bytes())
    with Project.open(project.folder) as restored:
        assert restored.committed_planes(image) == [0, 1, 2, 3]


def test_a_lost_journal_is_one_clear_line(project: Project) -> None:
    project.close()
    (project.folder / "journal.sqlite").unlink()
    with pytest.raises(ProjectError, match="lost its journal"):
        Project.open(project.folder)
