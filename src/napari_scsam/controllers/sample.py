"""The sample project: a real scan with a few slices committed, ready for a first round."""

from __future__ import annotations

from pathlib import Path

from napari_scsam.controllers.demo import COMMITTED_SLICES
from napari_scsam.core.geometry import Plane
from napari_scsam.io import write_labels
from napari_scsam.io.sample import CLASSES, load_sample_scan
from napari_scsam.project import Project
from napari_scsam.project.schema import PROJECT_FILE


def open_sample_project(folder: Path) -> Project:
    """Open the sample project in `folder`, making it first where there is none.

    Raises
    ------
    MissingDependencyError
        If the package with the sample scan is not installed.
    """
    if (folder / "project" / PROJECT_FILE).is_file():
        return Project.open(folder / "project")
    scan = load_sample_scan()
    path = folder / "scans" / "mni152_t1.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(path, scan.image.data, scan.image)
    project = Project.create(
        folder / "project", CLASSES, name="Sample: brain and ventricles", modality="mr"
    )
    (image,) = project.add_images([path])
    for index in COMMITTED_SLICES:
        project.commit(image, scan.truth[index], plane=Plane(0, index))
    return project
