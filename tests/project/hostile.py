"""Projects as a stranger could have made them: each kind is a function that spoils a good one."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

# What a kind gets: the project folder, and a folder outside it with files that must stay.
Spoil = Callable[[Path, Path], None]


def in_journal(project: Path, statement: str, *values: Any) -> None:
    """Change the journal, which has no hashes then: as one of an earlier version."""
    with closing(sqlite3.connect(project / "journal.sqlite")) as connection:
        for name in ("events_stay", "events_remain", "hashes_stay", "hashes_remain"):
            connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        connection.execute("DROP TABLE IF EXISTS hashes")
        connection.execute(statement, values)
        connection.execute(
            "CREATE TRIGGER events_stay BEFORE UPDATE ON events\n"
            "    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END"
        )
        connection.execute(
            "CREATE TRIGGER events_remain BEFORE DELETE ON events\n"
            "    BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END"
        )
        connection.commit()


def in_event(kind: str, key: str, value: object) -> Spoil:
    """Have the events of a kind say something else."""

    def spoil(project: Path, outside: Path) -> None:
        said = value.format(outside=outside) if isinstance(value, str) else value
        in_journal(
            project,
            "UPDATE events SET payload = json_set(payload, ?, json(?)) WHERE kind = ?",
            f"$.{key}",
            json.dumps(said),
            kind,
        )

    return spoil


def column(kind: str, value: str) -> Spoil:
    """Have the events of a kind be about another image."""

    def spoil(project: Path, outside: Path) -> None:
        named = value.format(outside=outside)
        in_journal(project, "UPDATE events SET image = ? WHERE kind = ?", named, kind)

    return spoil


def everywhere(value: str) -> Spoil:
    """Have an image be called so in every event."""

    def spoil(project: Path, outside: Path) -> None:
        named = value.format(outside=outside)
        in_journal(project, "UPDATE events SET image = ?", named)
        in_event("image", "id", named)(project, outside)

    return spoil


def payload(kind: str, text: str) -> Spoil:
    def spoil(project: Path, outside: Path) -> None:
        in_journal(project, "UPDATE events SET payload = ? WHERE kind = ?", text, kind)

    return spoil


def slice_outside_its_volume(project: Path, outside: Path) -> None:
    """Have a label be a slice that its volume does not have."""
    in_event("commit", "base", None)(project, outside)
    in_event("commit", "plane", 999)(project, outside)
    for path in (project / "labels").rglob("*.nii.gz"):
        path.rename(path.with_name(path.name.replace(".nii", ".plane-0999.nii")))


def a_round(**said: object) -> Spoil:
    """Have the journal tell of a round that was taken in."""

    def spoil(project: Path, outside: Path) -> None:
        whole = {"number": 1, "metrics": {}, "promoted": True, "reason": "it is good", **said}
        in_journal(
            project,
            "INSERT INTO events (time, kind, payload) VALUES ('2026-01-01', 'round', ?)",
            json.dumps(whole),
        )

    return spoil


def link(name: str, target: str = "") -> Spoil:
    """Put a link into the project that leads outside."""

    def spoil(project: Path, outside: Path) -> None:
        place = project / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            place.rename(project / "moved")
        else:
            place.unlink(missing_ok=True)
        place.symlink_to(outside / target if target else outside)

    return spoil


def label_link(project: Path, outside: Path) -> None:
    (folder,) = (project / "labels").iterdir()
    link(f"labels/{folder.name}")(project, outside)


def label_pipe(project: Path, outside: Path) -> None:
    (folder,) = (project / "labels").iterdir()
    (file,) = folder.iterdir()
    file.unlink()
    os.mkfifo(file)


def pipe(name: str) -> Spoil:
    def spoil(project: Path, outside: Path) -> None:
        (project / name).unlink(missing_ok=True)
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(project / name)

    return spoil


def text(name: str, content: str) -> Spoil:
    def spoil(project: Path, outside: Path) -> None:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(content)

    return spoil


def in_toml(old: str, new: str) -> Spoil:
    def spoil(project: Path, outside: Path) -> None:
        said = (project / "project.toml").read_text()
        assert old in said
        (project / "project.toml").write_text(said.replace(old, new))

    return spoil


def schema(*statements: str) -> Spoil:
    def spoil(project: Path, outside: Path) -> None:
        with closing(sqlite3.connect(project / "journal.sqlite")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return spoil


def rollback_names_another(project: Path, outside: Path) -> None:
    """A left-over that has SQLite delete the file that it names, once it was rolled back."""
    name = os.fsencode(outside / "precious.txt")
    page = 4096
    head = bytes.fromhex("d9d505f920a163d7") + (0).to_bytes(4, "big") + bytes(4)
    pages = (project / "journal.sqlite").stat().st_size // page
    head += pages.to_bytes(4, "big") + (512).to_bytes(4, "big") + page.to_bytes(4, "big")
    check = sum(int.from_bytes(bytes([b]), "big", signed=True) for b in name) % 2**32
    tail = (0x40000000 // page + 1).to_bytes(4, "big") + name
    tail += len(name).to_bytes(4, "big") + check.to_bytes(4, "big")
    tail += bytes.fromhex("d9d505f920a163d7")
    (project / "journal.sqlite-journal").write_bytes(head.ljust(512, b"\0") + tail)


def interrupted_with_link(project: Path, outside: Path) -> None:
    """A round to go on with whose events would be written outside."""
    partial = project / "rounds" / "0001.partial"
    partial.mkdir(parents=True)
    (partial / "resume.pt").write_bytes(b"")
    (partial / "inputs.json").write_text("{}")
    (partial / "events.jsonl").symlink_to(outside / "precious.txt")


def sparse(name: str) -> Spoil:
    """Let a file claim 64 GiB, which take no place on the disk."""

    def spoil(project: Path, outside: Path) -> None:
        with (project / name).open("ab") as stream:
            stream.truncate(64 * 2**30)

    return spoil


def interrupted_with_huge_events(project: Path, outside: Path) -> None:
    partial = project / "rounds" / "0001.partial"
    partial.mkdir(parents=True)
    (partial / "resume.pt").write_bytes(b"")
    (partial / "inputs.json").write_text('{"settings": []}')
    sparse("rounds/0001.partial/events.jsonl")(project, outside)


def tuning(**said: object) -> Spoil:
    """Have a finished tuning say something else of itself."""

    def spoil(project: Path, outside: Path) -> None:
        folder = project / "tuned" / "0001"
        folder.mkdir(parents=True)
        report = {"files": {}, "kept": True, "planes": 1, "reason": "good"}
        (folder / "report.json").write_text(json.dumps(report))
        (folder / "inputs.json").write_text(json.dumps(said))

    return spoil


def foreign_process(project: Path, outside: Path, name: str = "0001.partial") -> None:
    """The process that runs this test is named as a round's."""
    from napari_scsam.project.process import record_process

    partial = project / "rounds" / name
    partial.mkdir(parents=True)
    record_process(partial, os.getpid())


