"""Write access to a project folder, and the check that it is still the one that was opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.errors import ProjectError, ReadOnlyError
from napari_scsam.core.project_layout import JOURNAL_FILE
from napari_scsam.project.creation import abandon

if TYPE_CHECKING:
    from pathlib import Path

    from filelock import FileLock


class WriteAccess:
    """Write access to a project folder, which is checked before each change.

    Parameters
    ----------
    folder : Path
        The project folder.
    lock : FileLock or None
        None if the project is open read-only.
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
        """Make sure that a change is allowed and goes to the right folder.

        Raises
        ------
        ReadOnlyError
            If the project is open read-only.
        ProjectError
            If its folder is gone or was replaced: after an unmount, for example, an empty
            folder is where the project was.
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
        """Delete a project that was just created."""
        if self._lock is not None:
            abandon(self._folder, self._lock)

    def end(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode of the journal, which distinguish it from another of the same name."""
    try:
        state = (folder / JOURNAL_FILE).stat()
    except OSError:
        return None
    return (state.st_dev, state.st_ino)
