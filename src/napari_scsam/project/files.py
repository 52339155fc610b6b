"""Image files: their properties for the journal, and the paths where they may be."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_scsam.core.errors import InputError, ScsamError
from napari_scsam.io import IMAGE_SUFFIXES, read_volume, stem
from napari_scsam.io.real_files import without_links_above
from napari_scsam.project import parsing
from napari_scsam.project.schema import ImageLocation, ImageRecord

Paths = str | Path | Sequence[str | Path]
# Called with how many of how many files are read.
Progress = Callable[[int, int], object]
# Threads that read files (arbitrary: decoders run in parallel, but memory is limited).
_READERS = 4
# Larger files are read one at a time, since two volumes may not fit into memory (arbitrary).
_LARGE_BYTES = 2**20
_one_large_file = threading.Lock()


@dataclass(frozen=True)
class Candidate:
    """A file that was read completely and can be added.

    Attributes
    ----------
    path : Path
        Absolute.
    sha256 : str
        Of its bytes.
    payload : dict
        Its properties as the journal stores them, without ID, case and path.
    """

    path: Path
    sha256: str
    payload: dict[str, Any]


def expand(paths: Paths) -> list[Path]:
    """Replace each folder by the image files in it, sorted by name, and make all paths absolute.

    Files of a folder with another suffix, hidden files and sub-folders are ignored. A file that
    is given by a link keeps the link's name and path, because tools that manage large files by
    links (git-annex, DVC) give the targets unreadable names.

    Raises
    ------
    InputError
        If there is no image in one of the folders, or a folder can't be read.
    """
    found: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if not path.is_dir():
            found.append(without_links_above(path))
            continue
        inside = sorted(p for p in _listed(path.resolve()) if _is_image(p))
        if not inside:
            raise InputError(
                f"There is no image in the folder {path} (its sub-folders don't count)."
            )
        found += inside
    return found


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as exc:
        raise InputError(f"The folder {folder} can't be read: {exc.strerror or exc}.") from exc


def _is_image(path: Path) -> bool:
    """Whether a file in a folder is an image, judged by its name.

    A broken link counts as one, so that it is reported when it is read, and not ignored.
    """
    has_suffix = path.name.lower().endswith(IMAGE_SUFFIXES) and path.name[0] != "."
    return has_suffix and not path.is_dir()


def examine(paths: Sequence[Path], progress: Progress | None = None) -> list[Candidate]:
    """Read every file completely, several at a time.

    Parameters
    ----------
    paths : sequence of Path
    progress : callable, optional
        Called with the number of files that are read, and of all files. If it raises, no
        further file is read.

    Raises
    ------
    InputError
        If files are unusable; the line names all of them.
    """
    good, problems = [], []
    pool = ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1))
    try:
        for number, found in enumerate(pool.map(_examined, paths), 1):
            if isinstance(found, Candidate):
                good.append(found)
            else:
                problems.append(found)
            if progress is not None:
                progress(number, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)
    if problems:
        count = f"{len(problems)} files can't be added, so none was: " if problems[1:] else ""
        raise InputError(count + " ".join(problems))
    return good


def place_of(path: Path, folder: Path) -> dict[str, str | None]:
    """The absolute path of a file, and the one relative to the project (None on another drive)."""
    try:
        relative = Path(os.path.relpath(path, os.path.realpath(folder))).as_posix()
    except ValueError:
        relative = None
    return {"absolute": str(path), "relative": relative}


def make_id(sha256: str, taken: Container[str]) -> str:
    """The ID of a new image: the shortest prefix of its hash, of 8 or more digits, not in use."""
    return next(sha256[:n] for n in range(8, len(sha256) + 1) if sha256[:n] not in taken)


def to_record(payload: Mapping[str, Any], location: ImageLocation) -> ImageRecord:
    """Parse the record of one image.

    Parameters
    ----------
    payload : mapping
        Of its event in the journal.
    location : ImageLocation
        Where it may be.
    """
    shape = parsing.shape(payload["shape"])
    return ImageRecord(
        id=parsing.image_id(payload["id"]),
        name=parsing.name(payload["name"]),
        location=location,
        case=parsing.text(payload["case"]),
        shape=shape,
        rgb=parsing.flag(payload["rgb"]),
        spacing=parsing.spacing(payload["spacing"], len(shape)),
        spacing_known=parsing.flag(payload["spacing_known"]),
        sha256=parsing.sha256(payload["sha256"]),
        affine=parsing.affine(payload["affine"]),
        header=parsing.header(payload["header"]),
    )


def to_location(payload: Mapping[str, Any], folder: Path) -> ImageLocation:
    """Parse where an image of the project in `folder` may be."""
    return ImageLocation(folder, *parsing.place(payload))


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; InputError when it can't be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise InputError(f"{path} can't be read: {exc.strerror or exc}.") from exc


def _examined(path: Path) -> Candidate | str:
    """Read a file; what is wrong with it if it is unusable."""
    try:
        with _one_large_file if _is_large(path) else nullcontext():
            return _examine_one(path)
    except ScsamError as exc:
        return str(exc)


def _is_large(path: Path) -> bool:
    try:
        return path.stat().st_size > _LARGE_BYTES
    except (OSError, ValueError):
        return False


def _examine_one(path: Path) -> Candidate:
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path} is a link that leads nowhere: there is no {path.readlink()}.")
    volume = read_volume(path)
    sha256 = hash_file(path)
    payload = {
        "name": stem(path) if stem(path).strip(".") else "image",
        "shape": list(volume.shape),
        "rgb": volume.rgb,
        "spacing": list(volume.spacing),
        "spacing_known": volume.spacing_known,
        "sha256": sha256,
        "affine": volume.affine.tolist(),
        "header": dict(volume.header),
    }
    return Candidate(path, sha256, payload)
