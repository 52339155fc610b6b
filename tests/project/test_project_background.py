"""A long journal is verified and backed up in the background."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_scsam.core.errors import DamagedError
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project, background_backup, hash_chain, journal, training

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = 40


@pytest.fixture(autouse=True)
def short_journals_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last five events are verified when a project is opened."""
    monkeypatch.setattr(background_backup, "BACKGROUND_FROM", 5)
    monkeypatch.setattr(journal, "NEWEST", 5)
    monkeypatch.setattr(journal, "_MOST_AT_OPENING", 8)
    monkeypatch.setattr(hash_chain, "_BATCH", 4)
    monkeypatch.setattr(hash_chain.find_damage, "__defaults__", (5,))


@pytest.fixture
def long(project: Project) -> Path:
    """A closed project of many events, without a backup."""
    image = project.images()[0].id
    for number in range(EVENTS):
        project.record("note", {"image": image, "number": number})
    project.close()
    return project.folder


def copies(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "backups").glob("journal-*"))


def spoil(folder: Path, number: int) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        connection.execute("DROP TRIGGER events_stay")
        connection.execute("UPDATE events SET time = 'then' WHERE id = ?", [number])
        connection.execute(
            "CREATE TRIGGER events_stay BEFORE UPDATE ON events\n"
            "    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END"
        )
        connection.commit()


def test_a_backup_is_made_in_the_background_and_has_every_event(long: Path) -> None:
    with Project.open(long) as project:
        project.wait_for_backup()
        assert project.notes == []
        count = len(project.events())
    assert copies(long) == [f"journal-{count:08d}.sqlite"]
    with closing(sqlite3.connect(long / "backups" / copies(long)[0])) as connection:
        assert hash_chain.find_damage(connection, hash_chain.ALL) == ""
        assert connection.execute("SELECT count(*) FROM events").fetchone()[0] == count


