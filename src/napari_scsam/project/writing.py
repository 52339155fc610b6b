"""Who may write a project, and whether its folder is still the one that was opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.errors import ProjectError, ReadOnlyError
from napari_scsam.core.project_layout import JOURNAL_FILE
from napari_scsam.project.creation import abandon

if TYPE_CHECKING:
    from pathlib import Path

    from filelock import FileLock


class Writing:
    """The right to write a project folder, checked before each change.

    Parameters
    ----------
    folder : Path
        The project folder.
    lock : FileLock or None
        None where the project is open read-only.
    """

    def __init__(self, folder: Path, lock: FileLock | None) -> None:
        self._folder = folder
        self._lock = lock
        self._opened = _identity(folder)

    @property
    def allowed(self) -> bool:
        """Whether the project was opened for writing."""
        return self._lock is not None

    def check(self) -> None:
        """Make sure that a change is allowed, and goes where the project is.

        Raises
        ------
        ReadOnlyError
            If the project is open read-only.
        ProjectError
            If its folder is gone, or its place was taken by another one: after an unmount, an
            empty folder is where the project was.
        """
        if self._lock is None:
            raise ReadOnlyError(
                f"The project {self._folder} is open read-only here: nothing was changed."
            )
        if _identity(self._folder) != self._opened:
            raise ProjectError(
                f"The project is no longer at {self._folder} (was its disk unmounted, or the "
                "folder moved?): nothing was written. Put it back, then open it again."
            )

    def abandon(self) -> None:
        """Take back a project that was just made."""
        if self._lock is not None:
            abandon(self._folder, self._lock)

    def end(self) -> None:
        """Let others write."""
        if self._lock is not None:
            self._lock.release()


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a journal from another one of the same name."""
    try:
        state = (folder / JOURNAL_FILE).stat()
    except OSError:
        return None
    return (state.st_dev, state.st_ino)
