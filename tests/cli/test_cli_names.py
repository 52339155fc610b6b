"""Names of files as they come: brackets, control characters, bytes that are no text, long ones."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import pytest
from command_line import Run, here, ok, process, refused

from napari_scsam.project import Project

if TYPE_CHECKING:
    from pathlib import Path

PICTURE = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
LONG = "x" * 300


def make(folder: Path, name: str) -> Path:
    """A project of one labelled picture of that name."""
    imageio.imwrite(folder / "picture.png", PICTURE)
    os.rename(folder / "picture.png", os.fsencode(folder) + b"/" + os.fsencode(name))
    with Project.create(folder / "project", ["a"]) as project:
        (image,) = project.add_images([folder / name])
        project.commit(image, np.ones(PICTURE.shape, np.uint8))
    return folder / "project"


def test_brackets_are_part_of_a_name(tmp_path: Path) -> None:
    project = make(tmp_path, "scan[bold].png")
    for format, suffix in (("nifti", ".nii.gz"), ("png", ".png")):
        out = tmp_path / "[red]"
        done = here("export", project, "--format", format, "--out", out)
        assert done.returncode == 0, done.stderr
        said = done.stdout.replace("\n", "")
        assert said == f"Wrote {out / f'scan[bold]{suffix}'}"


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("a\x1b[2Jb.png", here),
        # As processes, with the output as bytes would reach a terminal.
        pytest.param("a\x1b[2Jb.png", process, marks=pytest.mark.exhaustive),
        pytest.param("scan\udce9.png", process, marks=pytest.mark.exhaustive),
        pytest.param("a\nb.png", process, marks=pytest.mark.exhaustive),
    ],
)
def test_a_name_is_shown_and_not_obeyed_by_a_terminal(tmp_path: Path, name: str, run: Run) -> None:
    project = make(tmp_path, name)
    commands = (
        ("export", project, "--format", "tiff", "--out", tmp_path / "out"),
        ("rank", project, "--strategy", "sequential"),
        ("add", project, tmp_path / name),
        ("pack", project, "--out", tmp_path / "packed", "--images"),
    )
    for command in commands:
        done = run(*command)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
    (tmp_path / name).write_bytes(b"")
    line = refused("add", project, tmp_path / name, run=run)
    assert "is empty (0 bytes)" in line and "\x1b" not in line


@pytest.mark.parametrize(
    "words",
    [
        ("new", LONG, "--classes", "a"),
        ("new", "project", "--classes", "a", "--images", LONG),
        ("add", "good", LONG),
        ("add", LONG, "x.png"),
        ("label", "good", "--image", LONG, "--mask", "x.png"),
        ("label", "good", "--image", "a", "--mask", LONG),
        ("export", "good", "--format", "tiff", "--out", LONG),
        ("segment", "a.png", "--point", "1,1,+", "--out", f"{LONG}.tif"),
        ("evaluate", LONG, LONG),
        ("report", "good", "--out", LONG),
        ("pack", "good", "--out", LONG),
        ("merge", "good", LONG),
        ("rounds", "good", "--take", LONG),
        (LONG,),
    ],
)
def test_a_name_that_no_file_can_have_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    imageio.imwrite("a.png", PICTURE)
    ok("new", "good", "--images", "a.png", "--classes", "a")
    with Project.open(tmp_path / "good") as project:
        project.commit(project.images()[0].id, np.ones(PICTURE.shape, np.uint8))
    before = sorted(path for path in tmp_path.rglob("*") if "backups" not in path.parts)
    assert LONG in refused(*words)
    after = sorted(path for path in tmp_path.rglob("*") if "backups" not in path.parts)
    assert after == before
