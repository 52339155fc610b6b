"""Rounds, and tunings between rounds, of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.project.background_backup import ROUND_IN_BACKGROUND_FROM
from napari_scsam.project.rounds import Rounds, round_window
from napari_scsam.project.tunings import Tunings

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from pathlib import Path

    from napari_scsam.core.settings import TrainSettings, TuneSettings
    from napari_scsam.project.background_backup import Backups
    from napari_scsam.project.images import Images
    from napari_scsam.project.journal import Journal
    from napari_scsam.project.labels import Labels
    from napari_scsam.project.pruning import Pruned
    from napari_scsam.project.schema import ProjectInfo, RoundRecord, TunedRecord
    from napari_scsam.project.write_access import WriteAccess


class Training:
    """Begins rounds and tunings on the committed labels, and selects the active ones.

    Parameters
    ----------
    folder : Path
        The project folder.
    journal : Journal
    backups : Backups
        Of the journal.
    images : Images
    labels : Labels
    access : WriteAccess
    lock : RLock
        Held while the inputs of a round are written.
    """

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        backups: Backups,
        images: Images,
        labels: Labels,
        access: WriteAccess,
        lock: threading.RLock,
    ) -> None:
        self._journal, self._images, self._labels = journal, images, labels
        self._backups, self._access, self._lock = backups, access, lock
        self.rounds = Rounds(folder, journal)
        self.tunings = Tunings(folder)

    def begin_round(
        self, info: ProjectInfo, settings: TrainSettings, held_out: Sequence[str | Path]
    ) -> Path:
        """Write the inputs of a new round: every image, and the current labels.

        Parameters
        ----------
        info : ProjectInfo
            The content of `project.toml`.
        settings : TrainSettings
            Of the round.
        held_out : sequence of str or path
            Images (IDs or files) to validate on, which are not trained on. Without them, the
            round draws cases at random, as given by `settings.holdout`.

        Returns
        -------
        Path
            ``rounds/NNNN.partial`` with its ``inputs.json``. The training process reads only
            that file, and removes ``.partial`` from the name when it has succeeded.

        Raises
        ------
        InputError
            If an image to hold out is unknown or has no label, or its case has another image
            that would be trained on.
        ProjectError
            If there is no label yet, or a round is being trained.
        ReadOnlyError
            If the project is open read-only.
        """
        self._access.check()
        with self._lock:
            current = self._labels.for_training()
            images = [(record, current.get(record.id)) for record in self._images.all()]
            held_out_ids = {self._images.find(image).id for image in held_out}
            folder = self.rounds.begin(info, images, settings, sorted(held_out_ids))
            self._backups.make(ROUND_IN_BACKGROUND_FROM)
            return folder

    def adopt(self, reason: str = "") -> list[RoundRecord]:
        """Add the rounds that have finished; each is checked, then promoted or not.

        With a `reason`, such as "was merged", none is promoted.
        """
        self._access.check()
        with self._lock:
            return self.rounds.adopt(reason)

    def prune(self, keep: int) -> Pruned:
        """Remove the weights of all but the newest `keep` rounds; their descriptions stay.

        These are never removed: the active round, its parent, the round that `rollback` returns
        to, a round that is being trained, and the parent of one that is in training or
        interrupted. A pruned round can't be made active again.

        Parameters
        ----------
        keep : int
            0 or more.

        Returns
        -------
        Pruned
            The rounds, and the bytes that were freed.

        Raises
        ------
        InputError
            If `keep` is negative.
        ReadOnlyError
            If the project is open read-only.
        ProjectError
            If weights can't be removed.
        """
        self._access.check()
        with self._lock:
            return self.rounds.prune(keep)

    def begin_tuning(self, info: ProjectInfo, settings: TuneSettings) -> Path:
        """Write the inputs of a tuning of SAM's decoder: the current labels.

        Returns
        -------
        Path
            ``tuned/NNNN.partial`` with its ``inputs.json``, as from `begin_round`.

        Raises
        ------
        ProjectError
            If there is no label yet, or a tuning is running.
        ReadOnlyError
            If the project is open read-only.
        """
        self._access.check()
        with self._lock:
            current = self._labels.for_training()
            labelled = [(r, current[r.id]) for r in self._images.all() if r.id in current]
            active, rounds = self.rounds.active(), self.rounds.all()
            return self.tunings.begin(
                labelled,
                settings,
                window=info.window if active is None else round_window(active.folder),
                commits=self.commit_count(),
                after_round=rounds[-1].number if rounds else 0,
            )

    def active_tuning(self) -> TunedRecord | None:
        """The last tuning that was kept; without one, the last that can suggest.

        A round, whose SAM corrects less well, replaces none.
        """
        usable = [t for t in self.tunings.all() if t.report["files"]]
        kept = [t for t in usable if t.kept]
        return next(iter([*kept[::-1], *usable[::-1]]), None)

    def commit_count(self) -> int:
        """The number of commits, including those that were reverted."""
        return self._journal.count("commit")
