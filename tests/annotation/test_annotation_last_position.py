"""Where a project opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_scsam.annotation.last_position import FILE, first_view, remember
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    rng = np.random.default_rng(0)
    for name, depth in (("a", 1), ("b", 5)):
        scan = rng.random((depth, 12, 10)).astype(np.float32)
        tifffile.imwrite(tmp_path / f"{name}.tif", scan[0] if depth == 1 else scan)
    with Project.create(tmp_path / "project", ["one"]) as made:
        made.add_images([tmp_path / "a.tif", tmp_path / "b.tif"])
        yield made


def test_the_first_time_it_opens_where_work_waits(project: Project) -> None:
    picture, volume = (record.id for record in project.images())
    assert first_view(project) == (picture, Plane(0, 0))
    project.commit(picture, np.zeros((12, 10), np.uint8))
    assert first_view(project) == (volume, Plane(0, 2))
    for index in (1, 2):
        project.commit(volume, np.zeros((12, 10), np.uint8), plane=Plane(0, index))
    assert first_view(project) == (volume, Plane(0, 3))


def test_it_opens_again_where_it_was_left(project: Project) -> None:
    volume = project.images()[1].id
    remember(project, (volume, Plane(2, 7)))
    assert first_view(project) == (volume, Plane(2, 7))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"image": "gone", "axis": 0, "index": 0}',
        '{"image": "ID", "axis": 0, "index": 99}',
        '{"image": "ID", "axis": 7, "index": 0}',
    ],
)
def test_a_damaged_note_is_passed_over(project: Project, text: str) -> None:
    picture, volume = (record.id for record in project.images())
    note = project.folder / "cache" / FILE
    note.parent.mkdir(exist_ok=True)
    note.write_text(text.replace("ID", volume))
    assert first_view(project) == (picture, Plane(0, 0))
