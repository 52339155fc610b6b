"""What of a project learns: rounds, and tunings between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.project.rounds import Rounds, round_window
from napari_scsam.project.tunings import Tunings

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from pathlib import Path

    from napari_scsam.core.settings import TrainSettings, TuneSettings
    from napari_scsam.project.images import Images
    from napari_scsam.project.journal import Journal
    from napari_scsam.project.labels import Labels
    from napari_scsam.project.pruning import Pruned
    from napari_scsam.project.schema import ProjectInfo, RoundRecord, TunedRecord
    from napari_scsam.project.writing import Writing


class Training:
    """Begins rounds and tunings of what is committed, and says which of them count.

    Parameters
    ----------
    folder : Path
        The project folder.
    journal : Journal
    images : Images
    labels : Labels
    writing : Writing
    lock : RLock
        Held while what a round learns from is written down.
    """

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        images: Images,
        labels: Labels,
        writing: Writing,
        lock: threading.RLock,
    ) -> None:
        self._journal, self._images, self._labels = journal, images, labels
        self._writing, self._lock = writing, lock
        self.rounds = Rounds(folder, journal)
        self.tunings = Tunings(folder)

    def begin_round(
        self, info: ProjectInfo, settings: TrainSettings, held_out: Sequence[str | Path]
    ) -> Path:
        """Write down what a round will learn from: every image, and the labels that count now.

        Parameters
        ----------
        info : ProjectInfo
            What `project.toml` says.
        settings : TrainSettings
            Of the round.
        held_out : sequence of str or path
            Images (ids or files) that it is judged on, and learns nothing from; without them
            it draws cases itself, as `settings.holdout` says.

        Returns
        -------
        Path
            ``rounds/NNNN.partial`` with its ``inputs.json``; the training process reads
            only that, and drops ``.partial`` from the name when it has succeeded.

        Raises
        ------
        InputError
            If an image to hold out is unknown or has no label, or its case has another image
            that would be learned from.
        ProjectError
            If there is no label yet, or a round is being trained.
        ReadOnlyError
            If the project is open read-only.
        """
        self._writing.check()
        with self._lock:
            current = self._labels.all_current()
            images = [(record, current.get(record.id)) for record in self._images.all()]
            judges = {self._images.find(image).id for image in held_out}
            folder = self.rounds.begin(info, images, settings, sorted(judges))
            self._journal.back_up()
            return folder

    def adopt(self) -> list[RoundRecord]:
        """Take in the rounds that finished since; each is checked, then promoted or not."""
        self._writing.check()
        with self._lock:
            return self.rounds.adopt()

    def prune(self, keep: int) -> Pruned:
        """Remove the weights of all but the newest `keep` rounds; what is said of them stays.

        Never those of the active round, of the one that it goes on from, of the one that
        `rollback` goes back to, of one that is being trained, or of the one that a round
        in training or interrupted goes on from. A pruned round can't be made active again.

        Parameters
        ----------
        keep : int
            0 or more.

        Returns
        -------
        Pruned
            Which rounds, and the bytes that are free now.

        Raises
        ------
        InputError
            If `keep` is negative.
        ReadOnlyError
            If the project is open read-only.
        ProjectError
            If weights can't be removed.
        """
        self._writing.check()
        with self._lock:
            return self.rounds.prune(keep)

    def begin_tuning(self, info: ProjectInfo, settings: TuneSettings) -> Path:
        """Write down what SAM's decoder will be tuned on: the labels that count now.

        Returns
        -------
        Path
            ``tuned/NNNN.partial`` with its ``inputs.json``, as of `begin_round`.

        Raises
        ------
        ProjectError
            If there is no label yet, or a tuning is at work.
        ReadOnlyError
            If the project is open read-only.
        """
        self._writing.check()
        with self._lock:
            current = self._labels.all_current()
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
        """The last tuning that was kept, unless the active round is newer than it."""
        active = self.rounds.active()
        kept = [t for t in self.tunings.all() if t.kept]
        if not kept or (active is not None and kept[-1].after_round < active.number):
            return None
        return kept[-1]

    def commit_count(self) -> int:
        """How many times something was committed, whatever was taken back since."""
        return self._journal.count("commit")
