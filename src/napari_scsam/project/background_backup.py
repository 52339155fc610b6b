"""Verification and backup of a long journal in a background thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from napari_scsam.core.errors import DamagedError, ProjectError
from napari_scsam.project.backups import Stopped

if TYPE_CHECKING:
    from napari_scsam.project.journal import Journal

# Journals with more events are backed up in the background; that of fewer takes less than a second.
BACKGROUND_FROM = 50_000
# The same when a round begins, which may be on the window's thread (arbitrary: some 20 ms).
ROUND_IN_BACKGROUND_FROM = 2_000
# Seconds of sleep in each pause (arbitrary: about as long as the work between two pauses), so that
# the window's thread is not slowed down.
_PAUSE_S = 0.003


class Backups:
    """Makes verified backups of a journal: at once if it is short, otherwise in the background.

    Parameters
    ----------
    journal : Journal
        The project's.
    notes : list of str
        What fails in the background is appended, for the user.
    """

    def __init__(self, journal: Journal, notes: list[str]) -> None:
        self._journal = journal
        self._notes = notes
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def make(self, longest: int | None = None) -> None:
        """Make a backup of new events; of a long journal, also verify all events.

        Parameters
        ----------
        longest : int, optional
            A journal of more events is backed up in the background.

        Raises
        ------
        DamagedError
            If the journal is short, and damaged.
        ProjectError
            If the journal is short, and the disk is full or the backups folder can't be used.
        """
        if self._journal.last_id() <= (BACKGROUND_FROM if longest is None else longest):
            self._journal.back_up()
        elif self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="backup", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until the thread has ended."""
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> None:
        """End the thread; an unfinished backup is removed, and made when the project next opens."""
        self._stop.set()
        self.wait()

    def _run(self) -> None:
        try:
            self._journal.back_up_slowly(self._pause)
        except Stopped:
            return
        except DamagedError as exc:
            self._notes.append(str(exc))
        except ProjectError as exc:
            if not self._stop.is_set():
                self._notes.append(f"No copy of the journal was made: {exc}")

    def _pause(self) -> None:
        if self._stop.wait(_PAUSE_S):
            raise Stopped
