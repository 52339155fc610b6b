"""Access to regular files and folders only: links, pipes and devices are refused."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from napari_scsam.core.errors import ProjectError
from napari_scsam.io.atomic import make_folder

# Windows has no such flag; there, links are checked just before the file is opened.
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | _NO_FOLLOW
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | _NO_FOLLOW
# Largest JSON file that is read (arbitrary; the largest seen was below 4 MB).
MAX_JSON_BYTES = 256 * 2**20
# Largest other file of a project that is read into memory (arbitrary; a compressed label map of
# 512 x 512 x 2,000 voxels has some megabytes).
MAX_FILE_BYTES = 2**30


def real_folder(root: Path, *names: str) -> Path:
    """The folder `names` inside `root`, after checking that none of them is a link.

    Parameters
    ----------
    root : Path
        Trusted, because the user named it.
    names : str
        Nested folders; they need not exist.

    Raises
    ------
    ProjectError
        If one is a link, or no folder.
    """
    folder = root
    for name in names:
        folder = folder / name
        if is_link(folder):
            raise ProjectError(
                f"{folder} is a link, which is not followed in a project: nothing was changed. "
                "Put a folder in its place."
            )
        if os.path.lexists(folder) and not folder.is_dir():
            raise ProjectError(f"{folder} is no folder: move it away, then try again.")
    return folder


def make_real_folder(root: Path, *names: str) -> Path:
    """`real_folder`, created if it does not exist; ProjectError also if `root` is gone."""
    folder = real_folder(root, *names)
    if not root.is_dir():
        raise ProjectError(f"The folder {root} is gone, so nothing was written.")
    make_folder(folder)
    return folder


def without_links_above(path: Path) -> Path:
    """The absolute path, with links in its parent folders resolved, but not the last one."""
    return Path(os.path.realpath(path.parent)) / path.name


def is_link(path: Path) -> bool:
    """Whether a path is a symbolic link or a Windows junction."""
    return path.is_symlink() or bool(getattr(path, "is_junction", lambda: False)())


def is_plain_tree(folder: Path) -> bool:
    """Whether a folder contains only regular folders and files, at any depth."""
    if is_link(folder) or not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return all(
            is_plain_tree(Path(entry.path))
            if entry.is_dir(follow_symlinks=False)
            else is_plain_file(Path(entry.path))
            for entry in entries
        )


def is_plain_file(path: Path) -> bool:
    """Whether a path is a regular file with one name: no link, hard link, pipe or device."""
    try:
        state = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and state.st_nlink == 1 and not is_link(path)


def read_real(path: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """Read a file; OSError if it is a link, a pipe, a device, or larger than `most` bytes."""
    with open_real(path) as stream:
        # Memory is reserved for as much as is asked for, so never for the limit.
        content = stream.read(min(os.fstat(stream.fileno()).st_size, most) + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes", str(path))
    return content


def open_real(path: Path) -> BinaryIO:
    """Open a file for reading; OSError if it is a link, a pipe or a device."""
    return _opened(path, _READ, "rb")


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises
    ------
    OSError
        If it can't be read, is too large, or is a link, a pipe or a device.
    ValueError
        If it is no JSON, or nested too deeply.
    """
    return parse_json(read_real(path, MAX_JSON_BYTES))


def parse_json(content: str | bytes) -> Any:
    """`json.loads`, whose only error is ValueError."""
    try:
        return json.loads(content)
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc


def open_new(path: Path) -> BinaryIO:
    """Open an empty file for writing, replacing any file of its name.

    If it was a link or a hard link, the other file is unchanged.
    """
    path.unlink(missing_ok=True)
    return path.open("xb")


def open_to_append(path: Path) -> BinaryIO:
    """Open a file to append to it; a link or a hard link is replaced by a new file."""
    if os.path.lexists(path) and not is_plain_file(path):
        return open_new(path)
    return _opened(path, _APPEND, "ab")


def _opened(path: Path, flags: int, mode: str) -> BinaryIO:
    if not _NO_FOLLOW and is_link(path):
        raise OSError(errno.ELOOP, "it is a link, which is not followed", str(path))
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return os.fdopen(descriptor, mode)  # type: ignore[return-value]  # binary, by every mode here
