"""``napari-scsam tag``: tags from a table, and the report by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import pytest
from command_line import ok, refused

from napari_scsam.project import Project, image_queue
from napari_scsam.project.tags import KIND, read_tags

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of three pictures, two of which are labelled."""
    (tmp_path / "scans").mkdir()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (40, 40)).astype(np.uint8)
        imageio.imwrite(tmp_path / f"scans/p{number}.png", picture)
    place = tmp_path / "trial"
    with Project.create(place, ["spot"]) as project:
        images = project.add_images(tmp_path / "scans")
        for image in images[:2]:
            project.commit(image, np.eye(40, dtype=np.uint8))
    return place


def tags(folder: Path) -> dict[str, tuple[str, ...]]:
    with Project.open(folder, read_only=True) as project:
        names = {record.id: record.name for record in project.images()}
        return {names[image]: found for image, found in read_tags(project).items()}


def table(folder: Path, text: str) -> Path:
    path = folder.with_name("tags.csv")
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_tags_come_from_a_table_replace_earlier_ones_and_group_the_report(folder: Path) -> None:
    with Project.open(folder, read_only=True) as project:
        second = project.images()[1].id
    path = folder.parent / "scans" / "p2.png"
    given = f"Tag,site,Image\nward A,x,p0.png\nold,x,p0\nward B,x,{second}\nward A,x,{path}\n"
    found = ok("tag", folder, table(folder, given))
    assert found["tags"] == ["old", "ward A", "ward B"]
    assert tags(folder) == {
        "p0": ("ward A", "old"),
        "p1": ("ward B",),
        "p2": ("ward A",),
    }
    ok("tag", folder, table(folder, "image,tag\np0.png,ward A\np2.png,\n"))
    assert tags(folder) == {"p0": ("ward A",), "p1": ("ward B",)}
    with Project.open(folder, read_only=True) as project:
        assert [row.tags for row in image_queue.rows(project)] == [("ward A",), ("ward B",), ()]
    effort = ok("report", folder, "--by", "tag")["effort"]
    assert {(group["group"], group["commits"]) for group in effort} == {
        ("ward A", 1),
        ("ward B", 1),
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "image,label\np0.png,a\n",
            "needs the columns image and tag in its first line; got image, label.",
        ),
        ("", "needs the columns image and tag in its first line; got nothing."),
        ("image,tag\np0.png,a\np9.png,b\n", "line 3: "),
        (f"image,tag\np0.png,{'x' * 101}\n", "line 2: a tag is a word or two"),
    ],
)
def test_a_table_that_can_not_be_used_changes_nothing(folder: Path, text: str, line: str) -> None:
    assert line in refused("tag", folder, table(folder, text))
    assert tags(folder) == {}


def test_files_that_are_no_tables_are_named_and_damaged_events_passed_over(folder: Path) -> None:
    missing = folder.with_name("none.csv")
    assert f"{missing} can't be read as a CSV file" in refused("tag", folder, missing)
    picture = folder.parent / "scans" / "p0.png"
    assert "can't be read as a CSV file" in refused("tag", folder, picture)
    with Project.open(folder) as project:
        image = project.images()[0].id
        for payload in ({}, {"tags": []}, {"tags": {image: "a"}}, {"tags": {"../x": ["a"]}}):
            project.record(KIND, payload)
    assert tags(folder) == {}
