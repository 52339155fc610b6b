"""The project's images: added by reference after being read whole, found again by content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import InputError
from napari_scsam.io import read_volume
from napari_scsam.project import files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.core.volume import Volume
    from napari_scsam.project.journal import Journal
    from napari_scsam.project.schema import ImageRecord


class Images:
    """What the journal says about images, and their files.

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
        self._checked: set[tuple[Path, int, int]] = set()

    def add(self, paths: files.Paths, cases: Mapping[str | Path, str]) -> list[str]:
        """Read every file whole, note the new ones, and return the ids of all."""
        found = files.expand(paths)
        case_of = {Path(path).resolve(): case for path, case in cases.items()}
        strangers = sorted(str(path) for path in set(case_of) - set(found))
        if strangers:
            raise InputError(f"A case is given for files that are not added: {strangers}.")
        candidates = files.examine(found)
        known = {record.sha256: record for record in self.all()}
        ids = {sha256: record.id for sha256, record in known.items()}
        events: list[tuple[str, dict[str, Any], str | None]] = []
        for item in candidates:
            place = files.place_of(item.path, self._folder)
            if item.sha256 not in ids:
                new = files.make_id(item.sha256, ids.values())
                ids[item.sha256] = new
                case = case_of.get(item.path, new)
                events.append(("image", {"id": new, "case": case, **item.payload}, new))
                events.append(("located", place, new))
            elif item.sha256 in known and not known[item.sha256].path.is_file():
                events.append(("located", place, ids[item.sha256]))
        self._journal.append_all(events)
        return [ids[item.sha256] for item in candidates]

    def all(self) -> list[ImageRecord]:
        """All images, in the order in which they were added."""
        places = {e.image: e.payload for e in self._journal.events(["located"])}
        return [
            files.to_record(e.payload, places[e.image], self._folder)
            for e in self._journal.events(["image"])
        ]

    def find(self, id_or_path: str | Path) -> ImageRecord:
        """One image by its id or its file; InputError naming what there is."""
        noted = self._journal.events(["image"], str(id_or_path))
        if noted:
            return files.to_record(noted[0].payload, self._place(noted[0].image), self._folder)
        records = self.all()
        path = Path(id_or_path).resolve()
        for record in records:
            if record.path == path:
                return record
        some = ", ".join(f"{r.id} ({r.name})" for r in records[:5])
        more = f" and {len(records) - 5} more" if len(records) > 5 else ""
        raise InputError(
            f"There is no image {id_or_path} in the project; it has {some or 'none yet'}{more}."
        )

    def read(self, image_id: str | Path) -> Volume:
        """Pixels of an image whose file is still the one that was added."""
        record = self.find(image_id)
        places = files.candidates(self._place(record.id), self._folder)
        there = [path for path in places if path.is_file()]
        for path in there:
            if self._is_unchanged(path, record.sha256):
                return read_volume(path)
        if there:
            raise InputError(
                f"{there[0]} has changed since it was added, so labels may not fit it any more. "
                "Put the old file back, or add the new one under another name."
            )
        raise InputError(
            f"The image {record.name} is no longer at {record.path}. "
            "Put it back, or add it again from its new place: its labels are kept."
        )

    def _place(self, image_id: str | None) -> dict[str, Any]:
        return self._journal.events(["located"], image_id)[-1].payload

    def _is_unchanged(self, path: Path, sha256: str) -> bool:
        state = path.stat()
        key = (path, state.st_size, state.st_mtime_ns)
        if key not in self._checked:
            if files.hash_file(path) != sha256:
                return False
            self._checked.add(key)
        return True
