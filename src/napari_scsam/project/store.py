"""`Project`: an open project folder."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from napari_scsam.core.labels import LabelClass, make_classes
from napari_scsam.core.project_layout import JOURNAL_FILE, PROJECT_FILE, ROUNDS_FOLDER
from napari_scsam.core.windows import Window, default_window
from napari_scsam.project import schema
from napari_scsam.project.background_backup import Backups
from napari_scsam.project.creation import abandon, create_files
from napari_scsam.project.images import Images
from napari_scsam.project.journal import Event, Journal
from napari_scsam.project.labels import Labels, Source
from napari_scsam.project.lock import take_lock
from napari_scsam.project.opening_tasks import run_opening_tasks
from napari_scsam.project.own_files import check_own_files
from napari_scsam.project.pruning import Pruned, size_on_disk
from napari_scsam.project.reserved_kinds import refuse_reserved_kind
from napari_scsam.project.skipped import SkippedSlices
from napari_scsam.project.training import Training
from napari_scsam.project.write_access import WriteAccess

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from filelock import FileLock
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.judged import Judged
    from napari_scsam.core.settings import Modality, TrainSettings, TuneSettings
    from napari_scsam.core.volume import Volume
    from napari_scsam.project.files import Paths, Progress


class Project:
    """An open project folder. It is a context manager, and may be used from several threads.

    docs/reference/project-folder.md describes the content of the folder. Create one with
    `Project.create` or `Project.open`.

    Attributes
    ----------
    notes : list of str
        What failed when it was opened, and damage that was found since; for the user.
    """

    def __init__(self, folder: Path, lock: FileLock | None) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._info = schema.read_info(folder)
        self._journal = Journal(folder / JOURNAL_FILE, read_only=lock is None)
        self._access = WriteAccess(folder, lock)
        self._labels = Labels(folder, self._journal, self._info.classes)
        self._images = Images(folder, self._journal)
        self._skipped = SkippedSlices(self._journal)
        self.notes = [self._journal.damage] if self._journal.damage else []
        self._backups = Backups(self._journal, self.notes)
        parts = (self._journal, self._backups, self._images, self._labels)
        self._training = Training(folder, *parts, self._access, self._lock)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        classes: Sequence[str],
        *,
        name: str | None = None,
        modality: Modality = "other",
    ) -> Project:
        """Create a project in a new or empty folder and open it.

        A folder in which an earlier attempt was killed counts as empty.

        Parameters
        ----------
        folder : path
            Created if it does not exist.
        classes : sequence of str
            Names of the target structures; they get the ids 1..K in this order.
        name : str, optional
            For display; the folder's name by default.
        modality : {'mr', 'ct', 'us', 'rgb', 'other'}
            The kind of images.

        Raises
        ------
        InputError
            If the classes or the modality are invalid.
        ProjectError
            If the folder is not empty, is a project, or can't be written.
        """
        folder = Path(folder).absolute()
        kind = schema.as_modality(modality)
        info = schema.ProjectInfo(
            name or folder.name, kind, make_classes(classes), default_window(kind)
        )
        lock = create_files(folder, info)
        try:
            return cls(folder, lock)
        except BaseException:
            abandon(folder, lock)
            raise

    @classmethod
    def open(cls, folder: str | Path, *, read_only: bool = False, wait: float = 0) -> Project:
        """Open a project; `notes` lists what failed without preventing it.

        A damaged journal can be opened read-only, with its undamaged events.

        Parameters
        ----------
        folder : path
        read_only : bool
            Refuse all changes; this works while another program has it open for writing.
        wait : float
            Seconds to wait for another program to close it.

        Raises
        ------
        ProjectError
            If the folder is no project, contains links, or is of a newer version.
        DamagedError
            If its journal is damaged, unless `read_only` is set.
        ReadOnlyError
            If it is open elsewhere or can't be written, unless `read_only` is set.
        """
        folder = Path(folder).absolute()
        if os.path.lexists(folder / PROJECT_FILE):
            check_own_files(folder)
        schema.read_info(folder)
        if read_only:
            return cls(folder, None)
        lock = take_lock(folder, wait)
        try:
            project = cls(folder, lock)
            project.notes += run_opening_tasks(
                project._journal, project._backups, project._labels, project._training
            )
            return project
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Close the journal and release the lock; it may be closed already."""
        self._close()
        self._access.end()

    def _close(self) -> None:
        self._backups.stop()
        self._journal.close()

    def wait_for_backup(self) -> None:
        """Wait until the background backup has ended; a short journal has none."""
        self._backups.wait()

    def discard(self) -> None:
        """Close and delete a project that was just created; files that are not its own stay."""
        self._close()
        self._access.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """The project folder, absolute."""
        return self._folder

    @property
    def name(self) -> str:
        """Name for display."""
        return self._info.name

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The class table, ids 1..K."""
        return self._info.classes

    @property
    def modality(self) -> Modality:
        """The kind of images."""
        return self._info.modality

    @property
    def window(self) -> Window:
        """The intensity window for the models, until a round has its own."""
        return self._info.window

    @property
    def cache_gb(self) -> float:
        """The largest size of the embeddings folder, in GB."""
        return self._info.cache_gb

    def change(
        self,
        *,
        window: Window | None = None,
        cache_gb: float | None = None,
        classes: Sequence[LabelClass] | None = None,
    ) -> None:
        """Change settings of the project, or none of them on any error; see `changed_info`."""
        self._access.check()
        with self._lock:
            info = schema.changed_info(self._info, window, cache_gb, classes)
            schema.write_info(self._folder, info)
            self._info = info
            self._labels.use_classes(info.classes)

    @property
    def read_only(self) -> bool:
        """Whether all changes are refused."""
        return not self._access.allowed

    def check_writable(self) -> None:
        """Raise ReadOnlyError, or ProjectError if the folder is not the one that was opened."""
        self._access.check()

    def add_images(
        self,
        paths: Paths,
        *,
        cases: Mapping[str | Path, str] | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """Add scans by reference, after reading each of them completely; see `Images.add`."""
        self._access.check()
        return self._images.add(paths, cases or {}, progress, self._lock)

    def images(self) -> list[schema.ImageRecord]:
        """All images, in the order in which they were added."""
        return self._images.all()

    def image(self, id_or_path: str | Path) -> schema.ImageRecord:
        """One image, by its ID, name or file; InputError if there is no such image."""
        return self._images.find(id_or_path)

    def volume(self, image_id: str) -> Volume:
        """Read an image's pixels; InputError if the file is missing or has changed."""
        return self._images.read(image_id)

    def image_file(self, image_id: str) -> Path:
        """The file of an image; InputError if it is gone, or not the one that was added."""
        return self._images.file(image_id)

    def commit(
        self,
        image_id: str,
        label: NDArray[np.generic],
        *,
        plane: Plane | None = None,
        mapping: Mapping[int, int] | None = None,
        judged: Collection[int] | Judged | None = None,
        source: Source | None = None,
    ) -> schema.CommitRecord:
        """Save a label map that a person has accepted, durably; see `Labels.commit`."""
        self._access.check()
        record = self.image(image_id)
        if source is not None:
            refuse_reserved_kind(source[0])
        with self._lock:
            return self._labels.commit(record, label, plane, mapping, judged, source)

    def sign(self, annotator: str | None = None) -> str:
        """Record who makes the commits from now on, if given; returns the name, or nothing."""
        self._journal.author = self._journal.author if annotator is None else annotator
        return self._journal.author

    def label(self, image_id: str, version: int | None = None) -> LabelArray | None:
        """The current label map or that of a version, uint8; see `Labels.of`."""
        return self._labels.of(self.image(image_id), version)

    def label_version(self, image_id: str) -> int | None:
        """The current version of an image's label; None without one."""
        current = self._labels.current(self.image(image_id).id)
        return None if current is None else current.version

    def labelled(self) -> dict[str, int]:
        """The current label version of every image that has a label."""
        known = {record.id for record in self._images.all()}
        return {i: version for i, version in self._labels.current_versions().items() if i in known}

    def commits(self, image_id: str) -> list[schema.CommitRecord]:
        """Every commit of an image, the oldest first."""
        return self._labels.commits(self.image(image_id).id)

    def last_commit(self, image_id: str) -> schema.CommitRecord | None:
        """The newest commit of an image, even if it was reverted; None without one."""
        return self._labels.last(self.image(image_id).id)

    def committed_planes(self, image_id: str) -> list[int]:
        """Slices (along axis 0) that are mostly annotated by the current label."""
        return list(self._labels.current_planes().get(self.image(image_id).id, ()))

    def all_committed_planes(self) -> Mapping[str, list[int]]:
        """`committed_planes` of every image that has a label; read-only."""
        return self._labels.current_planes()

    def revert(self, image_id: str, version: int | None) -> None:
        """Make an earlier or later version the current one, or none; nothing is deleted."""
        self._access.check()
        self._labels.revert(self.image(image_id).id, version)

    def record(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Record an event, in plain JSON values; ``image`` is the image that it is about."""
        self._access.check()
        refuse_reserved_kind(kind)
        self._journal.append(kind, payload, payload.get("image"))

    def events(self, kind: str | None = None, image: str | None = None) -> list[Event]:
        """All events in their order, or those of one kind or about one image."""
        return self._journal.events([] if kind is None else [kind], image)

    def skip(self, image_id: str, plane_index: int) -> None:
        """Record that a person skipped a slice."""
        self._access.check()
        self._journal.append("skip", {"plane": int(plane_index)}, self.image(image_id).id)

    def skipped(self) -> list[tuple[str, int]]:
        """(image ID, slice) of slices skipped and not committed since, the oldest first."""
        return self._skipped.all()

    def begin_round(self, settings: TrainSettings, held_out: Sequence[str | Path] = ()) -> Path:
        """Write the inputs of a new round; see `Training.begin_round`."""
        return self._training.begin_round(self._info, settings, held_out)

    def adopt_rounds(self, reason: str = "") -> list[schema.RoundRecord]:
        """Add the rounds that have finished; see `Training.adopt`."""
        return self._training.adopt(reason)

    def discard_partial(self, folder: Path) -> None:
        """Rename a cancelled or failed round's folder; the next round deletes it."""
        self._access.check()
        self._training.rounds.discard(folder)

    def interrupted_round(self) -> schema.InterruptedRound | None:
        """A round whose process was killed, and that `begin_round` can resume."""
        return self._training.rounds.interrupted()

    def rounds(self) -> list[schema.RoundRecord]:
        """Every finished round, the first one first."""
        return self._training.rounds.all()

    def active_round(self) -> schema.RoundRecord | None:
        """The round whose models make the suggestions; None before the first round."""
        return self._training.rounds.active()

    def promote(self, number: int) -> schema.RoundRecord:
        """Make a round the active one; ProjectError if it does not exist or is damaged."""
        self._access.check()
        return self._training.rounds.promote(number)

    def rollback(self) -> schema.RoundRecord:
        """Return to the round that was active before; ProjectError if there was none."""
        self._access.check()
        return self._training.rounds.rollback()

    def round_bytes(self, number: int) -> int:
        """The disk space of a finished round in bytes; 0 if its folder is missing."""
        return size_on_disk(self._folder / ROUNDS_FOLDER / f"{number:04d}")

    def prune_rounds(self, keep: int) -> Pruned:
        """Remove the weights of all but the newest `keep` rounds; see `Training.prune`."""
        return self._training.prune(keep)

    def begin_tuning(self, settings: TuneSettings) -> Path:
        """Write the inputs of a tuning of SAM's decoder; see `Training.begin_tuning`."""
        return self._training.begin_tuning(self._info, settings)

    def adopt_tunings(self) -> None:
        """Delete failed tunings, and all but the last few finished ones."""
        self._access.check()
        self._training.tunings.tidy()

    def tunings(self) -> list[schema.TunedRecord]:
        """The last few finished tunings, the oldest first; damaged ones are left out."""
        return self._training.tunings.all()

    def active_tuning(self) -> schema.TunedRecord | None:
        """The last tuning that was kept; without one, the last that can suggest."""
        return self._training.active_tuning()

    def commit_count(self) -> int:
        """The number of commits, including those that were reverted."""
        return self._training.commit_count()
