"""Atomic, durable file writes: after any crash there is the old file or the complete new one."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_scsam.core.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterator

_REASONS = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk quota is used up",
    errno.EROFS: "The folder is on a read-only disk",
    errno.EACCES: "Writing there is not permitted",
    errno.EPERM: "Writing there is not permitted",
    errno.ENOENT: "The folder does not exist",
    errno.ENAMETOOLONG: "The file name is too long",
}


# Prefix of temporary file names, as a regular expression.
TEMPORARY = r"\.[0-9a-f]{8}\."
# Longest file name in bytes on most file systems; those that count characters allow no fewer.
NAME_MAX = 255


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success, the file there replaces `path`.

    The file is flushed to the disk, renamed to `path`, and the folder is flushed. After the
    block, the new content survives a power cut. On any error, the temporary file is removed
    and `path` is unchanged.

    Parameters
    ----------
    path : path
        The file to replace. The temporary name has the same suffixes.

    Yields
    ------
    Path
        The file to write; it does not exist yet.

    Raises
    ------
    ProjectError
        If the disk is full, read-only, or can't be written for another reason.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(4)}.{_end_of(path.name)}")
    try:
        yield temporary
        _flush_file(temporary)
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as exc:
        raise storage_error(exc, path) from exc
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _end_of(name: str) -> str:
    """As much of a name's end, with its suffixes, as fits after the prefix `TEMPORARY`."""
    room = NAME_MAX - len(".12345678.")
    return name.encode(errors="surrogateescape")[-room:].decode(errors="ignore")


def fitting_name(start: str, end: str, tag: str) -> str:
    """The file name `start` + `end`; if it is too long, `start` is cut and `tag` replaces the rest.

    Parameters
    ----------
    start : str
        What may be cut.
    end : str
        The suffix, in ASCII.
    tag : str
        What distinguishes it from other names with the same beginning, in ASCII.
    """
    if len(os.fsencode(start + end)) <= NAME_MAX:
        return start + end
    room = NAME_MAX - len(f"-{tag}{end}")
    return f"{os.fsencode(start)[:room].decode(errors='ignore')}-{tag}{end}"


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` with `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents, flushed to the disk; ProjectError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        flush_folder(folder.parent)
    except OSError as exc:
        raise storage_error(exc, folder) from exc


def storage_error(exc: OSError, path: Path) -> ProjectError:
    """The one-line error for a `path` that could not be written."""
    reason = _REASONS.get(exc.errno or 0, exc.strerror or str(exc))
    return ProjectError(
        f"{reason}: {path} was not written. Nothing that was saved before is lost; "
        "make room or choose another folder, then try again."
    )


def flush_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, if the system can."""
    if os.name == "nt":  # Windows can't open a folder; NTFS journals its renames.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        # Some network drives can't flush a folder; then nothing more can be done.
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _flush_file(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
