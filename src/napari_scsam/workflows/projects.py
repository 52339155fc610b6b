"""Opening and making projects, as the window does it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_scsam.core.errors import InputError, ReadOnlyError
from napari_scsam.project import Project
from napari_scsam.project.open_layers import OpenScan, as_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.core.settings import Modality


def open_project(folder: Path) -> Project:
    """Open a project for writing, or read-only where another program has it."""
    try:
        return Project.open(folder)
    except ReadOnlyError:
        return Project.open(folder, read_only=True)


def create_project(
    folder: Path,
    classes: Sequence[str],
    images: Sequence[Path],
    layers: Sequence[OpenScan] = (),
    modality: Modality = "other",
) -> Project:
    """Make a project and add files and open scans to it.

    Raises
    ------
    InputError
        If no folder or image is named, or an image or class can't be used. No half-made
        project is left behind.
    ProjectError
        If the folder can't be used.
    """
    if folder == Path():
        raise InputError("Name a new or empty folder for the project.")
    if not images and not layers:
        raise InputError("Name at least one image, or a folder with images.")
    project = Project.create(folder, classes, modality=modality)
    try:
        if images:
            project.add_images(images)
        add_scans(project, layers)
    except BaseException:
        project.close()
        # `create` took an empty folder only, so whatever is in it now was made here.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return project


def add_scans(project: Project, scans: Sequence[OpenScan]) -> list[str]:
    """Add open scans to a project, written into its folder where they have no file."""
    paths = [as_file(scan, project.folder / "scans") for scan in scans]
    return project.add_images(paths) if paths else []


def open_sample() -> Project:
    """Open the sample project in the person's data folder, making it where there is none."""
    from napari_scsam.workflows.sample import open_sample_project

    return open_sample_project(platformdirs.user_data_path("napari-scsam") / "sample")