def test_commits_go_on_while_a_backup_is_made(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup waits in its first pause until a slice is committed."""
    committed, waiting = threading.Event(), threading.Event()

    def pause(self: background_backup.Backups) -> None:
        waiting.set()
        assert committed.wait(30)

    monkeypatch.setattr(background_backup.Backups, "_pause", pause)
    with Project.open(long) as project:
        assert waiting.wait(30)
        image = project.images()[0].id
        project.commit(image, np.ones((7, 9), np.uint8), plane=Plane(0, 1))
        committed.set()
        project.wait_for_backup()
        assert project.notes == [] and len(copies(long)) == 1


def test_closing_stops_a_backup_and_leaves_nothing_behind(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Event()
    plain = background_backup.Backups._pause

    def pause(self: background_backup.Backups) -> None:
        waiting.set()
        self._stop.wait(30)
        plain(self)

    monkeypatch.setattr(background_backup.Backups, "_pause", pause)
    with Project.open(long):
        assert waiting.wait(30)
    assert list((long / "backups").iterdir()) == []


def test_old_damage_is_found_in_the_background_and_at_the_next_opening(long: Path) -> None:
    with Project.open(long) as project:
        project.wait_for_backup()
    (backup,) = copies(long)
    spoil(long, 20)
    with Project.open(long) as project:  # the newest five are undamaged
        project.wait_for_backup()
        assert "event 20 is not what was written" in project.notes[0]
        with pytest.raises(DamagedError, match="event 20"):
            project.record("note", {})
    # Now every event is verified at once, and the project opens read-only with its backup.
    with pytest.raises(DamagedError, match="event 20"):
        Project.open(long)
    with Project.open(long, read_only=True) as project:
        assert len(project.events("note")) == EVENTS
    (long / "journal.sqlite").write_bytes((long / "backups" / backup).read_bytes())
    Project.open(long, read_only=True).close()
    assert (long / "backups" / "damaged.txt").exists()  # reading changes nothing
    with Project.open(long) as project:
        project.record("note", {})
        project.wait_for_backup()
        assert project.notes == []
    Project.open(long).close()
    assert not (long / "backups" / "damaged.txt").exists()


def test_damage_in_a_journal_without_a_backup_is_found_in_the_background(long: Path) -> None:
    spoil(long, 20)
    with Project.open(long) as project:
        project.wait_for_backup()
        assert "event 20 is not what was written" in project.notes[0]
    assert copies(long) == []


def test_all_events_since_the_last_backup_are_verified_at_opening(long: Path) -> None:
    with Project.open(long) as project:
        project.wait_for_backup()
        last = len(project.events())
        for number in range(7):
            project.record("note", {"number": number})
    spoil(long, last + 1)  # one more than the newest five
    with pytest.raises(DamagedError, match=f"event {last + 1} "):
        Project.open(long)


def test_the_backup_of_another_journal_is_not_trusted(long: Path, tmp_path: Path) -> None:
    with Project.open(long) as project:
        project.wait_for_backup()
    (backup,) = copies(long)
    spoil(long, 38)
    with Project.open(long, read_only=True) as project:
        assert project.notes == []  # older than the newest five, and there is a backup
    with closing(sqlite3.connect(long / "backups" / backup)) as connection:
        connection.execute("DROP TRIGGER hashes_stay")
        connection.execute("UPDATE hashes SET hash = zeroblob(32)")
        connection.commit()
    with Project.open(long, read_only=True) as project:
        assert "event 38" in project.notes[0]


def test_a_round_begins_without_waiting_for_a_backup(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_scsam.core.settings import TrainSettings

    with Project.open(long) as project:
        project.wait_for_backup()
        image = project.images()[0].id
        project.commit(image, np.ones((7, 9), np.uint8), plane=Plane(0, 1))
        there, threads = threading.get_ident(), []
        slowly = journal.Journal.back_up_slowly

        def noted(self: journal.Journal, pause: object) -> None:
            threads.append(threading.get_ident())
            slowly(self, pause)  # type: ignore[arg-type]

        monkeypatch.setattr(journal.Journal, "back_up_slowly", noted)
        monkeypatch.setattr(background_backup, "BACKGROUND_FROM", 50_000)
        monkeypatch.setattr(training, "ROUND_IN_BACKGROUND_FROM", 5)
        project.begin_round(TrainSettings(recipe="scsam", steps=100, seed=7))
        project.wait_for_backup()
        assert len(threads) == 1 and threads[0] != there
    assert len(copies(long)) == 2


def test_the_file_of_a_running_backup_is_not_swept(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed writer has left is removed before a backup begins, and not later."""
    (long / "backups").mkdir(exist_ok=True)
    left = long / "backups" / ".0123abcd.journal-00000001.sqlite"
    mine = left.with_name(".4567abcd.journal-00000002.sqlite")
    left.write_bytes(b"half")

    def make(_self: background_backup.Backups, _longest: int | None = None) -> None:
        mine.write_bytes(b"in progress")

    monkeypatch.setattr(background_backup.Backups, "make", make)
    with Project.open(long):
        assert mine.exists() and not left.exists()


def test_closing_waits_for_what_another_thread_reads(tmp_path: Path) -> None:
    """SQLite crashes the process if a connection is closed while it is used."""
    project = Project.create(tmp_path / "project", ["one"])
    opened = project._journal
    reading, going_on, found = threading.Event(), threading.Event(), []

    class Slow:
        """A connection that is in use for a while."""

        connection = opened._connection

        def execute(self, *query: Any) -> Any:
            reading.set()
            going_on.wait(10)
            return self.connection.execute(*query)

    opened._connection = Slow()  # type: ignore[assignment]
    thread = threading.Thread(target=lambda: found.append(opened.last_id()))
    thread.start()
    assert reading.wait(10)
    threading.Timer(0.2, going_on.set).start()
    project.close()
    assert going_on.is_set()  # not before the read had ended
    thread.join(10)
    assert len(found) == 1
