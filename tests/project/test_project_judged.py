"""Which classes were judged on which slices, in new projects and in ones of version 0.1.0."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.judged import Judged
from napari_scsam.core.labels import make_classes
from napari_scsam.core.settings import TrainSettings
from napari_scsam.project import Project
from napari_scsam.project.schema import read_info, write_info

# Made by version 0.1.0: a volume of four slices with classes 1 and 2. Its slices 1 and 2 were
# committed one by one, then all of it, and that was taken back.
MADE_BY_0_1_0 = Path(__file__).parent / "made_by_0.1.0.zip"
BACKGROUND = np.zeros((7, 9), np.uint8)


@pytest.fixture
def volume(project: Project) -> str:
    return project.images()[0].id


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with zipfile.ZipFile(MADE_BY_0_1_0) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "project"


def judged_on(project: Project, image: str) -> list[tuple[int, ...]]:
    """The classes judged on each slice by the commit that counts now."""
    commits = {c.version: c for c in project.commits(image)}
    judged = commits[project.label_version(image) or 0].judged
    return [judged.on(index) for index in range(project.image(image).shape[0])]


def told(project: Project) -> dict[str, object]:
    """What ``inputs.json`` of a round says was judged, by image."""
    folder = project.begin_round(TrainSettings(steps=3, device="cpu"))
    inputs = json.loads((folder / "inputs.json").read_text())
    project.discard_partial(folder)
    return {i["id"]: i["label"] and i["label"]["judged"] for i in inputs["images"]}


def add_class(folder: Path, name: str) -> None:
    """Put one more class into the table of a closed project."""
    info = read_info(folder)
    names = [*(c.name for c in info.classes), name]
    write_info(folder, replace(info, classes=make_classes(names)))


def test_all_classes_are_judged_where_none_is_named(project: Project, volume: str) -> None:
    record = project.commit(volume, BACKGROUND, plane=Plane(0, 3))
    assert record.judged == Judged((1, 2))
    (event,) = project.events("commit")
    assert event.payload["judged"] == {"classes": [1, 2], "planes": {}}


def test_a_slice_that_is_committed_anew_changes_its_own_classes_only(
    project: Project, volume: str
) -> None:
    project.commit(volume, np.zeros((5, 7, 9), np.uint8))
    project.commit(volume, BACKGROUND + 2, plane=Plane(0, 3), judged=[2])
    assert judged_on(project, volume) == [(1, 2), (1, 2), (1, 2), (2,), (1, 2)]
    project.commit(volume, BACKGROUND, plane=Plane(0, 1), judged=[1])
    assert judged_on(project, volume) == [(1, 2), (1,), (1, 2), (2,), (1, 2)]
    project.commit(volume, BACKGROUND, plane=Plane(0, 3))
    assert judged_on(project, volume) == [(1, 2), (1,), (1, 2), (1, 2), (1, 2)]
    assert told(project)[volume] == {"classes": [1, 2], "planes": {"1": [1]}}
    project.revert(volume, 2)  # taken back, so are its classes
    assert judged_on(project, volume)[3] == (2,) and judged_on(project, volume)[1] == (1, 2)
    project.commit(volume, np.zeros((5, 7, 9), np.uint8), judged=[1])
    assert judged_on(project, volume) == [(1,)] * 5


def test_judged_classes_that_can_not_be_are_refused(project: Project, volume: str) -> None:
    for judged, message in (
        ([], r"some of 1=prostate, 2=tumour; got none"),
        ([1, 3], r"some of 1=prostate, 2=tumour; got \[3\]"),
        ([1], r"The mask holds 2=tumour, which is not among the classes that were judged \(1\)"),
    ):
        with pytest.raises(InputError, match=message):
            project.commit(volume, BACKGROUND + 2, plane=Plane(0, 0), judged=judged)
    assert project.label(volume) is None


def test_a_class_that_is_added_is_unknown_on_what_was_committed_before(
    project: Project, volume: str
) -> None:
    project.commit(volume, np.zeros((5, 7, 9), np.uint8))
    project.close()
    add_class(project.folder, "cyst")
    with Project.open(project.folder) as later:
        assert judged_on(later, volume) == [(1, 2)] * 5
        later.commit(volume, BACKGROUND + 3, plane=Plane(0, 2))
        assert judged_on(later, volume) == [(1, 2), (1, 2), (1, 2, 3), (1, 2), (1, 2)]


def test_a_slice_along_another_axis_has_what_all_that_it_crosses_have() -> None:
    judged = Judged((1, 2, 3), {4: (2, 3), 7: (1, 3)})
    assert judged.on(4) == (2, 3) and judged.on(0) == (1, 2, 3)
    assert judged.on(4, axis=1) == (3,)


def test_commits_of_0_1_0_judged_all_classes_that_there_were(old: Path) -> None:
    with Project.open(old) as project:
        (image,) = project.images()
        assert project.label_version(image.id) == 2
        assert project.committed_planes(image.id) == [1, 2]
        assert [c.judged for c in project.commits(image.id)] == [Judged((1, 2))] * 3
        assert told(project) == {image.id: {"classes": [1, 2], "planes": {}}}
    add_class(old, "cyst")
    with Project.open(old) as project:  # what was judged then does not change
        assert [c.judged for c in project.commits(image.id)] == [Judged((1, 2))] * 3
        project.commit(image.id, np.full((8, 10), 3, np.uint8), plane=Plane(0, 2))
        assert told(project) == {image.id: {"classes": [1, 2], "planes": {"2": [1, 2, 3]}}}


def test_what_0_1_0_judged_is_written_down_once(old: Path) -> None:
    with Project.open(old, read_only=True) as project:
        (image,) = project.images()
        assert project.commits(image.id)[0].judged == Judged((1, 2))
        assert not project.events("judged")
    for _ in range(2):
        with Project.open(old) as project:
            assert [e.payload for e in project.events("judged")] == [{"judged": [1, 2]}]


def test_a_new_project_needs_no_such_event(project: Project, volume: str) -> None:
    project.commit(volume, BACKGROUND, plane=Plane(0, 0))
    project.close()
    with Project.open(project.folder) as again:
        assert not again.events("judged")
