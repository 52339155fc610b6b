"""Opening a project for a command, with its notes on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_scsam.cli.report import StderrProgress
from napari_scsam.project import Project


@contextmanager
def opened(folder: Path, *, read_only: bool = False) -> Iterator[Project]:
    """A project, closed afterwards; its notes go to standard error."""
    with Project.open(folder, read_only=read_only) as project:
        for note in project.notes:
            StderrProgress().say(f"napari-scsam: note: {note}")
        yield project
