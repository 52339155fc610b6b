"""A lock for the one writer of a project folder; the system releases it when the process ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_scsam.core.errors import ReadOnlyError
from napari_scsam.core.project_layout import LOCK_FILE

if TYPE_CHECKING:
    from pathlib import Path


def take_lock(folder: Path, wait: float) -> FileLock:
    """Take the lock of a project folder.

    Parameters
    ----------
    folder : Path
        The project folder.
    wait : float
        Seconds to wait for another writer to release it.

    Raises
    ------
    ReadOnlyError
        If another program holds it, or the folder can't be written.
    """
    # Not per thread, since it may be released by another thread than the one that took it.
    lock = FileLock(folder / LOCK_FILE, thread_local=False)
    try:
        lock.acquire(timeout=wait)
    except Timeout as exc:
        raise ReadOnlyError(
            f"The project {folder} is open in another window or program: close it there, "
            "or open it read-only."
        ) from exc
    except OSError as exc:
        raise ReadOnlyError(
            f"The project {folder} can't be written ({exc.strerror or exc}): open it read-only."
        ) from exc
    return lock
