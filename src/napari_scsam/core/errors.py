"""Errors whose message is one clear line for the person using the tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class ScsamError(Exception):
    """Base of every error that is the user's to read.

    The message is one line: what was wrong, what was got, what to do. The
    command line prints it and exits with code 2; the dock shows it whole in its
    status line. Anything else that escapes is a bug and goes to the log.
    """


class InputError(ScsamError, ValueError):
    """A file, array or argument that can't be used as it is."""


class FileThereError(InputError):
    """Files are in the way that are replaced only when the person says so.

    Attributes
    ----------
    paths : tuple of Path
        The files.
    """

    def __init__(self, message: str, paths: Iterable[Path]) -> None:
        super().__init__(message)
        self.paths = tuple(paths)


class ProjectError(ScsamError):
    """A project folder that can't be opened, written or trained as it is."""


class DamagedError(ProjectError):
    """A project whose journal is damaged; what of it is good can be opened read-only."""


class ReadOnlyError(ProjectError):
    """A change was asked of a project that is open read-only or elsewhere."""


class ModelError(ScsamError):
    """A checkpoint, adapter or device that can't be used as it is."""


class MissingDependencyError(ScsamError, ImportError):
    """An optional package is not installed; the message names how to get it."""


class Cancelled(ScsamError):
    """The person cancelled the work; nothing was changed by it."""
