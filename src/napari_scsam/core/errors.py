"""Errors whose message is one clear line for the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class ScsamError(Exception):
    """Base of all errors that are shown to the user.

    The message is one line: what was wrong, what was got, what to do. The command line prints it
    and exits with code 2; the dock shows it in its status line. Any other exception that escapes
    is a bug and is logged.
    """


class InputError(ScsamError, ValueError):
    """A file, array or argument that is unusable as it is."""


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
    """A project folder that can't be opened, written or used for training as it is."""


class DamagedError(ProjectError):
    """A project whose journal is damaged; what of it is good can be opened read-only."""


class ReadOnlyError(ProjectError):
    """A change to a project that is open read-only, or open elsewhere."""


class ModelError(ScsamError):
    """A checkpoint, adapter or device that is unusable as it is."""


class MissingDependencyError(ScsamError, ImportError):
    """An optional package is not installed; the message says how to install it."""


class Cancelled(ScsamError):
    """The user cancelled the work; it changed nothing."""


# What reading values of a file raises if one is missing, of another type, or out of range.
INVALID = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
)
