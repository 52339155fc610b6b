"""The sample project: a real scan with a few committed slices, ready for a first round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.geometry import Plane
from napari_scsam.core.project_layout import PROJECT_FILE
from napari_scsam.io import write_labels
from napari_scsam.io.sample import CLASSES, SampleScan, load_sample_scan
from napari_scsam.project import Project

if TYPE_CHECKING:
    from pathlib import Path

# Chosen by hand: spread over the volume, closer together where the ventricles are.
COMMITTED_SLICES = (16, 44, 64, 70, 76, 82, 88, 94, 102, 130)


def open_sample_project(folder: Path) -> Project:
    """Open the sample project in `folder`, creating it first if there is none.

    Raises
    ------
    MissingDependencyError
        If the package with the sample scan is not installed.
    """
    if (folder / "project" / PROJECT_FILE).is_file():
        return Project.open(folder / "project")
    return make_sample_project(folder, load_sample_scan())


def make_sample_project(folder: Path, scan: SampleScan) -> Project:
    """Write `scan` to ``folder/scans`` and commit some of its slices.

    Returns
    -------
    Project
        In ``folder/project``, open for writing.
    """
    path = folder / "scans" / "mni152_t1.nii.gz"
    write_labels(path, scan.image.data, scan.image)
    project = Project.create(
        folder / "project", CLASSES, name="Sample: brain and ventricles", modality="mr"
    )
    (image,) = project.add_images([path])
    for index in COMMITTED_SLICES:
        project.commit(image, scan.truth[index], plane=Plane(0, index))
    return project
