"""Image files: what to note about one, and where to find it again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_scsam.core.errors import InputError, ScsamError
from napari_scsam.io import IMAGE_SUFFIXES, read_volume, stem
from napari_scsam.project.schema import ImageRecord

Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Candidate:
    """A file that was read whole and can be added.

    Attributes
    ----------
    path : Path
        Resolved.
    sha256 : str
        Of its bytes.
    payload : dict
        What the journal keeps of it, without id, case and place.
    """

    path: Path
    sha256: str
    payload: dict[str, Any]


def expand(paths: Paths) -> list[Path]:
    """Replace each folder by the image files in it, sorted by name, and resolve all paths.

    Files with another suffix, hidden files and sub-folders of a folder are passed over.
    A link that leads nowhere is not: it stays as it is, and is named when it is read.

    Raises
    ------
    InputError
        If a folder can't be read, or there is no image in it.
    """
    found: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if not path.is_dir():
            found.append(_resolved(path))
            continue
        inside = _images_in(path.resolve())
        if not inside:
            raise InputError(
                f"There is no image in the folder {path} (its sub-folders don't count)."
            )
        found += inside
    return found


def _images_in(folder: Path) -> list[Path]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as exc:
        raise InputError(f"The folder {folder} can't be read: {exc.strerror or exc}.") from exc
    named = [p for p in inside if p.name.lower().endswith(IMAGE_SUFFIXES) and p.name[0] != "."]
    return [p for p in named if p.is_file() or (p.is_symlink() and not p.exists())]


def _resolved(path: Path) -> Path:
    """The file itself; a link that leads nowhere stays as it is, for its message."""
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError):
        return path.absolute()


def examine(paths: Iterable[Path]) -> list[Candidate]:
    """Read every file whole; InputError in one line naming all that can't be used."""
    good, problems = [], []
    for path in paths:
        try:
            good.append(_examine_one(path))
        except ScsamError as exc:
            problems.append(str(exc))
    if problems:
        count = f"{len(problems)} files can't be added, so none was: " if problems[1:] else ""
        raise InputError(count + " ".join(problems))
    return good


def place_of(path: Path, folder: Path) -> dict[str, str | None]:
    """Where a file is: absolute, and relative to the project (None on another drive)."""
    try:
        relative = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        relative = None
    return {"absolute": str(path), "relative": relative}


def make_id(sha256: str, taken: Iterable[str]) -> str:
    """Opaque id of an image: the first 8 or more digits of its hash that are not taken."""
    known = set(taken)
    return next(sha256[:n] for n in range(8, len(sha256) + 1) if sha256[:n] not in known)


def to_record(payload: Mapping[str, Any], place: Mapping[str, Any], folder: Path) -> ImageRecord:
    """The record of one image from what the journal says."""
    there = [p for p in candidates(place, folder) if p.is_file()]
    return ImageRecord(
        id=payload["id"],
        name=payload["name"],
        path=there[0] if there else Path(place["absolute"]),
        case=payload["case"],
        shape=tuple(payload["shape"]),
        rgb=payload["rgb"],
        spacing=tuple(payload["spacing"]),
        spacing_known=payload["spacing_known"],
        sha256=payload["sha256"],
        affine=np.array(payload["affine"], dtype=np.float64),
        header=payload["header"],
    )


def candidates(place: Mapping[str, Any], folder: Path) -> list[Path]:
    """Paths where an image may be: relative to the project first, so that both can move."""
    paths = [Path(place["absolute"])]
    if place["relative"] is not None:
        paths.insert(0, (folder / place["relative"]).resolve())
    return list(dict.fromkeys(paths))


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; InputError when it can't be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise InputError(f"{path} can't be read: {exc.strerror or exc}.") from exc


def _examine_one(path: Path) -> Candidate:
    volume = read_volume(path)
    sha256 = hash_file(path)
    payload = {
        "name": stem(path),
        "shape": list(volume.shape),
        "rgb": volume.rgb,
        "spacing": list(volume.spacing),
        "spacing_known": volume.spacing_known,
        "sha256": sha256,
        "affine": volume.affine.tolist(),
        "header": dict(volume.header),
    }
    return Candidate(path, sha256, payload)
