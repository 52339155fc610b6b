"""Copies of a project without names, paths, cases and the texts in the headers of its images.

The journal of the copy has the same events in the same order. Their payloads are written anew from
what is known to be anonymous, so that a text of an unknown kind never gets into it.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import InputError
from napari_scsam.core.jobs import Progress
from napari_scsam.core.project_layout import JOURNAL_FILE, SCANS_FOLDER
from napari_scsam.io.real_files import make_real_folder
from napari_scsam.io.without_texts import copy_without_texts
from napari_scsam.project import parsing
from napari_scsam.project.backups import connect
from napari_scsam.project.files import hash_file, place_of
from napari_scsam.project.hash_chain import add_hashes
from napari_scsam.project.journal import Journal
from napari_scsam.project.journal_schema import SLICES, add_feature
from napari_scsam.project.schema import ProjectInfo, write_info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_scsam.core.jobs import ProgressFn
    from napari_scsam.project import ImageRecord, Project
    from napari_scsam.project.journal import Event

# What the copy still tells.
LEFT_IN = (
    "the pixels: writing that is burned into an image, and the face in a scan of a head",
    "sizes, spacings, orientations and positions of the images",
    "when each label was made, and with which clicks",
    "the names of the classes",
)
# Keys of an event's payload that hold numbers, hashes and prompts, by its kind. Other keys, and
# other kinds as a whole, are left out.
_KEPT: dict[str, tuple[str, ...]] = {
    "commit": ("version", "sha256", "plane", "planes", "judged", "base"),
    "revert": ("version",),
    "skip": ("plane",),
    "judged": ("judged",),
    "prompts": ("image", "version", "points", "boxes", "strokes", "drawn"),
    "drafts": ("image", "version", "planes"),
    "mask": ("image", "version", "grid"),
}
# Kind of an event whose content was left out.
LEFT_OUT = "left-out"
# Key of an image's event with the hash of the file that was not anonymised yet.
ORIGINAL = "original"


@dataclass
class _Pseudonyms:
    """Numbers in place of names, in the order in which they come."""

    numbers: dict[str, int] = field(default_factory=dict)

    def of(self, name: str) -> int:
        """The number of a name."""
        return self.numbers.setdefault(name, len(self.numbers) + 1)


def copy_images(
    images: Sequence[ImageRecord],
    out: Path,
    file_of: Callable[[ImageRecord], Path | None],
    progress: ProgressFn,
) -> tuple[dict[str, Path], list[str]]:
    """Copy images without the texts in their headers.

    Parameters
    ----------
    images : sequence of ImageRecord
    out : Path
        The folder of the copy.
    file_of : callable
        Gives an image's file; None if it is gone or has changed.
    progress : callable
        Called before each image.

    Returns
    -------
    copied : dict of str to Path
        The files, by image.
    missing : list of str
        Names of images that are not there.
    """
    folder = make_real_folder(out, SCANS_FOLDER)
    copied, missing = {}, []
    for number, record in enumerate(images):
        progress(Progress(number / len(images), "Copying images"))
        path = file_of(record)
        if path is None:
            missing.append(record.name)
            continue
        copied[record.id] = copy_without_texts(path, folder, f"{record.id}-image")
    return copied, missing


def write_anonymous_journal(events: Sequence[Event], out: Path, copied: Mapping[str, Path]) -> None:
    """Write the journal of an anonymous copy.

    Parameters
    ----------
    events : sequence of Event
        All events of the project.
    out : Path
    copied : mapping of str to Path
        The images in the copy.
    """
    path = out / JOURNAL_FILE
    Journal.create(path).close()
    images, cases = _Pseudonyms(), _Pseudonyms()
    rows = [(e.id, e.time, *_anonymous(e, out, copied, images, cases)) for e in events]
    with closing(connect(path)) as connection:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
        add_hashes(connection)
        if any(e.kind == "commit" and "base" in e.payload for e in events):
            add_feature(connection, SLICES)
        connection.execute("COMMIT")


def write_anonymous_settings(project: Project, out: Path) -> None:
    """Write `project.toml` of the copy; the file makes the folder a project."""
    write_info(
        out,
        ProjectInfo("anonymous", project.modality, project.classes, project.window),
    )


def original_hashes(project: Project) -> dict[str, str]:
    """Hashes of the files that the images of an anonymous copy were made from, by image."""
    found = {}
    for event in project.events("image"):
        original = event.payload.get(ORIGINAL)
        if event.image is not None and original is not None:
            try:
                found[event.image] = parsing.sha256(original)
            except ValueError as exc:
                raise InputError(f"{project.folder} is damaged: {exc}.") from exc
    return found


def _anonymous(
    event: Event,
    out: Path,
    copied: Mapping[str, Path],
    images: _Pseudonyms,
    cases: _Pseudonyms,
) -> tuple[str, str | None, str]:
    """Kind, image and payload of an event in the copy."""
    payload: dict[str, Any]
    if event.kind == "image":
        payload = _image(event, copied, images, cases)
    elif event.kind == "located":
        payload = _place(event.image or "", out, copied)
    elif event.kind in _KEPT:
        payload = {key: event.payload[key] for key in _KEPT[event.kind] if key in event.payload}
    else:
        return LEFT_OUT, None, "{}"
    return event.kind, event.image, json.dumps(payload)


def _image(
    event: Event, copied: Mapping[str, Path], images: _Pseudonyms, cases: _Pseudonyms
) -> dict[str, Any]:
    record, path = event.payload, copied.get(event.image or "")
    name = f"image-{images.of(str(record['id'])):04d}"
    own_case = record["case"] == record["id"]
    return {
        **{key: record[key] for key in ("id", "shape", "rgb", "spacing", "spacing_known")},
        **{key: record[key] for key in ("affine", "header")},
        "name": name,
        "case": record["id"] if own_case else f"case-{cases.of(str(record['case'])):04d}",
        "sha256": record["sha256"] if path is None else hash_file(path),
        ORIGINAL: record["sha256"],
    }


def _place(image: str, out: Path, copied: Mapping[str, Path]) -> dict[str, str | None]:
    """Where an image of the copy is; a name that no file has if it is not in it."""
    path = copied.get(image, out / SCANS_FOLDER / f"{image}-missing")
    relative = place_of(path.absolute(), out)["relative"]
    return {"absolute": f"/{SCANS_FOLDER}/{path.name}", "relative": relative}