def foreign_process_of_no_round(project: Path, outside: Path) -> None:
    foreign_process(project, outside, "x.partial")


def foreign_embeddings(project: Path, outside: Path) -> None:
    link("cache/embeddings")(project, outside)
    for index in range(3):
        (outside / f"{index:064x}.safetensors").write_bytes(bytes(1000))


EXPORT = ("export", "{project}", "--format", "nifti", "--out", "{out}")
EXPORT_PNG = ("export", "{project}", "--format", "png", "--out", "{out}")
LABEL = ("label", "{project}", "--image", "{scan}", "--mask", "{mask}")
ADD = ("add", "{project}", "{scan}")
ROUNDS = ("rounds", "{project}")
PRUNE = ("rounds", "{project}", "--prune", "0")
TRAIN = ("train", "{project}", "--steps", "1", "--recipe", "cps", "--held-out", "nobody")
TINY = [[1e-308, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
ENDLESS = (
    "CREATE VIEW current_labels AS WITH RECURSIVE t(image, version) AS "
    "(SELECT 'a', 1 UNION ALL SELECT image, version + 1 FROM t) SELECT * FROM t"
)

# Kind, how the project is spoilt, and the command that used to be led astray.
KINDS: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "name-goes-up": (in_event("image", "name", "../../../x"), EXPORT),
    "name-is-absolute": (in_event("image", "name", "{outside}/precious"), EXPORT),
    "name-is-a-way-up": (in_event("image", "name", ".."), EXPORT_PNG),
    "name-is-no-word": (in_event("image", "name", 7), EXPORT),
    "id-goes-up": (everywhere("../../outside"), LABEL),
    "id-is-absolute": (everywhere("{outside}"), LABEL),
    "id-is-not-its-column": (in_event("image", "id", "abcdef0123"), LABEL),
    "column-is-not-its-id": (column("image", "abcdef0123"), EXPORT),
    "commit-of-no-image": (column("commit", "../../outside"), EXPORT),
    "version-goes-up": (in_event("commit", "version", "../../x"), EXPORT),
    "base-goes-up": (in_event("commit", "base", "../../x"), EXPORT),
    "base-goes-forward": (in_event("commit", "base", 7), EXPORT),
    "slice-outside-its-volume": (slice_outside_its_volume, EXPORT),
    "shape-without-end": (in_event("image", "shape", [2**31 - 1] * 3), EXPORT_PNG),
    "shape-of-another": (in_event("image", "shape", [9, 9, 9]), EXPORT_PNG),
    "affine-without-size": (in_event("image", "affine", TINY), EXPORT),
    "affine-of-nothing": (in_event("image", "affine", [[1]]), EXPORT),
    "unit-that-is-none": (in_event("image", "header", {"unit": "parsec"}), EXPORT),
    "header-that-is-none": (in_event("image", "header", [1]), EXPORT),
    "place-that-is-none": (in_event("located", "absolute", "a\0b"), EXPORT),
    "round-goes-up": (a_round(number="../../outside/0001"), PRUNE),
    "round-that-is-no-word": (a_round(reason=[1]), ROUNDS),
    "metrics-that-are-none": (a_round(metrics={"dice": {"pair": {"mean": "high"}}}), ROUNDS),
    "rates-that-are-none": (
        a_round(metrics={"rates": {"seconds_per_step": "fast"}, "labelled_planes": 1}),
        TRAIN,
    ),
    "payload-is-no-table": (payload("commit", "[1]"), EXPORT),
    "payload-is-no-json": (payload("image", "{"), EXPORT),
    "payload-is-nested": (payload("image", DEEP), EXPORT),
    "labels-is-a-link": (link("labels"), LABEL),
    "labels-of-an-image-is-a-link": (label_link, LABEL),
    "label-is-a-pipe": (label_pipe, EXPORT),
    "rounds-is-a-link": (link("rounds"), TRAIN),
    "tuned-is-a-link": (link("tuned"), ROUNDS),
    "backups-is-a-link": (link("backups"), ADD),
    "scans-is-a-link": (link("scans"), ADD),
    "cache-is-a-link": (link("cache"), ADD),
    "pending-is-a-link": (link("pending"), ADD),
    "embeddings-is-a-link": (foreign_embeddings, ADD),
    "lock-is-a-link": (link("project.lock", "precious.txt"), ADD),
    "journal-is-a-link": (link("journal.sqlite", "precious.sqlite"), ADD),
    "rollback-is-a-link": (link("journal.sqlite-journal", "precious.txt"), ADD),
    "rollback-names-another": (rollback_names_another, ADD),
    "settings-is-a-link": (link("project.toml", "precious.txt"), ROUNDS),
    "settings-is-a-pipe": (pipe("project.toml"), ROUNDS),
    "settings-is-nested": (text("project.toml", "a = " + "[" * 100_000), ROUNDS),
    "schema-without-end": (in_toml("schema = 1", "schema = inf"), EXPORT),
    "settings-without-end": (sparse("project.toml"), ROUNDS),
    "cache-size-without-end": (in_toml("cache_gb = 2.0", "cache_gb = inf"), TRAIN),
    "class-that-is-none": (in_toml("id = 1", "id = 999"), EXPORT),
    "colour-that-is-none": (in_toml('colour = "#', 'colour = "url(//x)#'), EXPORT),
    "round-is-a-link": (link("rounds/0001"), PRUNE),
    "round-to-go-on-with-writes-outside": (interrupted_with_link, ROUNDS),
    "process-is-a-pipe": (pipe("rounds/0001.partial/process.json"), TRAIN),
    "events-without-end": (interrupted_with_huge_events, ROUNDS),
    "tuning-without-end": (tuning(commits=float("inf"), after_round=0), ADD),
    "tuning-of-no-number": (tuning(commits=[], after_round={}), ADD),
    "process-without-end": (
        text("rounds/0001.partial/process.json", '{"pid": 1e999, "created": 1e999}'),
        TRAIN,
    ),
    "process-is-nested": (text("rounds/0001.partial/process.json", DEEP), TRAIN),
    "process-of-no-round": (foreign_process_of_no_round, TRAIN),
    "process-is-foreign": (foreign_process, TRAIN),
    "trigger-that-is-not-ours": (
        schema(
            "CREATE TRIGGER more AFTER INSERT ON events BEGIN "
            "DELETE FROM sqlite_sequence WHERE name = 'events'; END"
        ),
        ADD,
    ),
    "view-without-end": (schema("DROP VIEW current_labels", ENDLESS), EXPORT),
    "events-is-a-view": (
        schema("ALTER TABLE events RENAME TO kept", "CREATE VIEW events AS SELECT * FROM kept"),
        EXPORT,
    ),
}
if sys.platform == "win32":
    KINDS = {kind: spoilt for kind, spoilt in KINDS.items() if "pipe" not in kind}
