"""`Project`: one folder, one writer, and everything that a person made in it."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from napari_scsam.core.labels import LabelClass, make_classes
from napari_scsam.core.project_layout import JOURNAL_FILE, PROJECT_FILE, ROUNDS_FOLDER
from napari_scsam.core.windows import Window, default_window
from napari_scsam.project.creation import abandon, create_files
from napari_scsam.project.images import Images
from napari_scsam.project.journal import Event, Journal
from napari_scsam.project.labels import Labels, Source
from napari_scsam.project.lock import take_lock
from napari_scsam.project.own_files import check_own_files
from napari_scsam.project.own_kinds import refuse_own_kind
from napari_scsam.project.pruning import Pruned, size_on_disk
from napari_scsam.project.schema import (
    CommitRecord,
    ImageRecord,
    InterruptedRound,
    ProjectInfo,
    RoundRecord,
    TunedRecord,
    as_modality,
    changed_info,
    read_info,
    write_info,
)
from napari_scsam.project.settling import settle
from napari_scsam.project.skipped import skipped_planes
from napari_scsam.project.training import Training
from napari_scsam.project.writing import Writing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from filelock import FileLock
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.settings import Modality, TrainSettings, TuneSettings
    from napari_scsam.core.volume import Volume
    from napari_scsam.project.files import Paths


class Project:
    """An open project folder; a context manager, safe from several threads.

    What is in the folder is written down in docs/reference/project-folder.md.

    Make one with `Project.create` or `Project.open`.

    Attributes
    ----------
    notes : list of str
        What could not be done when it was opened, such as a backup on a full disk, or damage
        that was met; for the person.
    """

    def __init__(self, folder: Path, lock: FileLock | None) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._info = read_info(folder)
        self._journal = Journal(folder / JOURNAL_FILE, read_only=lock is None)
        self._writing = Writing(folder, lock)
        self._labels = Labels(folder, self._journal, self._info.classes)
        self._images = Images(folder, self._journal)
        self._training = Training(
            folder, self._journal, self._images, self._labels, self._writing, self._lock
        )
        self.notes = [self._journal.damage] if self._journal.damage else []

    # Opening and closing

    @classmethod
    def create(
        cls,
        folder: str | Path,
        classes: Sequence[str],
        *,
        name: str | None = None,
        modality: Modality = "other",
    ) -> Project:
        """Make a project in a new or empty folder and open it.

        A folder in which an earlier attempt was killed counts as empty.

        Parameters
        ----------
        folder : path
            Made where it does not exist.
        classes : sequence of str
            Names of the target structures; they get the ids 1..K in this order.
        name : str, optional
            For display; the folder's name when left out.
        modality : {'mr', 'ct', 'us', 'rgb', 'other'}
            What kind of pictures these are.

        Raises
        ------
        InputError
            If the classes or the modality can't be used.
        ProjectError
            If the folder is not empty, is a project, or can't be written.
        """
        folder = Path(folder).absolute()
        kind = as_modality(modality)
        info = ProjectInfo(name or folder.name, kind, make_classes(classes), default_window(kind))
        lock = create_files(folder, info)
        try:
            return cls(folder, lock)
        except BaseException:
            abandon(folder, lock)
            raise

    @classmethod
    def open(cls, folder: str | Path, *, read_only: bool = False, wait: float = 0) -> Project:
        """Open a project, as far as that can be done; `notes` says what could not.

        A damaged journal is opened read-only, with its newest state that is known to be good.

        Parameters
        ----------
        folder : path
            A project folder.
        read_only : bool
            Look only; works while another program writes.
        wait : float
            Seconds to wait for another program to close it.

        Raises
        ------
        ProjectError
            If the folder is no project, holds links, or is of a newer version.
        DamagedError
            If its journal is damaged, unless `read_only`.
        ReadOnlyError
            If it is open elsewhere or can't be written, unless `read_only`.
        """
        folder = Path(folder).absolute()
        if os.path.lexists(folder / PROJECT_FILE):
            check_own_files(folder)
        read_info(folder)
        if read_only:
            return cls(folder, None)
        lock = take_lock(folder, wait)
        try:
            project = cls(folder, lock)
            project.notes += settle(project._journal, project._labels, project._training)
            return project
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Close the journal and let others write; harmless when closed."""
        self._journal.close()
        self._writing.end()

    def discard(self) -> None:
        """Close a project that was just made, and take it back; what is not its own stays."""
        self._journal.close()
        self._writing.abandon()
        with suppress(OSError):  # there is something else in it
            self._folder.rmdir()

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
        """What kind of pictures these are."""
        return self._info.modality

    @property
    def window(self) -> Window:
        """What the models see of the images' values, until a round says otherwise."""
        return self._info.window

    @property
    def cache_gb(self) -> float:
        """Size that the folder of embeddings is kept under, in GB."""
        return self._info.cache_gb

    def change(
        self,
        *,
        window: Window | None = None,
        cache_gb: float | None = None,
        classes: Sequence[LabelClass] | None = None,
    ) -> None:
        """Change settings of the project, or none of them on any error; see `changed_info`."""
        self._writing.check()
        with self._lock:
            info = changed_info(self._info, window, cache_gb, classes)
            write_info(self._folder, info)
            self._info = info
            self._labels.use_classes(info.classes)

    @property
    def read_only(self) -> bool:
        """Whether changes are refused."""
        return not self._writing.allowed

    # Images

    def add_images(
        self,
        paths: Paths,
        *,
        cases: Mapping[str | Path, str] | None = None,
    ) -> list[str]:
        """Add scans by reference, after reading every one of them whole; see `Images.add`."""
        self._writing.check()
        with self._lock:
            return self._images.add(paths, cases or {})

    def images(self) -> list[ImageRecord]:
        """All images, in the order in which they were added."""
        return self._images.all()

    def image(self, id_or_path: str | Path) -> ImageRecord:
        """One image by its id or its file; InputError naming what there is."""
        return self._images.find(id_or_path)

    def volume(self, image_id: str) -> Volume:
        """Read an image's pixels; InputError if the file is gone, or not the one that was added."""
        return self._images.read(image_id)

    # Labels

    def commit(
        self,
        image_id: str,
        label: NDArray[np.generic],
        *,
        plane: Plane | None = None,
        mapping: Mapping[int, int] | None = None,
        judged: Collection[int] | None = None,
        source: Source | None = None,
    ) -> CommitRecord:
        """Save a label map that a person says is right; it is durable when this returns.

        `label` is on the image's whole grid, or on that of `plane`; of whole numbers: 0
        background, class ids, 255 not annotated. See `Labels.commit`.
        """
        self._writing.check()
        record = self.image(image_id)
        if source is not None:
            refuse_own_kind(source[0])
        with self._lock:
            return self._labels.commit(record, label, plane, mapping, judged, source)

    def label(self, image_id: str) -> LabelArray | None:
        """The label map that counts now, uint8, on the image's grid; None without a commit.

        ProjectError if the file is gone or is not what was committed.
        """
        return self._labels.of(self.image(image_id).id)

    def label_version(self, image_id: str) -> int | None:
        """Version of the label that counts now; None without one."""
        current = self._labels.current(self.image(image_id).id)
        return None if current is None else current.version

    def labelled(self) -> dict[str, int]:
        """Version of the label that counts now, of every image that has one."""
        return self._journal.current_labels()

    def commits(self, image_id: str) -> list[CommitRecord]:
        """Every commit of an image, the oldest first."""
        return self._labels.commits(self.image(image_id).id)

    def committed_planes(self, image_id: str) -> list[int]:
        """Slices (along axis 0) most of which the label that counts now annotates."""
        current = self._labels.current(self.image(image_id).id)
        return [] if current is None else list(current.planes)

    def all_committed_planes(self) -> dict[str, list[int]]:
        """`committed_planes` of every image that has a label, read at once."""
        return {image: list(c.planes) for image, c in self._labels.all_current().items()}

    def revert(self, image_id: str, version: int | None) -> None:
        """Make an earlier or later version count again, or none; nothing is deleted."""
        self._writing.check()
        self._labels.revert(self.image(image_id).id, version)

    # Decisions

    def record(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Note a decision, in plain JSON values; ``image`` names what it is about, if any."""
        self._writing.check()
        refuse_own_kind(kind)
        self._journal.append(kind, payload, payload.get("image"))

    def events(self, kind: str | None = None) -> list[Event]:
        """Everything that happened, in order, or what of it is of one kind."""
        return self._journal.events([] if kind is None else [kind])

    def skip(self, image_id: str, plane_index: int) -> None:
        """Note that a person passed over a slice for now."""
        self._writing.check()
        self._journal.append("skip", {"plane": int(plane_index)}, self.image(image_id).id)

    def skipped(self) -> list[tuple[str, int]]:
        """(image id, slice) passed over and not committed since, the oldest first."""
        return skipped_planes(self._journal)

    # Rounds

    def begin_round(self, settings: TrainSettings, held_out: Sequence[str | Path] = ()) -> Path:
        """Write down what a round will learn from; see `Training.begin_round`."""
        return self._training.begin_round(self._info, settings, held_out)

    def adopt_rounds(self) -> list[RoundRecord]:
        """Take in the rounds that finished since; each is checked, then promoted or not."""
        return self._training.adopt()

    def discard_partial(self, folder: Path) -> None:
        """Set a cancelled or failed round's folder aside until the next round starts."""
        self._writing.check()
        self._training.rounds.discard(folder)

    def interrupted_round(self) -> InterruptedRound | None:
        """A round whose process was killed, and that `begin_round` may go on with."""
        return self._training.rounds.interrupted()

    def rounds(self) -> list[RoundRecord]:
        """Every finished round, the first one first."""
        return self._training.rounds.all()

    def active_round(self) -> RoundRecord | None:
        """The round whose models make the suggestions; None before the first."""
        return self._training.rounds.active()

    def promote(self, number: int) -> RoundRecord:
        """Make a round the active one; ProjectError if it does not exist or is damaged."""
        self._writing.check()
        return self._training.rounds.promote(number)

    def rollback(self) -> RoundRecord:
        """Go back to the round that was active before; ProjectError if there was none."""
        self._writing.check()
        return self._training.rounds.rollback()

    def round_bytes(self, number: int) -> int:
        """What a finished round takes on the disk, in bytes; 0 where its folder is gone."""
        return size_on_disk(self._folder / ROUNDS_FOLDER / f"{number:04d}")

    def prune_rounds(self, keep: int) -> Pruned:
        """Remove the weights of all but the newest `keep` rounds; see `Training.prune`."""
        return self._training.prune(keep)

    # Tuning between rounds

    def begin_tuning(self, settings: TuneSettings) -> Path:
        """Write down what SAM's decoder will be tuned on; see `Training.begin_tuning`."""
        return self._training.begin_tuning(self._info, settings)

    def adopt_tunings(self) -> None:
        """Clear away what ended without success, and all but the last few tunings."""
        self._writing.check()
        self._training.tunings.tidy()

    def tunings(self) -> list[TunedRecord]:
        """The last few finished tunings, the oldest first; damaged ones are left out."""
        return self._training.tunings.all()

    def active_tuning(self) -> TunedRecord | None:
        """The last tuning that was kept, unless the active round is newer than it."""
        return self._training.active_tuning()

    def commit_count(self) -> int:
        """How many times something was committed, whatever was taken back since."""
        return self._training.commit_count()
