"""The project's images: added by reference, and identified by their content."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import InputError
from napari_scsam.io import read_volume
from napari_scsam.io.real_files import without_links_above
from napari_scsam.project import files
from napari_scsam.project.tags import KIND, tags_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from napari_scsam.core.volume import Volume
    from napari_scsam.project.journal import Event, Journal
    from napari_scsam.project.schema import ImageLocation, ImageRecord


class Images:
    """The images in the journal, and their files.

    The records stay in memory. Before each use, they are updated from the events that were added
    to the journal since.

    Parameters
    ----------
    folder : Path
        The project folder.
    journal : Journal
        The project's.
    """

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._lock = threading.Lock()
        self._records: dict[str, ImageRecord] = {}
        # ID of the last event that the records include.
        self._last_event = 0

    def add(
        self,
        paths: files.Paths,
        cases: Mapping[str | Path, str],
        progress: files.Progress | None = None,
        lock: AbstractContextManager[object] | None = None,
    ) -> list[str]:
        """Add scans by reference, after reading each of them completely.

        Parameters
        ----------
        paths : path or sequence of path
            Files, or folders, which stand for the image files in them, sorted by name.
            A file whose content is in the project already keeps its ID; if it was moved, its
            new path is recorded.
        cases : mapping of path to str, optional
            The case (patient) of files; an image without one is its own case.
        progress : callable, optional
            Called with the number of files that are read, and of all files. If it raises, no image
            is added.
        lock : context manager, optional
            Held while the journal is read and written, but not while files are read.

        Returns
        -------
        list of str
            Ids, in the order of the paths.

        Raises
        ------
        InputError
            If any file can't be used. The message names all of them, and none is added.
        ReadOnlyError
            If the project is open read-only.
        """
        found = files.expand(paths)
        case_of = {without_links_above(Path(path)): case for path, case in cases.items()}
        strangers = sorted(str(path) for path in set(case_of) - set(found))
        if strangers:
            raise InputError(f"A case is given for files that are not added: {strangers}.")
        candidates = files.examine(found, progress)
        with lock or nullcontext():
            return self._add(candidates, case_of)

    def _add(self, candidates: Sequence[files.Candidate], case_of: Mapping[Path, str]) -> list[str]:
        known = {record.sha256: record for record in self.all()}
        ids = {sha256: record.id for sha256, record in known.items()}
        taken = set(ids.values())
        events: list[tuple[str, dict[str, Any], str | None]] = []
        for item in candidates:
            place = files.place_of(item.path, self._folder)
            if item.sha256 not in ids:
                new = files.make_id(item.sha256, taken)
                ids[item.sha256] = new
                taken.add(new)
                case = case_of.get(item.path, new)
                events.append(("image", {"id": new, "case": case, **item.payload}, new))
                events.append(("located", place, new))
            elif item.sha256 in known and not self._is_there(known[item.sha256]):
                events.append(("located", place, ids[item.sha256]))
        self._journal.append_all(events)
        return [ids[item.sha256] for item in candidates]

    def all(self) -> list[ImageRecord]:
        """All images, in the order in which they were added."""
        return list(self._updated().values())

    def _updated(self) -> dict[str, ImageRecord]:
        """The records by ID, with all events of the journal; it is never modified."""
        last = self._journal.last_id()
        with self._lock:
            if last != self._last_event:
                # In this order, since another program may add images in between.
                images = self._journal.iterate(["image"], after=self._last_event)
                located = self._journal.iterate(["located"], after=self._last_event)
                records = self._with(images, located)
                tagged = self._journal.iterate([KIND], after=self._last_event)
                self._records = _with_tags(records, tags_in(tagged))
                self._last_event = last
            return self._records

    def _with(self, images: Iterable[Event], located: Iterable[Event]) -> dict[str, ImageRecord]:
        """The records, updated by events."""
        locations = {event.image: self._to_location(event) for event in located}
        found = {e.image: self._to_record(e, locations.get(e.image)) for e in images}
        if not found and not locations:
            return self._records
        records = self._records | {record.id: record for record in found.values()}
        for image_id, location in locations.items():
            known = None if image_id is None else records.get(image_id)
            if known is not None and known.location is not location:
                records[known.id] = replace(known, location=location)
        return records

    def find(self, id_or_path: str | Path) -> ImageRecord:
        """Return an image by its ID, its name or its file; a file is identified by its content.

        Raises
        ------
        InputError
            If there is no such image, if several have the name, or if the file has changed
            since it was added.
        """
        known = self._updated()
        if str(id_or_path) in known:
            return known[str(id_or_path)]
        records = list(known.values())
        path = without_links_above(Path(id_or_path))
        found = self._by_file(records, path)
        if found is None:
            found = _by_name(records, str(id_or_path))
            if found is not None and any(place.is_file() for place in found.places):
                self.file(found.id)  # raises if it is not the one that was added
        if found is not None:
            return found
        there = _some(f"{record.id} ({record.name})" for record in records)
        raise InputError(
            f"There is no image {id_or_path} in the project; it has {there or 'none yet'}."
        )

    def _by_file(self, records: Sequence[ImageRecord], path: Path) -> ImageRecord | None:
        """The image of a file by content, or by path if the file is gone; None if there is none."""
        if not path.is_file():  # an image whose file is gone
            return next((r for r in records if r.path == path), None)
        content = self._hash(path)
        same = [r for r in records if r.sha256 == content]
        if same:
            return same[-1]
        before = next((r for r in records if path in r.places), None)
        if before is None:
            return None
        raise InputError(
            f"{path} has changed since it was added as {before.id}, so labels may not fit it any "
            "more: add it again, which makes another image of it, or put the old file back."
        )

    def read(self, image_id: str | Path) -> Volume:
        """Read the pixels of an image, if its file is still the one that was added."""
        return read_volume(self.file(image_id))

    def file(self, image_id: str | Path) -> Path:
        """The file of an image; InputError if it is gone, or not the one that was added."""
        record = self.find(image_id)
        there = [path for path in record.places if path.is_file()]
        for path in there:
            if self._hash(path) == record.sha256:
                return path
        if there:
            raise InputError(
                f"{there[0]} has changed since it was added, so labels may not fit it any more. "
                "Put the old file back, or add the new one under another name."
            )
        raise InputError(
            f"The image {record.name} is no longer at {record.path}. "
            "Put it back, or add it again from its new place: its labels are kept."
        )

    def _is_there(self, record: ImageRecord) -> bool:
        """Whether an image's file is still at one of its known paths."""
        return any(p.is_file() and self._hash(p) == record.sha256 for p in record.places)

    def _to_record(self, event: Event, location: ImageLocation | None) -> ImageRecord:
        with self._journal.reading(event) as payload:
            if location is None:
                raise ValueError("no event says where the image is")
            record = files.to_record(payload, location)
            if record.id != event.image:
                raise ValueError(f"its image is {event.image}, but its payload has {record.id}")
            return record

    def _to_location(self, event: Event) -> ImageLocation:
        with self._journal.reading(event) as payload:
            return files.to_location(payload, self._folder)

    def _hash(self, path: Path) -> str:
        """SHA-256 of a file, cached until its size or modification time changes."""
        state = path.stat()
        key = (path, state.st_size, state.st_mtime_ns)
        if key not in self._hashes:
            self._hashes[key] = files.hash_file(path)
        return self._hashes[key]


def _with_tags(
    records: dict[str, ImageRecord], tags: Mapping[str, tuple[str, ...]]
) -> dict[str, ImageRecord]:
    changed = {i: replace(records[i], tags=names) for i, names in tags.items() if i in records}
    return records | changed if changed else records


def _by_name(records: Iterable[ImageRecord], name: str) -> ImageRecord | None:
    """The image of this name; None if there is none, InputError if there are several."""
    named = [record for record in records if record.name == name]
    if len(named) > 1:
        ids = _some(record.id for record in named)
        raise InputError(f"{len(named)} images are called {name}: choose one by its id, {ids}.")
    return named[0] if named else None


def _some(items: Iterable[str], most: int = 5) -> str:
    """The first items as text for a message (5: arbitrary), and the number of the others."""
    found = list(items)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
