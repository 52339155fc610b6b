"""What is done when a project is opened for writing, as far as it can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.errors import DamagedError, ProjectError
from napari_scsam.core.project_layout import BACKUPS_FOLDER
from napari_scsam.project.own_files import sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_scsam.project.journal import Journal
    from napari_scsam.project.labels import Labels
    from napari_scsam.project.training import Training


def settle(journal: Journal, labels: Labels, training: Training) -> list[str]:
    """Do what waits for a project to be opened, and say what can't be done: a disk may be full.

    Raises
    ------
    DamagedError
        If the journal turns out to be damaged.
    """
    tasks: dict[str, Callable[[], object]] = {
        "No copy of the journal was made": journal.back_up,
        "What earlier commits judged was not noted": labels.migrate,
        "Finished rounds were not taken in": training.adopt,
        "Old tunings were not cleared away": training.tunings.tidy,
        "Old rounds were not cleared away": training.rounds.pruning.sweep,
        "Left-overs of a killed program were not removed": lambda: _sweep(journal.folder),
    }
    notes = []
    for task, do in tasks.items():
        try:
            do()
        except DamagedError:
            raise
        except ProjectError as exc:
            notes.append(f"{task}: {exc}")
    return notes


def _sweep(folder: Path) -> None:
    for place in (folder, folder / BACKUPS_FOLDER):
        sweep(place)
