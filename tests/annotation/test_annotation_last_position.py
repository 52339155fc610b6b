"""Where a project opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_scsam.annotation.last_position import FILE, LastView, first_view, remember
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_scsam.core.geometry import SliceKey


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    rng = np.random.default_rng(0)
    for name, depth in (("a", 1), ("b", 5)):
        scan = rng.random((depth, 12, 10)).astype(np.float32)
        tifffile.imwrite(tmp_path / f"{name}.tif", scan[0] if depth == 1 else scan)
    with Project.create(tmp_path / "project", ["one"]) as made:
        made.add_images([tmp_path / "a.tif", tmp_path / "b.tif"])
        yield made


def shown_first(project: Project) -> SliceKey:
    found = first_view(project)
    assert found is not None
    return found.key


def test_the_first_time_it_opens_where_work_waits(project: Project) -> None:
    picture, volume = (record.id for record in project.images())
    assert shown_first(project) == (picture, Plane(0, 0))
    project.commit(picture, np.zeros((12, 10), np.uint8))
    assert shown_first(project) == (volume, Plane(0, 2))
    for index in (1, 2):
        project.commit(volume, np.zeros((12, 10), np.uint8), plane=Plane(0, index))
    assert shown_first(project) == (volume, Plane(0, 3))


def test_it_opens_again_where_it_was_left(project: Project) -> None:
    volume = project.images()[1].id
    remember(project, LastView((volume, Plane(2, 7))))
    assert shown_first(project) == (volume, Plane(2, 7))


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
    assert shown_first(project) == (picture, Plane(0, 0))


@pytest.mark.parametrize(
    "rest",
    ["", ', "class": "two", "camera": 3', ', "camera": [0, 1, 2, 3]', ', "camera": [1, 2, 3, NaN]'],
)
def test_a_note_of_another_version_gives_the_place_alone(project: Project, rest: str) -> None:
    volume = project.images()[1].id
    note = project.folder / "cache" / FILE
    note.parent.mkdir(exist_ok=True)
    note.write_text(f'{{"image": "{volume}", "axis": 0, "index": 1{rest}}}')
    assert first_view(project) == LastView((volume, Plane(0, 1)))
