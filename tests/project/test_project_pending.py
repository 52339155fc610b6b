"""Uncommitted work in a project from a stranger, or in one whose disk is gone."""

from __future__ import annotations

import base64
import os
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_scsam.annotation.pending import read_back
from napari_scsam.annotation.unfinished_outline import UnfinishedOutline
from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.patches import Patch
from napari_scsam.project.open_layers import OpenScan
from napari_scsam.project.pending import read_pending, write_pending
from napari_scsam.workflows.projects import add_scans

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.project import Project

# A plane without any work, as it is written.
NOTHING = {"points": [], "boxes": [], "strokes": []}
ENTRY: dict[str, Any] = {"axis": 0, "plane": 1, "prompts": NOTHING, "ground": None, "draft": None}
OUTLINE: dict[str, Any] = {"class_id": 2, "vertices": [[1.0, 2.5], [-7.0, 18.0]]}


def packed(size: int) -> str:
    return base64.b64encode(zlib.compress(bytes(size), 9)).decode()


def test_a_link_in_the_place_of_the_folder_is_not_followed(
    project: Project, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    image = project.images()[0].id
    (outside / f"{image}.json").write_text("mine")
    (project.folder / "pending").symlink_to(outside)
    for planes in ([ENTRY], []):
        with pytest.raises(ProjectError, match="pending is a link"):
            write_pending(project, image, planes)
    with pytest.raises(ProjectError, match="pending is a link"):
        read_pending(project, image)
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [(f"{image}.json", "mine")]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
@pytest.mark.parametrize("kind", ["link", "pipe", "nested", "list"])
def test_a_file_that_can_not_be_read_is_put_aside(
    project: Project, tmp_path: Path, kind: str
) -> None:
    image, other = (record.id for record in project.images())
    write_pending(project, image, [ENTRY])
    assert read_pending(project, image) == [ENTRY] and read_pending(project, other) == []
    path = project.folder / "pending" / f"{image}.json"
    mine = tmp_path / "mine.json"
    mine.write_text(path.read_text())
    path.unlink()
    if kind == "link":
        path.symlink_to(mine)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("[" * 100_000 if kind == "nested" else "[]")
    path.with_suffix(".damaged").write_text("earlier")
    with pytest.raises(ProjectError, match=r"it is kept in .*\.2\.damaged"):
        read_pending(project, image)
    assert not os.path.lexists(path) and path.with_suffix(".damaged").read_text() == "earlier"
    assert read_pending(project, image) == [] and mine.exists()


def test_nothing_is_written_where_the_project_is_not_any_more(
    project: Project, tmp_path: Path
) -> None:
    """As after an unmount: an empty folder is in its place."""
    image = project.images()[0].id
    write_pending(project, image, [ENTRY])
    project.folder.rename(tmp_path / "moved")
    project.folder.mkdir()
    for planes in ([ENTRY], []):
        with pytest.raises(ProjectError, match="no longer at"):
            write_pending(project, image, planes)
    scan = OpenScan("layer", np.arange(12.0).reshape(3, 4), False, (1.0, 1.0))
    with pytest.raises(ProjectError, match="no longer at"):
        add_scans(project, [scan])
    assert list(project.folder.iterdir()) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"axis": 7},
        {"axis": float("inf")},
        {"plane": 9},
        {"prompts": []},
        {"prompts": {**NOTHING, "points": [[1, 2]]}},
        {"draft": {"label": packed(10**7), "flag": ""}},
        {"draft": {"label": packed(3), "flag": ""}},
        {"draft": {"label": "é", "flag": ""}},
        {"draft": 5},
        {"outline": 5},
        {"outline": [[1, 2]]},
        {"outline": {"class_id": 1}},
        {"outline": OUTLINE | {"class_id": 0}},
        {"outline": OUTLINE | {"class_id": 10**400}},
        {"outline": OUTLINE | {"class_id": None}},
        {"outline": OUTLINE | {"vertices": []}},
        {"outline": OUTLINE | {"vertices": {"1": 2}}},
        {"outline": OUTLINE | {"vertices": [[1.0, 2.0]] * 501}},
        {"outline": OUTLINE | {"vertices": [[1.0, 2.0, 3.0]]}},
        {"outline": OUTLINE | {"vertices": [[1.0, "x"]]}},
        {"outline": OUTLINE | {"vertices": [[1.0, float("nan")]]}},
        {"outline": OUTLINE | {"vertices": [[float("inf"), 1.0]]}},
        {"outline": OUTLINE | {"vertices": [[10**400, 1.0]]}},
        {"outline": OUTLINE | {"vertices": [[15.0, 1.0]]}},
        {"outline": OUTLINE | {"vertices": [[1.0, -10.0]]}},
    ],
)
def test_work_that_does_not_fit_its_image_is_an_error_that_is_expected(
    changed: dict[str, Any],
) -> None:
    from napari_scsam.core.errors import INVALID

    assert read_back([ENTRY], (5, 7, 9))[Plane(0, 1)].outline is None  # of an earlier version
    kept = read_back([{**ENTRY, "outline": OUTLINE}], (5, 7, 9))[Plane(0, 1)].outline
    assert kept == UnfinishedOutline(((1.0, 2.5), (-7.0, 18.0)), 2)
    with pytest.raises(INVALID):
        read_back([{**ENTRY, **changed}], (5, 7, 9))


@pytest.mark.parametrize(
    "changed",
    [{"row": -1}, {"row": 6}, {"col": 8}, {"shape": [10**6, 10**6]}, {"zlib": packed(10**7)}],
)
def test_a_patch_outside_its_plane_is_refused(changed: dict[str, Any]) -> None:
    good = Patch(2, 3, np.ones((3, 4), np.uint8)).to_json()
    assert Patch.from_json(good, (7, 9)).values.shape == (3, 4)
    with pytest.raises(ValueError, match=r"plane|reshape"):
        Patch.from_json(good | changed, (7, 9))
