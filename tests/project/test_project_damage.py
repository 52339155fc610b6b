"""A damaged journal is noticed, named, and opened read-only with what of it is good."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from command_line import process

from napari_scsam.cli.__main__ import main
from napari_scsam.core.errors import DamagedError, ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project
from napari_scsam.workflows.projects import open_project

if TYPE_CHECKING:
    from pathlib import Path

FLIPS = 200


def told(folder: Path) -> object:
    """Everything that a reader is told of a project."""
    with Project.open(folder, read_only=True) as project:
        labels = {r.id: project.label(r.id) for r in project.images()}
        found = {
            "images": project.images(),
            "labels": {i: None if x is None else x.tobytes() for i, x in labels.items()},
            "commits": [project.commits(image) for image in labels],
            "events": project.events(),
            "skipped": project.skipped(),
            "done": project.all_committed_planes(),
        }
        return found if not project.notes else project.notes


@pytest.fixture
def written(project: Project) -> Path:
    """A closed project with commits, and no copies of its journal."""
    volume, picture = (record.id for record in project.images())
    for index in range(5):
        project.commit(volume, np.full((7, 9), 1 + index % 2, np.uint8), plane=Plane(0, index))
        project.record("note", {"image": volume, "number": index})
    project.commit(picture, np.ones((6, 8), np.uint8))
    project.skip(volume, 2)
    project.revert(volume, 3)
    project.close()
    return project.folder


def test_a_flipped_bit_is_noticed_or_changes_nothing(written: Path) -> None:
    journal = written / "journal.sqlite"
    good, before = journal.read_bytes(), told(written)
    rng = np.random.default_rng(7)
    silent, noticed = [], 0
    for _ in range(FLIPS):
        place, bit = int(rng.integers(len(good))), int(rng.integers(8))
        spoilt = bytearray(good)
        spoilt[place] ^= 1 << bit
        journal.write_bytes(spoilt)
        try:
            after = told(written)
        except ProjectError as exc:
            assert "\n" not in str(exc)
            noticed += 1
            continue
        if isinstance(after, list):
            noticed += 1
        elif after != before:
            silent.append((place, bit))
    assert not silent
    assert noticed > FLIPS // 20  # most of the file is free space


def _spoil_payload(folder: Path) -> None:
    """A label's version becomes another image's, as one flipped bit once did it."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        connection.execute("DROP TRIGGER events_stay")
        connection.execute(
            "UPDATE events SET payload = replace(payload, '\"plane\": 3', '\"plane\": 1') "
            "WHERE kind = 'commit'"
        )
        connection.execute(
            "CREATE TRIGGER events_stay BEFORE UPDATE ON events\n"
            "    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END"
        )
        connection.commit()


def test_the_newest_good_state_opens_read_only_and_the_damaged_file_is_kept(written: Path) -> None:
    _spoil_payload(written)
    spoilt = (written / "journal.sqlite").read_bytes()
    with pytest.raises(DamagedError, match=r"event \d+ is not what was written") as caught:
        Project.open(written)
    assert "\n" not in str(caught.value)
    with open_project(written) as project:
        assert project.read_only
        volume = project.images()[0].id
        # The commit of slice 3 is the first that is not good.
        assert [c.plane for c in project.commits(volume)] == [0, 1, 2]
        label = project.label(volume)
        assert label is not None and (label[2] == 1).all() and (label[3] == 255).all()
        assert "is not what was written" in project.notes[0]
    assert (written / "journal.sqlite").read_bytes() == spoilt


def test_a_copy_that_has_more_is_taken_in_place_of_what_can_be_read(written: Path) -> None:
    with Project.open(written) as project:  # makes a copy of all that there is
        events = len(project.events())
    _spoil_payload(written)
    with Project.open(written, read_only=True) as project:
        assert len(project.events()) == events and project.notes


@pytest.mark.parametrize("command", ["suggest", "predict"])
def test_a_command_that_needs_a_round_says_so_of_a_damaged_project(
    written: Path, tmp_path: Path, command: str
) -> None:
    _spoil_payload(written)
    out = ("--out", tmp_path / "out") if command == "predict" else ()
    done = process(command, written, "image.tif", *out)
    assert done.returncode == 2
    note, error = done.stderr.splitlines()
    assert note.startswith("napari-scsam: note: ") and "is damaged (event" in note
    assert error.startswith("napari-scsam: ")


def test_a_command_says_that_it_looks_at_a_damaged_project(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _spoil_payload(written)
    assert main(["export", str(written), "--format", "tiff", "--out", str(tmp_path / "out")]) == 0
    assert "is damaged (event" in capsys.readouterr().err
    assert main(["label", str(written), "--image", "x", "--mask", "y"]) == 2


def test_an_event_that_is_lost_from_the_end_is_noticed(written: Path) -> None:
    with closing(sqlite3.connect(written / "journal.sqlite")) as connection:
        kept = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name in ("events_remain", "hashes_remain"):
            connection.execute(f"DROP TRIGGER {name}")
        for table in ("events", "hashes"):
            connection.execute(f"DELETE FROM {table} WHERE id = (SELECT max(id) FROM {table})")
        for (sql,) in kept:
            if "_remain" in sql:
                connection.execute(sql)
        connection.commit()
    with pytest.raises(DamagedError, match="events are missing at its end"):
        Project.open(written)


def test_events_of_a_version_without_hashes_come_to_be_covered(written: Path) -> None:
    with closing(sqlite3.connect(written / "journal.sqlite")) as connection:
        connection.execute("DROP TABLE hashes")
        connection.commit()
    with Project.open(written) as project:
        image = project.images()[0].id
        project.record("note", {"image": image})
    with closing(sqlite3.connect(written / "journal.sqlite")) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("events", "hashes")
        ]
        # As such a version would go on.
        connection.execute(
            "INSERT INTO events (time, kind, image, payload) VALUES ('now', 'old', NULL, '{}')"
        )
        connection.commit()
    assert counts[0] == counts[1] > 0
    with Project.open(written) as project:
        assert project.events("old")
    _spoil_payload(written)
    with pytest.raises(DamagedError):
        Project.open(written)


def test_only_the_newest_events_of_a_long_journal_are_looked_through(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_scsam.project import hash_chain

    monkeypatch.setattr(hash_chain.find_damage, "__defaults__", (6,))
    with Project.open(written) as project:
        assert project.events("revert")
    _spoil_payload(written)  # older than the newest six
    Project.open(written).close()
    monkeypatch.setattr(hash_chain.find_damage, "__defaults__", (15,))
    with pytest.raises(DamagedError):
        Project.open(written)
