"""Opening and creating projects, for the window."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_scsam.core.errors import (
    DamagedError,
    InputError,
    ProjectError,
    ReadOnlyError,
    ScsamError,
)
from napari_scsam.core.project_layout import PROJECT_FILE, SCANS_FOLDER
from napari_scsam.project import Project
from napari_scsam.project.files import expand
from napari_scsam.project.open_layers import OpenScan, as_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_scsam.core.settings import Modality
    from napari_scsam.project.files import Progress


def open_project(folder: Path) -> Project:
    """Open a project for writing, or read-only if it is damaged, open elsewhere or unwritable.

    The reason is among its notes.
    """
    try:
        return Project.open(folder)
    except DamagedError:  # it notes the damage itself
        return Project.open(folder, read_only=True)
    except ReadOnlyError as error:
        project = Project.open(folder, read_only=True)
        project.notes.append(f"Opened read-only. {error}")
        return project


def create_project(
    folder: Path,
    classes: Sequence[str],
    images: Sequence[Path],
    layers: Sequence[OpenScan] = (),
    modality: Modality = "other",
    colours: Sequence[str] = (),
    progress: Progress | None = None,
) -> Project:
    """Create a project and add files and open scans to it.

    Parameters
    ----------
    folder : Path
    classes : sequence of str
        Names.
    images : sequence of Path
    layers : sequence of OpenScan
    modality : {'mr', 'ct', 'us', 'rgb', 'other'}
    colours : sequence of str
        ``#RRGGBB`` of each class; without any, they get those of the palette.
    progress : callable, optional
        Called with the number of files that are read, and of all files. If it raises, there is
        no project.

    Raises
    ------
    InputError
        If no folder or image is given, or an image or class is unusable. No incomplete project is
        left behind.
    ProjectError
        If the folder is unusable.
    """
    if folder == Path():
        raise InputError("Name a new or empty folder for the project.")
    if not images and not layers:
        raise InputError("Name at least one image, or a folder with images.")
    with creating(folder, classes, modality=modality, take_up=True) as project:
        if colours:
            table = zip(project.classes, colours, strict=True)
            project.change(classes=[replace(item, colour=colour) for item, colour in table])
        if images:
            project.add_images(images, progress=progress)
        add_scans(project, layers)
    return project


@contextmanager
def creating(
    folder: Path,
    classes: Sequence[str],
    *,
    name: str | None = None,
    modality: Modality = "other",
    take_up: bool,
) -> Iterator[Project]:
    """Create a project to which images are added in the block; it stays open afterwards.

    If the block raises, there is no project.

    Parameters
    ----------
    folder, classes, name, modality
        See `Project.create`.
    take_up : bool
        Use the project in `folder` if it has the same settings and nothing was ever added to it, as
        if its creation was killed while images were read. It stays if the block raises.
    """
    try:
        project, is_new = Project.create(folder, classes, name=name, modality=modality), True
    except ProjectError:
        settings = ([c.strip() for c in classes], name or folder.absolute().name, modality)
        found = _unfinished(folder, settings) if take_up else None
        if found is None:
            raise
        project, is_new = found, False
    try:
        yield project
    except BaseException:
        if is_new:
            # Scans that were open and were saved here; `create` accepts only an empty folder.
            shutil.rmtree(folder / SCANS_FOLDER, ignore_errors=True)
            project.discard()
        project.close()
        raise


def _unfinished(folder: Path, settings: tuple[list[str], str, Modality]) -> Project | None:
    """The project in a folder, if it has these classes, name and modality and nothing else."""
    if not (folder / PROJECT_FILE).is_file():
        return None
    try:
        project = Project.open(folder)
    except ScsamError:
        return None
    own = ([c.name for c in project.classes], project.name, project.modality)
    if own == settings and not project.images() and not project.events():
        return project
    project.close()
    return None


@dataclass(frozen=True)
class FoundImages:
    """Images in chosen files or folders.

    Attributes
    ----------
    paths : tuple of Path
        Files of images.
    passed_over : int
        Files of the folders that are no images.
    """

    paths: tuple[Path, ...]
    passed_over: int = 0

    @property
    def text(self) -> str:
        """What was found, such as ``"12 images found, 3 other files passed over"``."""
        count = len(self.paths)
        found = f"{count} image{'' if count == 1 else 's'} found"
        if not self.passed_over:
            return found
        others = f"other file{'' if self.passed_over == 1 else 's'}"
        return f"{found}, {self.passed_over} {others} passed over"


def find_images(paths: Sequence[Path]) -> FoundImages:
    """Count the images in files and folders, by their names; sub-folders are not searched.

    Raises
    ------
    InputError
        If a folder has no image or can't be read, or a file does not exist.
    """
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise InputError(f"There is no file or folder {missing}.")
    found = expand(paths)
    inside = sum(sum(p.is_file() for p in path.iterdir()) for path in paths if path.is_dir())
    images = len(found) - sum(not path.is_dir() for path in paths)
    return FoundImages(tuple(found), inside - images)


def add_scans(project: Project, scans: Sequence[OpenScan]) -> list[str]:
    """Add open scans to a project; those without a file are written into its folder."""
    project.check_writable()
    paths = [as_file(scan, project.folder / "scans") for scan in scans]
    return project.add_images(paths) if paths else []


def sample_folder() -> Path:
    """The folder of the sample project, in the user's data folder."""
    return platformdirs.user_data_path("napari-scsam") / "sample" / "project"


def open_sample() -> Project:
    """Open the sample project, creating it if there is none."""
    from napari_scsam.workflows.sample import open_sample_project

    return open_sample_project(sample_folder().parent)
