"""Tunings of SAM's decoder between rounds: their inputs and their results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from napari_scsam.core.errors import INVALID, ProjectError
from napari_scsam.core.project_layout import CACHE_FOLDER, EMBEDDINGS_FOLDER, TUNED_FOLDER
from napari_scsam.core.round_contract import FAILED, INPUTS_FILE, PARTIAL, REPORT_FILE, TUNE_SCHEMA
from napari_scsam.io.atomic import make_folder, write_bytes
from napari_scsam.io.real_files import is_plain_tree, read_json
from napari_scsam.project import parsing
from napari_scsam.project.files import hash_file
from napari_scsam.project.numbered import numbered, remove_tree
from napari_scsam.project.process import training_process
from napari_scsam.project.rounds import input_of
from napari_scsam.project.schema import CommitRecord, ImageRecord, TunedRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_scsam.core.settings import TuneSettings
    from napari_scsam.core.windows import Window

# Finished tunings that stay (arbitrary), besides the last one that was kept.
KEPT = 3


class Tunings:
    """The ``tuned`` folder of a project.

    A tuning can be repeated at any time. Therefore it is not in the journal, and the folder
    alone lists the tunings.

    Parameters
    ----------
    folder : Path
        The project folder.
    """

    def __init__(self, folder: Path) -> None:
        self._project = folder
        self._folder = folder / TUNED_FOLDER

    def begin(
        self,
        labelled: Sequence[tuple[ImageRecord, CommitRecord]],
        settings: TuneSettings,
        *,
        window: Window,
        commits: int,
        after_round: int,
    ) -> Path:
        """Write ``tuned/NNNN.partial/inputs.json`` and return that folder.

        Images whose file is missing are left out.

        Raises
        ------
        ProjectError
            If there is no label to train on, a tuning is running, or the disk is full.
        """
        present = [(image, label) for image, label in labelled if image.path.is_file()]
        if not present:
            raise ProjectError("There is nothing to tune on yet: commit a few slices first.")
        self.tidy()
        if any(suffix for _, suffix in self._numbers()):
            raise ProjectError("A tuning is at work already: wait for it, or cancel it first.")
        number = 1 + max([0, *(n for n, _ in numbered(self._folder, links=True))])
        folder = self._folder / f"{number:04d}{PARTIAL}"
        inputs = {
            "schema": TUNE_SCHEMA,
            "images": [input_of(image, label) for image, label in present],
            "window": window.name,
            "cache": str(self._project / CACHE_FOLDER / EMBEDDINGS_FOLDER),
            "commits": commits,
            "after_round": after_round,
            "settings": settings.to_dict(),
        }
        make_folder(folder)
        write_bytes(folder / INPUTS_FILE, json.dumps(inputs, indent=1).encode())
        return folder

    def tidy(self) -> None:
        """Delete failed tunings, and all but the last few finished ones."""
        for number, suffix in self._numbers():
            folder = self._folder / f"{number:04d}{suffix}"
            if suffix and training_process(folder) is None:
                remove_tree(folder)
        finished = sorted(number for number, suffix in self._numbers() if not suffix)
        last_kept = max([t.number for t in self.all() if t.kept], default=0)
        for number in finished[:-KEPT]:
            if number != last_kept:
                remove_tree(self._folder / f"{number:04d}")
                (self._folder / f"{number:04d}.log").unlink(missing_ok=True)

    def all(self) -> list[TunedRecord]:
        """Every finished tuning that is not damaged, in the order of numbers."""
        numbers = sorted(number for number, suffix in self._numbers() if not suffix)
        found = (_read(number, self._folder / f"{number:04d}") for number in numbers)
        return [record for record in found if record is not None]

    def _numbers(self) -> list[tuple[int, str]]:
        return [(number, suffix) for number, suffix in numbered(self._folder) if suffix != FAILED]


def _read(number: int, folder: Path) -> TunedRecord | None:
    """Read a tuning; None if a file is missing or damaged."""
    try:
        if not is_plain_tree(folder):
            return None
        report = parsing.table(read_json(folder / REPORT_FILE))
        inputs = read_json(folder / INPUTS_FILE)
        for name, sha256 in report["files"].items():
            path = (folder / name).resolve()
            if not path.is_relative_to(folder.resolve()) or hash_file(path) != sha256:
                return None
        return TunedRecord(
            number=number,
            folder=folder,
            report=report,
            kept=bool(report["kept"]),
            reason=f"Tuned on {report['planes']} slices: {report['reason']}.",
            commits=int(inputs["commits"]),
            after_round=int(inputs["after_round"]),
        )
    except (OSError, *INVALID):
        return None
