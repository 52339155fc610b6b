"""``napari-scsam report``: from the journal and the labels alone, and safe to open."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sqlite3
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
from command_line import ok, process, refused

from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings
from napari_scsam.project import Project
from napari_scsam.project.random_checks import note_check
from napari_scsam.project.ranking import QueueEntry, note_pick

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HOSTILE = "<script>alert(1)</script> $x_{"


def point(origin: str = "model", state: str = "accepted") -> dict[str, Any]:
    return {"row": 1.0, "col": 2.0, "class_id": 1, "origin": origin, "state": state}


def commit(project: Project, image: str, radius: int, points: list[dict[str, Any]]) -> None:
    """Label a picture with a disc, as the window does with these points."""
    shape = project.image(image).shape
    rows, cols = np.indices(shape)
    label = ((rows - 20) ** 2 + (cols - 20) ** 2 < radius**2).astype(np.uint8)
    source = ("prompts", {"points": points, "boxes": [], "strokes": [], "drawn": []})
    project.commit(image, label, source=source)


@pytest.fixture
def folder(tmp_path: Path, finish_round: Callable[..., Path]) -> Path:
    """Ten pictures; eight are labelled, three of them after a round, and the scans are gone."""
    (tmp_path / "scans").mkdir()
    for number in range(10):
        picture = np.random.default_rng(number).integers(0, 255, (40, 40)).astype(np.uint8)
        imageio.imwrite(tmp_path / f"scans/p{number}.png", picture)
    place = tmp_path / "trial"
    with Project.create(place, [HOSTILE, "other"], name=f"trial {HOSTILE}") as project:
        images = project.add_images(tmp_path / "scans")
        for image in images[:5]:
            commit(project, image, 6, [point("person"), point("person")])
        finish_round(project.begin_round(TrainSettings()), 0.81, None)
        project.adopt_rounds()
        commit(project, images[5], 6, [point(), point(state="proposed")])
        commit(project, images[6], 7, [point(), point(state="edited")])
        commit(project, images[7], 19, [point(), point("person")])
        project.skip(images[8], 0)
        note_pick(project, QueueEntry(images[5], None, None, "random check", "random"), 0)
    shutil.rmtree(tmp_path / "scans")
    return place


def test_it_needs_the_journal_and_the_labels_alone(folder: Path) -> None:
    found = ok("report", folder)
    assert found["out"] is None
    assert found["totals"] == {
        "images": 10,
        "labelled_images": 8,
        "slices": 10,
        "labelled_slices": 8,
        "skipped_slices": 1,
    }
    assert [m["slices"] for m in found["over_time"]] == list(range(1, 9))
    before, after = found["effort"]
    assert (before["group"], after["group"]) == ("before the first round", "round 1")
    assert before["commits"] == 5 and before["actions_each"] == 2 and before["accepted"] is None
    # One accepted as it was, with a question left open; one point edited, one point added.
    assert after["suggested"] == 3 and after["accepted"] == pytest.approx(1 / 3)
    assert after["actions"] == 2
    assert before["seconds_each"] >= 0
    assert [r["dice"] for r in found["rounds"]] == [0.81]
    assert found["picks"] == {"random": 1}
    with_rounds = {one["name"]: one["rounds"] for one in found["images"]}
    assert with_rounds["p0"] == [] and with_rounds["p6"] == [1]
    sizes = {one["name"]: one for one in found["sizes"]}
    rows, cols = np.indices((40, 40))
    assert sizes["p7"]["size"] == ((rows - 20) ** 2 + (cols - 20) ** 2 < 19**2).sum()
    assert sizes["p7"]["unit"] == "px" and sizes["p7"]["whole"]
    assert {name for name, one in sizes.items() if one["outlier"]} >= {"p7"}
    assert not sizes["p0"]["outlier"]


@pytest.mark.parametrize(
    ("more", "actions"),
    [
        ([], 1),  # all were rejected by one key, and nothing is there
        ([point("person")], 1),  # a click replaced them
        ([point(state="edited"), point("person")], 2),
    ],
)
def test_rejected_points_are_one_action_or_that_which_replaced_them(
    tmp_path: Path, more: list[dict[str, Any]], actions: int
) -> None:
    imageio.imwrite(tmp_path / "p.png", np.arange(1600).reshape(40, 40).astype(np.uint8))
    with Project.create(tmp_path / "trial", ["one"]) as project:
        (image,) = project.add_images([tmp_path / "p.png"])
        rejected = [point(state="rejected") for _ in range(3)]
        commit(project, image, 6, [*rejected, *more])
    (group,) = ok("report", tmp_path / "trial")["effort"]
    assert group["actions"] == actions
    assert group["suggested"] == 1 and group["accepted"] == 0


def disc(radius: int) -> np.ndarray:
    rows, cols = np.indices((40, 40))
    return ((rows - 20) ** 2 + (cols - 20) ** 2 < radius**2).astype(np.uint8)


def test_random_slices_say_how_good_the_suggestions_are(folder: Path, tmp_path: Path) -> None:
    """One suggestion is half of what is committed, five are all of it, one slice has none."""
    with Project.open(folder) as project:
        images = [record.id for record in project.images()]
        for number, image in enumerate(images[:8]):
            note_pick(project, QueueEntry(image, None, None, "random check", "random"), number)
        for image in images[:5]:
            note_check(project, image, 0, disc(9), 1)
            commit(project, image, 9, [point()])
        note_check(project, images[9], 0, np.zeros((40, 40), np.uint8), 1)
        commit(project, images[9], 0, [])
        half = disc(9)
        half[:, 20:] = 0
        note_check(project, images[8], 0, half, 1)
        commit(project, images[8], 9, [point(), point("person")])
        note_pick(project, QueueEntry(images[8], None, 0.4, "unsure", "hybrid"), 9)
    found = ok("report", folder, "--out", tmp_path / "report.html")["random_checks"]
    share = 2 * half.sum() / (half.sum() + disc(9).sum())
    # The five were committed before the suggestion was stored, and count as without one.
    assert found["without_suggestion"] == 8 and found["not_labelled"] == 0
    assert found["all"]["slices"] == 1 and found["all"]["dice"] == pytest.approx(share)
    assert found["all"]["empty"] == 1 and found["all"]["low"] is None
    assert found["classes"][0]["class"] == HOSTILE
    assert found["text"] == (
        f"On 1 random slice: Dice {share:.2f}. 1 more is rightly empty; 8 had no suggestion."
    )
    assert HOSTILE in Tags((tmp_path / "report.html").read_text("utf-8")).text


def test_by_size(folder: Path) -> None:
    groups = {g["group"]: g["commits"] for g in ok("report", folder, "--by", "size")["effort"]}
    assert groups == {"small": 3, "medium": 3, "large": 2}


class Tags(HTMLParser):
    """The tags of a page, and the sources of its images."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.sources, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_one_file_and_names_are_text(folder: Path, tmp_path: Path) -> None:
    """As a process, in the folder where it writes by default."""
    pytest.importorskip("matplotlib")
    done = process("report", folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "trial-report.html").read_text("utf-8")
    tags = Tags(page)
    assert "script" not in tags.tags and HOSTILE in tags.text
    assert len(tags.sources) >= 3
    for source in tags.sources:
        drawing = base64.b64decode(source.removeprefix("data:image/svg+xml;base64,"))
        names = {element.tag for element in ElementTree.fromstring(drawing).iter()}
        assert not [name for name in names if name.endswith("script")]
        assert HOSTILE.encode() not in drawing
    assert "Content-Security-Policy" in page
    assert not re.findall(r"https?://", re.sub(r"data:[^\"]*", "", page))
    assert "exists already" in refused("report", folder, "--out", tmp_path / "trial-report.html")
    ok("report", folder, "--out", tmp_path / "trial-report.html", "--overwrite")


