"""Maintenance when a project is opened for writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.errors import DamagedError, ProjectError
from napari_scsam.core.project_layout import BACKUPS_FOLDER
from napari_scsam.project.own_files import sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_scsam.project.background_backup import Backups
    from napari_scsam.project.journal import Journal
    from napari_scsam.project.labels import Labels
    from napari_scsam.project.training import Training


def run_opening_tasks(
    journal: Journal, backups: Backups, labels: Labels, training: Training
) -> list[str]:
    """Do the maintenance of a project, and return a note for each task that failed.

    A full disk, for example, doesn't keep the project from being opened.

    Raises
    ------
    DamagedError
        If the journal turns out to be damaged.
    """
    tasks: dict[str, Callable[[], object]] = {
        # First, since a backup in the background writes such a file.
        "Temporary files of a killed program were not removed": lambda: _sweep(journal.folder),
        "No copy of the journal was made": backups.make,
        "The judged classes of earlier commits were not recorded": labels.migrate,
        "Finished rounds were not added": training.adopt,
        "Old tunings were not removed": training.tunings.tidy,
        "Weights of pruned rounds were not removed": training.rounds.pruning.sweep,
    }
    notes = []
    for task, do in tasks.items():
        try:
            do()
        except DamagedError:
            backups.stop()
            raise
        except ProjectError as exc:
            notes.append(f"{task}: {exc}")
    return notes


def _sweep(folder: Path) -> None:
    for place in (folder, folder / BACKUPS_FOLDER):
        sweep(place)
