"""The check of output paths: inputs are never overwritten, other files only with `overwrite`."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from napari_scsam.core.errors import FileThereError, InputError
from napari_scsam.core.project_layout import OWN_NAMES, PROJECT_FILE
from napari_scsam.io.atomic import NAME_MAX
from napari_scsam.io.real_files import without_links_above

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_Inode = tuple[int, int]


def check_outputs(
    targets: Sequence[Path], inputs: Iterable[Path], *, overwrite: bool = False
) -> None:
    """Check whether files may be written; every command calls this before it writes any file.

    Links are resolved. Files are compared by inode, too, so that another name of an input (a hard
    link) is recognised.

    Parameters
    ----------
    targets : sequence of Path
        All files that will be written.
    inputs : iterable of Path
        Files that are never overwritten: the project's images and the command's inputs.
    overwrite : bool
        Whether other existing files may be replaced.

    Raises
    ------
    FileThereError
        If files exist that `overwrite` would replace.
    InputError
        If a target is an input, part of a project, the same as another target, no regular
        file, or has a name that is too long.
    """
    kept = _Inputs(inputs)
    for target in targets:
        _refuse_long_name(target)
        kept.refuse(target)
        _refuse_part_of_project(target)
        _refuse_no_file(target)
    _refuse_twice(targets)
    there = [target for target in targets if os.path.lexists(target)]
    if there and not overwrite:
        raise FileThereError(_existing(there), there)


class _Inputs:
    """Input files, identified by path and by inode."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._places: set[str] = set()
        self._inodes: set[_Inode] = set()
        for path in paths:
            self._places |= _places(path)
            self._inodes |= _inode(path)

    def refuse(self, target: Path) -> None:
        """Raise InputError if `target` is an input."""
        if _places(target) & self._places or _inode(target) & self._inodes:
            raise InputError(
                f"{target} is an image or another input, which is never written over: "
                "nothing was written. Choose another folder or name."
            )


def _places(path: Path) -> set[str]:
    """The path itself, and the path that it resolves to."""
    return {os.path.normcase(p) for p in (without_links_above(path), os.path.realpath(path))}


def _inode(path: Path) -> set[_Inode]:
    try:
        state = path.stat()
    except (OSError, ValueError):
        return set()
    return {(state.st_dev, state.st_ino)}


def _refuse_part_of_project(target: Path) -> None:
    for place in map(Path, _places(target)):
        for folder in place.parents:
            first = place.relative_to(folder).parts[0]
            if first.casefold() in OWN_NAMES and (folder / PROJECT_FILE).is_file():
                raise InputError(
                    f"{target} would lie in {first} of the project {folder}, where only the "
                    "project itself writes: nothing was written. Choose another folder."
                )


def _refuse_long_name(target: Path) -> None:
    if len(os.fsencode(target.name)) > NAME_MAX:
        raise InputError(
            f"The name of {target} has more than {NAME_MAX} bytes, so it can't be written: choose "
            "a shorter one."
        )


def _refuse_no_file(target: Path) -> None:
    try:
        if os.path.lexists(target) and not stat.S_ISREG(target.stat().st_mode):
            raise InputError(f"{target} is no file that can be replaced: choose another name.")
    except FileNotFoundError:
        return  # a broken link, which counts as an existing file
    except OSError as exc:
        raise InputError(f"{target} can't be written: {exc.strerror or exc}.") from exc
    there = next((p for p in target.parents if os.path.lexists(p)), None)
    if there is not None and not there.is_dir():
        raise InputError(f"{there} is no folder, so {target} can't be written into it.")


def _refuse_twice(targets: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for target in targets:
        # Without regard to case, as on Windows and macOS.
        place = str(without_links_above(target)).casefold()
        if place in seen:
            raise InputError(
                f"{seen[place]} and {target} would overwrite each other: nothing was written."
            )
        seen[place] = target


def _existing(there: Sequence[Path]) -> str:
    more = f" (and {len(there) - 1} more)" if there[1:] else ""
    return (
        f"{there[0]} exists already{more}: nothing was written. Choose another folder or name, "
        "or replace with --overwrite (in Python overwrite=True)."
    )
