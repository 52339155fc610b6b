"""A project of two small volumes, and a desk to annotate it at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from annotation_desk import Desk

from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    scans = []
    for name, shape in (("volume", (5, 20, 30)), ("other", (3, 16, 18))):
        scan = np.random.default_rng(len(name)).normal(size=shape).astype(np.float32)
        scans.append(tmp_path / f"{name}.tif")
        tifffile.imwrite(scans[-1], scan, imagej=True, metadata={"axes": "ZYX"})
    with Project.create(tmp_path / "project", ["one", "two"]) as made:
        made.add_images(scans)
        yield made


@pytest.fixture
def desk(project: Project) -> Desk:
    made = Desk(project)
    made.annotation.navigation.open_image(project.images()[0].id, Plane(0, 1))
    made.settle()
    return made
