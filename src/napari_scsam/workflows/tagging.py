"""Tags of images, read from a table."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING

from napari_scsam.core.errors import InputError
from napari_scsam.project.tags import note_tags

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.project import Project

COLUMNS = ("image", "tag")
# Characters of a tag; only catches a wrong column. Arbitrary.
LONGEST = 100


def tag_images(project: Project, table: Path) -> dict[str, list[str]]:
    """Take the tags of images from a CSV file, in place of those that these images had.

    Parameters
    ----------
    project : Project
        Open for writing.
    table : Path
        With the columns ``image`` (id, name or path) and ``tag``. An image may have several rows,
        and an empty tag takes its tags away.

    Returns
    -------
    dict of str to list of str
        Tags by image id.

    Raises
    ------
    InputError
        If the file can't be used; nothing is changed then.
    """
    named = _Named(project)
    found: dict[str, list[str]] = {}
    for number, (image, tag) in _rows(table):
        image_id = named.find(image, table, number)
        if len(tag) > LONGEST or not tag.isprintable():
            raise InputError(
                f"{table}, line {number}: a tag is a word or two, at most {LONGEST} characters; "
                f"got {tag[:LONGEST]!r}."
            )
        tags = found.setdefault(image_id, [])
        tags += [tag] if tag and tag not in tags else []
    note_tags(project, found)
    return found


class _Named:
    """Finds images by id, name or path, without a search for each of many."""

    def __init__(self, project: Project) -> None:
        self._project, records = project, project.images()
        self._by_id = {record.id: record.id for record in records}
        named = [(name, r.id) for r in records for name in {r.name, r.path.name}]
        counts = Counter(name for name, _ in named)
        self._by_name = {name: found for name, found in named if counts[name] == 1}

    def find(self, image: str, table: Path, number: int) -> str:
        """Return an image's id."""
        known = self._by_id.get(image) or self._by_name.get(image)
        if known is not None:
            return known
        try:
            return self._project.image(image).id
        except InputError as exc:
            raise InputError(f"{table}, line {number}: {exc}") from exc


def _rows(table: Path) -> list[tuple[int, tuple[str, str]]]:
    """Return the line number, image and tag of each row."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            heads = [name.strip().casefold() for name in reader.fieldnames or ()]
            missing = [name for name in COLUMNS if name not in heads]
            if missing:
                raise InputError(
                    f"{table} needs the columns {' and '.join(COLUMNS)} in its first line; got "
                    f"{', '.join(heads) or 'nothing'}."
                )
            reader.fieldnames = heads
            return [
                (reader.line_num, ((row["image"] or "").strip(), (row["tag"] or "").strip()))
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise InputError(f"{table} can't be read as a CSV file: {reason}.") from exc