def test_it_writes_over_no_part_of_the_project(folder: Path) -> None:
    line = refused("report", folder, "--out", folder / "labels/report.html")
    assert "only the project itself writes" in line


def test_an_empty_project(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with Project.create(tmp_path / "p", ["a"]):
        pass
    found = ok("report", tmp_path / "p", "--out", tmp_path / "r.html")
    assert found["totals"]["images"] == 0 and found["effort"] == []
    assert "Nothing is labelled yet." in (tmp_path / "r.html").read_text()


def test_a_clock_that_went_back_and_events_that_say_nothing(folder: Path) -> None:
    rewrite(
        folder,
        "UPDATE events SET time = '1999-01-01T00:00:00+00:00' WHERE kind = 'commit' AND id % 2",
        "UPDATE events SET payload = json_set(payload, '$.points', 7, '$.version', json('[]')) "
        "WHERE kind = 'prompts'",
    )
    found = ok("report", folder)
    assert found["totals"]["labelled_slices"] == 8
    assert all(g["seconds_each"] is None or g["seconds_each"] >= 0 for g in found["effort"])
    assert all(g["suggested"] == 0 for g in found["effort"])


def set_hours(folder: Path, hours: Sequence[int]) -> None:
    """Move the commits to so many hours after midnight."""
    commits = "SELECT id FROM events WHERE kind = 'commit' ORDER BY id"
    rewrite(
        folder,
        *(
            f"UPDATE events SET time = '2026-01-01T{hour:02}:00:00+00:00' "
            f"WHERE id = ({commits} LIMIT 1 OFFSET {at})"
            for at, hour in enumerate(hours)
        ),
    )


def test_what_is_labelled_is_drawn_over_time_which_never_goes_back(
    folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    set_hours(folder, [1, 2, 3, 4, 11, 10, 11, 12])
    ok("report", folder, "--out", tmp_path / "report.html")
    tags = Tags((tmp_path / "report.html").read_text("utf-8"))
    drawing = base64.b64decode(tags.sources[0].removeprefix("data:image/svg+xml;base64,"))
    (line,) = re.findall(r'<path d="([^"]*)" clip-path[^>]*stroke: #0072b2', drawing.decode())
    across = [float(x) for x in re.findall(r"[ML] (\S+) ", line)]
    assert across == sorted(across)
    places = sorted(set(across))
    hours = [12 * (x - places[0]) / (places[-1] - places[0]) for x in places]
    assert hours == pytest.approx([0, 1, 2, 3, 10, 11, 12], abs=0.01)
    assert "From 2026-01-01T01:00 to 2026-01-01T12:00 (UTC)." in tags.text


def test_who_labelled_with_which_round(folder: Path, tmp_path: Path) -> None:
    with Project.open(folder) as project:
        images = [record.id for record in project.images()]
        project.sign(HOSTILE)
        commit(project, images[8], 6, [point()])
        commit(project, images[9], 6, [point(), point("person")])
        name = project.events("commit")[0].payload.get("by", "")
    found = ok("report", folder, "--out", tmp_path / "report.html")["annotators"]
    assert {(one["annotator"], one["round"]): one["slices"] for one in found} == {
        (name, None): 5,
        (name, 1): 3,
        (HOSTILE, 1): 2,
    }
    assert [one["accepted"] for one in found if one["annotator"] == HOSTILE] == [0.5]
    text = Tags((tmp_path / "report.html").read_text("utf-8")).text
    assert "Who labelled with which round" in text and HOSTILE in text


def test_the_page_has_the_spread_of_the_sizes_and_what_it_leaves_out(
    folder: Path, tmp_path: Path
) -> None:
    pixels = np.arange(4800, dtype=np.uint16).reshape(3, 40, 40)
    tifffile.imwrite(tmp_path / "stack.tif", pixels, photometric="minisblack")
    with Project.open(folder) as project:
        (stack,) = project.add_images([tmp_path / "stack.tif"])
        project.commit(stack, disc(4), plane=Plane(0, 1))
    ok("report", folder, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "labelled only in part, and left out here: 1." in page
    sizes = [disc(radius).sum() for radius in (6, 7, 19)]
    cells = "".join(f'<td class="number">{size:,.2f}</td>' for size in (sizes[0], *sizes[::2]))
    assert f'<td class="number">8</td>{cells}</tr>' in page


def rewrite(folder: Path, *statements: str) -> None:
    """Change events, as no program does; their hashes are left out, as before there were any."""
    with sqlite3.connect(folder / "journal.sqlite") as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        saved = triggers.fetchall()
        for name, _ in saved:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DROP TABLE hashes")
        for statement in statements:
            connection.execute(statement)
        for name, sql in saved:
            if name.startswith("events"):
                connection.execute(sql)
    connection.close()


def test_a_label_that_is_gone_is_named(folder: Path) -> None:
    (file,) = sorted((folder / "labels").rglob("*.nii.gz"))[:1]
    file.unlink()
    found = ok("report", folder)
    assert len(found["sizes"]) == 7 and any(str(file) in note for note in found["notes"])


def test_a_label_of_an_image_that_is_none_of_the_project(folder: Path) -> None:
    # A journal of a version without hashes, in which the image's own event is damaged.
    rewrite(
        folder,
        "UPDATE events SET kind = 'x' WHERE id = (SELECT min(id) FROM events WHERE kind = 'image')",
    )
    found = ok("report", folder)
    assert found["totals"]["labelled_images"] == 7 == len(found["sizes"])


def test_it_says_when_fewer_suggestions_are_accepted(folder: Path) -> None:
    with Project.open(folder) as project:
        image = project.images()[0].id
        for number in range(40):
            commit(project, image, 6, [point()] if number < 20 else [point(state="edited")])
    (note,) = [n for n in ok("report", folder)["notes"] if "accepted" in n]
    assert "0% of the last 20" in note


def test_a_class_that_was_deleted(folder: Path) -> None:
    toml = (folder / "project.toml").read_text()
    (folder / "project.toml").write_text(toml.replace("id = 1", "id = 9"))
    found = ok("report", folder)
    assert found["sizes"] == [] and json.dumps(found)
