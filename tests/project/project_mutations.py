"""Projects whose files were changed at random, and a process that reads and uses each of them.

Run as ``python project_mutations.py FOLDER COUNT FIRST``, with ``tests/io`` on the path: makes a
project with everything that one can hold, and COUNT copies of it, each with one file or event
changed, the same ones for the same numbers. Each is opened, read as the commands and the window
read it, and written to. Each line that is printed is a fault: an error that is not meant for the
user or has more than one line, more than 5 s of the processor, more than 2 GiB of memory, or a file
outside of the project that was opened. The last line counts what was refused and what was not.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import nibabel as nib
import numpy as np
from mutations import CHANGES

from napari_scsam.annotation.earlier_versions import earlier_versions
from napari_scsam.annotation.last_position import LastView, first_view, remember
from napari_scsam.annotation.pending import PlaneWork, read_back, to_json
from napari_scsam.annotation.unfinished_outline import UnfinishedOutline
from napari_scsam.annotation.work import Draft
from napari_scsam.annotation.working_label import WorkingLabel
from napari_scsam.core.errors import INVALID, ScsamError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.patches import Patch
from napari_scsam.core.prompts import PointPrompt, PromptSet, Stroke
from napari_scsam.core.settings import TrainSettings, TuneSettings
from napari_scsam.project import Project, image_queue, labels
from napari_scsam.project.files import hash_file
from napari_scsam.project.pending import damaged, read_pending, write_pending
from napari_scsam.project.ranking import (
    QueueEntry,
    RankedQueue,
    note_pick,
    picks,
    read_queue,
    write_queue,
)
from napari_scsam.project.rounds import round_settings, round_window
from napari_scsam.rounds.child_process import ChildEvents
from napari_scsam.rounds.cost_estimate import estimate_round
from napari_scsam.rounds.shown_rounds import RoundsState, hint, round_note, summary
from napari_scsam.workflows.project_report import collect_report
from napari_scsam.workflows.projects import open_project
from napari_scsam.workflows.slice_table import SliceTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHAPE = (4, 12, 10)
# What was refused of projects that could be opened.
REFUSED: list[str] = []
# In the place of a number, a text, a list or a table of JSON.
VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 7, 2**31, 2**63, 10**40, 1e308, -1e-308, float("inf"), float("nan")),
    *("", "x", "..", "../../x", "/etc/passwd", "a\0b", "é\ud800", "9" * 5000, "2026-13-99"),
    *([], [[]], [None], [1e999] * 3, [2**31 - 1] * 3, {}, {"a": 1}, {"classes": 3, "planes": []}),
]


def make_project(root: Path) -> Path:
    """A project with a volume, a picture, and every kind of file and event."""
    rng = np.random.default_rng(0)
    scans = [root / "volume.nii.gz", root / "picture.png"]
    pixels = rng.integers(0, 900, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(pixels.T, np.diag([0.5, 0.6, 2, 1])), scans[0])
    iio.imwrite(scans[1], rng.integers(0, 255, (6, 8)).astype(np.uint8))
    with Project.create(root / "project", ["one", "two"], modality="mr") as project:
        volume, picture = project.add_images(scans, cases={scans[0]: "anna"})
        _label(project, volume, picture)
        _rounds(project)
        _cache(project, volume)
    with Project.open(root / "project"):  # makes a backup
        pass
    return root / "project"


def _label(project: Project, volume: str, picture: str) -> None:
    points = [{"row": 3.0, "col": 4.0, "class_id": 1, "origin": "model", "state": "accepted"}]
    for index in range(3):
        source = ("prompts", {"points": points, "boxes": [], "strokes": [], "drawn": []})
        label = np.full(SHAPE[1:], 1 + index % 2, np.uint8)
        project.commit(volume, label, plane=Plane(0, index), judged=(1, 2), source=source)
    mask = ("mask", {"file": "/nowhere/mask.png", "sha256": "0" * 64, "grid": "same"})
    project.commit(picture, np.ones((6, 8), np.uint8), source=mask)
    project.commit(volume, np.ones(SHAPE, np.uint8), source=("drafts", {"planes": [1, 2]}))
    project.revert(volume, 2)
    project.skip(volume, 3)
    project.record("tuning_switched", {"on": True})


def _rounds(project: Project) -> None:
    for number in (1, 2):
        _finish(project.begin_round(TrainSettings(steps=number)))
        project.adopt_rounds()
    project.rollback()
    partial = project.begin_round(TrainSettings(steps=3))
    (partial / "resume.pt").write_bytes(b"x")
    events = [{"event": "kept", "step": 3}, {"event": "message", "text": "Learning."}]
    lines = "".join(f"{json.dumps(event)}\n" for event in events)
    (partial / "events.jsonl").write_text(lines)
    tuned = project.begin_tuning(TuneSettings())
    report = {"files": {}, "kept": True, "planes": 4, "reason": "first click 0.7", "settings": {}}
    (tuned / "report.json").write_text(json.dumps(report))
    tuned.rename(tuned.with_suffix(""))


def _finish(partial: Path) -> None:
    dice = {"one": 0.8, "two": 0.7, "mean": 0.75}
    metrics = {
        "gated": True,
        "reason": "",
        "dice": dict.fromkeys(("unet", "sam", "prompted", "pair"), dice),
        "parent": {"pair": {"one": 0.5, "mean": 0.5}},
        "validation": {"planes": 9, "cases": 6},
        "labelled_planes": 3,
        "unlabelled_planes": 2,
        "rates": {"seconds_per_step": 0.1, "device": "cpu"},
    }
    settings = json.loads((partial / "inputs.json").read_text())["settings"]
    (partial / "metrics.json").write_text(json.dumps(metrics))
    config = {"settings": settings, "window": "auto", "unet_shares": [0.5, 0.5]}
    (partial / "config.json").write_text(json.dumps(config))
    (partial / "unet.safetensors").write_bytes(b"weights")
    names = ("metrics.json", "config.json", "unet.safetensors")
    files = {name: hash_file(partial / name) for name in names}
    data = hash_file(partial / "inputs.json")
    (partial / "manifest.json").write_text(json.dumps({"files": files, "data": data}))
    partial.rename(partial.with_suffix(""))


def _cache(project: Project, volume: str) -> None:
    plane, shape = Plane(0, 1), SHAPE[1:]
    person = PointPrompt(3.0, 4.0, 1)
    prompts = PromptSet((person,), {(1, 1): (1.0, 1.0, 5.0, 5.0)}, (_stroke(),))
    patch = Patch(2, 3, np.ones((3, 4), np.uint8))
    ground = WorkingLabel(np.zeros(shape, np.uint8), prompts, None, (patch,))
    draft = Draft(np.ones(shape, np.uint8), "thin")
    outline = UnfinishedOutline(((1.0, 2.0), (5.0, -3.5), (4.0, 4.0)), 2)
    work = PlaneWork(prompts, ground, draft, outline)
    write_pending(project, volume, to_json({plane: work}))
    entry = QueueEntry(volume, 1, 0.5, "unlike anything labelled", "hybrid", (1, 2))
    write_queue(project.folder, RankedQueue("hybrid", 1, (entry,)))
    note_pick(project, entry, 0)
    table = SliceTable(project.folder / "cache" / "ranking", "features", 2)
    table.add([(volume, 1, (1, 2), np.ones(4, np.float32))])
    remember(project, LastView((volume, plane)))


def _stroke() -> Stroke:
    return Stroke("scribble", ((1.0, 1.0), (4.0, 4.0)), 1)


def mutate(project: Path, number: int) -> str:
    """Change one file or event of a project, the same one for the same number; what was changed."""
    rng = np.random.default_rng(number)
    files = sorted(p for p in project.rglob("*") if p.is_file() and p.name != "project.lock")
    if rng.random() < 0.4:
        return _mutate_event(project, rng)
    path = files[rng.integers(len(files))]
    content = path.read_bytes()
    if path.suffix in (".json", ".jsonl", ".toml") and rng.random() < 0.7:
        changed = _mutate_text(content, path.suffix, rng)
    else:
        changed = bytes(CHANGES[rng.integers(len(CHANGES))](bytearray(content), rng))
    path.write_bytes(changed)
    if path.parent.parent.name == "rounds" and rng.random() < 0.7:
        _hash_again(path.parent, path.name)
    return str(path.relative_to(project))


def _hash_again(folder: Path, name: str) -> None:
    """A stranger's round has the right hashes whatever it holds."""
    with suppress(ValueError, KeyError, TypeError, OSError):
        manifest = json.loads((folder / "manifest.json").read_text())
        if name in manifest["files"]:
            manifest["files"][name] = hash_file(folder / name)
        manifest["data"] = hash_file(folder / "inputs.json")
        (folder / "manifest.json").write_text(json.dumps(manifest))


def _mutate_text(content: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    if suffix == ".toml":
        lines = content.decode().splitlines()
        at = int(rng.integers(len(lines)))
        value = VALUES[rng.integers(len(VALUES))]
        key = lines[at].partition(" = ")[0]
        lines[at] = f"{key} = {_toml(value)}"
        return "\n".join(lines).encode(errors="surrogatepass")
    lines = content.splitlines() if suffix == ".jsonl" else [content]
    at = int(rng.integers(len(lines)))
    lines[at] = json.dumps(mutate_value(json.loads(lines[at]), rng)).encode()
    return b"\n".join(lines) + b"\n" * (suffix == ".jsonl")


def _toml(value: object) -> str:
    if isinstance(value, float):
        return str(value)
    return json.dumps(value) if not isinstance(value, dict) else "{ a = 1 }"


def mutate_value(value: Any, rng: np.random.Generator) -> Any:
    """Put another value in the place of one in it, drop one, or add one."""
    places = list(_places(value))
    if not places or rng.random() < 0.05:
        return VALUES[rng.integers(len(VALUES))]
    holder, key = places[rng.integers(len(places))]
    kind = rng.random()
    if kind < 0.15:
        del holder[key]
    elif kind < 0.25 and isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        holder[key] = VALUES[rng.integers(len(VALUES))]
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _mutate_event(project: Path, rng: np.random.Generator) -> str:
    """Change an event of the journal, which is then one of a version without hashes."""
    with closing(sqlite3.connect(project / "journal.sqlite")) as connection:
        rows = connection.execute("SELECT id, time, kind, image, payload FROM events").fetchall()
        row = list(rows[rng.integers(len(rows))])
        what = f"event {row[0]} ({row[2]})"
        column = int(rng.integers(1, 4)) if rng.random() < 0.15 else 4
        if column == 4:
            row[4] = json.dumps(mutate_value(json.loads(row[4]), rng))
        else:
            value = VALUES[rng.integers(len(VALUES))]
            row[column] = value if isinstance(value, str) and "\ud800" not in value else "x"
        (guard,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'events_stay'"
        ).fetchone()
        connection.execute("DROP TRIGGER events_stay")
        connection.execute("DROP TABLE hashes")
        connection.execute(
            "UPDATE events SET time = ?, kind = ?, image = ?, payload = ? WHERE id = ?",
            [*row[1:], row[0]],
        )
        connection.execute(guard)
        connection.commit()
    shutil.rmtree(project / "backups", ignore_errors=True)
    return what


def use(folder: Path) -> None:
    """Read a project as the commands and the window do, and then change it."""
    with open_project(folder) as project:
        assert all("\n" not in note for note in project.notes), project.notes
        for read in READERS:
            _allowed(lambda read=read: read(project))
        if not project.read_only:
            _allowed(lambda: _change(project))
    with Project.open(folder, read_only=True) as project:
        _allowed(project.labelled)


def _allowed(work: Callable[[], object]) -> None:
    """Run a part of it; an error for the user, in one line, keeps the others from nothing."""
    try:
        work()
    except ScsamError as exc:
        assert "\n" not in str(exc), exc
        REFUSED.append(str(exc))


def _of_images(read: Callable[[Project, str], object]) -> Callable[[Project], None]:
    def each(project: Project) -> None:
        for record in project.images():
            _allowed(lambda image=record.id: read(project, image))

    return each


def _pending(project: Project, image: str) -> None:
    planes = read_pending(project, image)
    try:
        read_back(planes, project.image(image).shape)
    except INVALID as exc:
        raise damaged(project, image) from exc


def _rounds_shown(project: Project) -> None:
    records = project.rounds()
    state = RoundsState(rounds=tuple(records), interrupted=project.interrupted_round())
    summary(state), hint(state)
    for record in records:
        round_note(state, record), round_window(record.folder), round_settings(record.folder)
        project.round_bytes(record.number)
    ChildEvents(project.folder / "rounds" / "0003.partial").poll()


READERS: tuple[Callable[[Project], object], ...] = (
    image_queue.rows,
    first_view,
    collect_report,
    picks,
    lambda project: read_queue(project.folder),
    lambda project: SliceTable(project.folder / "cache" / "ranking", "features", 2),
    _rounds_shown,
    lambda project: estimate_round(project, TrainSettings()),
    lambda project: (project.tunings(), project.active_tuning(), project.commit_count()),
    _of_images(lambda project, image: project.volume(image)),
    _of_images(lambda project, image: project.label(image)),
    _of_images(lambda project, image: project.commits(image)),
    _of_images(lambda project, image: earlier_versions(project, image)),
    _of_images(_pending),
)


def _change(project: Project) -> None:
    for record in project.images():
        shape = record.shape
        plane = Plane(0, 1) if len(shape) == 3 else None
        label = np.zeros(shape[1:] if plane else shape, np.uint8)
        if label.size < 10**6:
            _allowed(lambda i=record.id, v=label, p=plane: project.commit(i, v, plane=p))
        _allowed(lambda i=record.id: project.skip(i, 0))
    _allowed(lambda: project.prune_rounds(1))
    _allowed(lambda: project.begin_tuning(TuneSettings()))
    _allowed(lambda: project.begin_round(TrainSettings(steps=9)))
    _allowed(project.rollback)


class TooLong(BaseException):
    """Raised by the timer."""


def too_long(*_: object) -> None:
    raise TooLong


def main() -> None:
    """Make, change, use; print faults."""
    labels.SLICE_FILES_FROM = 1  # as for a large volume
    root, count, first = Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3])
    good = make_project(root)
    use(shutil.copytree(good, root / "copy"))  # imports what is imported late
    signal.signal(signal.SIGPROF, too_long)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2 * 2**30,) * 2)
    opened: list[str] = []
    sys.addaudithook(lambda event, args: _note(opened, root, event, args))
    refused = 0
    REFUSED.clear()
    for number in range(first, first + count):
        shutil.rmtree(root / "copy")
        folder = shutil.copytree(good, root / "copy")
        what = mutate(folder, number)
        opened.clear()
        signal.setitimer(signal.ITIMER_PROF, 5)
        fault = ""
        try:
            use(folder)
        except ScsamError as exc:
            refused += 1
            fault = repr(exc) if "\n" in str(exc) else ""
        except BaseException as exc:  # noqa: BLE001
            fault = _where(exc)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if fault or opened:
            sys.stdout.write(f"{number} {what}: {fault} {opened}\n")
    sys.stdout.write(f"{refused} refused, {len(REFUSED)} parts of the others\n")


def _note(opened: list[str], root: Path, event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not isinstance(arguments[0], str | bytes):
        return
    name = str(arguments[0])
    inside = name.startswith((str(root), sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev"))
    # The measured speed of this machine, which is the user's own.
    own = os.environ.get("NAPARI_SCSAM_CACHE", "napari-scsam")
    if not inside and own not in name and not name.endswith((".py", ".pyc", ".so")):
        opened.append(name)


def _where(exc: BaseException) -> str:
    places = []
    trace = exc.__traceback__
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{exc!r:.300} at {' '.join(places[-4:])}"


if __name__ == "__main__":
    main()
