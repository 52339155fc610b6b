"""`Project`: one folder, one writer, and everything that a person made in it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_scsam.core.errors import InputError, ProjectError, ReadOnlyError
from napari_scsam.core.judged import check_judged
from napari_scsam.core.labels import (
    NOT_ANNOTATED,
    LabelClass,
    as_label_array,
    make_classes,
)
from napari_scsam.core.settings import Modality, TrainSettings, TuneSettings, check_cache_gb
from napari_scsam.core.volume import Volume, take_plane
from napari_scsam.core.windows import Window, default_window
from napari_scsam.io.atomic import make_folder
from napari_scsam.project.images import Images
from napari_scsam.project.journal import Event, Journal
from napari_scsam.project.labels import MIGRATION, Labels, Source
from napari_scsam.project.lock import take_lock
from napari_scsam.project.pruning import Pruned, size_on_disk
from napari_scsam.project.rounds import Rounds, round_window
from napari_scsam.project.schema import (
    JOURNAL_FILE,
    LOCK_FILE,
    PROJECT_FILE,
    CommitRecord,
    ImageRecord,
    InterruptedRound,
    ProjectInfo,
    RoundRecord,
    TunedRecord,
    as_modality,
    read_info,
    write_info,
)
from napari_scsam.project.tunings import Tunings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from types import TracebackType

    from filelock import FileLock
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane
    from napari_scsam.project.files import Paths

_OWN_KINDS = frozenset(
    {
        "image",
        "located",
        "commit",
        "revert",
        "skip",
        "begin",
        "round",
        "promote",
        "rollback",
        "prune",
        MIGRATION,
    }
)


class Project:
    """An open project folder; a context manager, safe from several threads.

    What is in the folder is written down in docs/reference/project-folder.md.


    Make one with `Project.create` or `Project.open`.
    """

    def __init__(self, folder: Path, lock: FileLock | None) -> None:
        self._folder = folder
        self._file_lock = lock
        self._lock = threading.RLock()
        self._info = read_info(folder)
        self._journal = Journal(folder / JOURNAL_FILE, read_only=lock is None)
        self._labels = Labels(folder, self._journal, [c.id for c in self._info.classes])
        self._images = Images(folder, self._journal)
        self._rounds = Rounds(folder, self._journal)
        self._tunings = Tunings(folder)

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
        _refuse_occupied(folder)
        make_folder(folder)
        lock = take_lock(folder, wait=0)
        try:
            Journal.create(folder / JOURNAL_FILE).close()
            # Last, since it is what makes the folder a project.
            write_info(folder, info)
            return cls(folder, lock)
        except BaseException:
            lock.release()
            for file in (PROJECT_FILE, JOURNAL_FILE, LOCK_FILE):
                (folder / file).unlink(missing_ok=True)
            raise

    @classmethod
    def open(cls, folder: str | Path, *, read_only: bool = False, wait: float = 0) -> Project:
        """Open a project.

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
            If the folder is no project, is damaged, or of a newer version.
        ReadOnlyError
            If it is open elsewhere or can't be written, unless `read_only`.
        """
        folder = Path(folder).absolute()
        read_info(folder)
        if read_only:
            return cls(folder, None)
        lock = take_lock(folder, wait)
        try:
            project = cls(folder, lock)
            project._journal.back_up(folder / "backups")
            project._labels.migrate()
            project.adopt_rounds()
            project.adopt_tunings()
            project._rounds.pruning.sweep()
            return project
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Close the journal and let others write; harmless when closed."""
        self._journal.close()
        if self._file_lock is not None:
            self._file_lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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

    def change(self, *, window: Window | None = None, cache_gb: float | None = None) -> None:
        """Change settings of the project; what is left out stays.

        Raises
        ------
        InputError
            If the size is no number of GB between 0 and 10,000.
        ReadOnlyError
            If the project is open read-only.
        ProjectError
            If the disk is full or can't be written; nothing is changed then.
        """
        self._must_write()
        with self._lock:
            info = replace(
                self._info,
                window=window or self._info.window,
                cache_gb=self._info.cache_gb if cache_gb is None else check_cache_gb(cache_gb),
            )
            write_info(self._folder, info)
            self._info = info

    @property
    def read_only(self) -> bool:
        """Whether changes are refused."""
        return self._file_lock is None

    # Images

    def add_images(
        self,
        paths: Paths,
        *,
        cases: Mapping[str | Path, str] | None = None,
    ) -> list[str]:
        """Add scans by reference, after reading every one of them whole.

        Parameters
        ----------
        paths : path or sequence of path
            Files, or folders, which stand for the image files in them sorted by name.
            A file whose content is there already keeps its id; if it had moved, its
            new place is noted.
        cases : mapping of path to str, optional
            The case (patient) of files; an image without one is its own case.

        Returns
        -------
        list of str
            Ids, in the order of the paths.

        Raises
        ------
        InputError
            If any file can't be used; the one line names all of them, and none is added.
        ReadOnlyError
            If the project is open read-only.
        """
        self._must_write()
        with self._lock:
            return self._images.add(paths, cases or {})

    def images(self) -> list[ImageRecord]:
        """All images, in the order in which they were added."""
        return self._images.all()

    def image(self, id_or_path: str | Path) -> ImageRecord:
        """One image by its id or its file; InputError naming what there is."""
        return self._images.find(id_or_path)

    def volume(self, image_id: str) -> Volume:
        """Read an image's pixels, after making sure that the file is the one that was added.

        Raises
        ------
        InputError
            If the file is gone, can't be read, or its content has changed.
        """
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

        Parameters
        ----------
        image_id : str
            The image.
        label : ndarray
            Whole numbers: 0 background, class ids, 255 not annotated. On the image's
            whole grid, or of shape (rows, cols) with `plane`.
        plane : Plane, optional
            The slice (axis 0) that `label` is of. It is put into the label that
            counts now; slices that nobody committed stay 255.
        mapping : mapping of int to int, optional
            Values to replace first, such as ``{255: 1}``. A label of only 0 and 255 is
            refused without one, since most such masks mean a class by 255; where 255
            does mean "not annotated", give ``{255: 255}``.
        judged : collection of int, optional
            Ids of the classes that the person looked for; all of the class table by default.
            Any other is unknown, not absent, on what is committed: a pixel of 0 may be of it.
            Slices that are not committed now keep theirs.
        source : pair of str and mapping, optional
            Where the label came from: the kind and the payload of an event, as `record` takes
            them, that gets the image and the version, too. It is noted in the same transaction,
            so that no crash comes between the two.

        Raises
        ------
        InputError
            If shape, values, judged classes or the source's kind do not fit; nothing is written.
        ReadOnlyError
            If the project is open read-only.
        ProjectError
            If the disk is full or can't be written; the earlier label is untouched.
        """
        self._must_write()
        record = self.image(image_id)
        if source is not None:
            _refuse_own_kind(source[0])
        with self._lock:
            whole = self._whole_label(record, label, plane, mapping)
            own = whole if plane is None else take_plane(whole, plane, whole.ndim)
            ids = check_judged(judged, own, self.classes)
            index = None if plane is None else plane.index
            return self._labels.commit(record, whole, index, ids, source)

    def label(self, image_id: str) -> LabelArray | None:
        """The label map that counts now, on the image's grid.

        Returns
        -------
        ndarray of shape (rows, cols) or (slices, rows, cols), uint8, or None
            0 background, 1..K classes, 255 not annotated; None without a commit.

        Raises
        ------
        ProjectError
            If the file is gone or is not what was committed.
        """
        current = self._labels.current(self.image(image_id).id)
        return None if current is None else self._labels.read(current)

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
        """Make an earlier or later version count again (undo and redo of a commit).

        Parameters
        ----------
        image_id : str
            The image.
        version : int or None
            A committed version; None for no label at all. Nothing is deleted.

        Raises
        ------
        InputError
            If there is no such version.
        """
        self._must_write()
        self._labels.revert(self.image(image_id).id, version)

    # Decisions

    def record(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Note a decision, such as an accepted proposal.

        Parameters
        ----------
        kind : str
            What kind it is; the project's own kinds can't be taken.
        payload : mapping
            Plain JSON values; ``image`` names the image that it is about, if any.
        """
        self._must_write()
        _refuse_own_kind(kind)
        self._journal.append(kind, payload, payload.get("image"))

    def events(self, kind: str | None = None) -> list[Event]:
        """Everything that happened, in order, or what of it is of one kind."""
        return self._journal.events([] if kind is None else [kind])

    def skip(self, image_id: str, plane_index: int) -> None:
        """Note that a person passed over a slice for now."""
        self._must_write()
        self._journal.append("skip", {"plane": int(plane_index)}, self.image(image_id).id)

    def skipped(self) -> list[tuple[str, int]]:
        """(image id, slice) passed over and not committed since, the oldest first."""
        waiting: dict[tuple[str, int], None] = {}
        for event in self._journal.events(["skip", "commit"]):
            image = str(event.image)
            if event.kind == "skip":
                waiting[image, event.payload["plane"]] = None
                continue
            plane = event.payload["plane"]
            done = event.payload["planes"] if plane is None else [plane]
            for index in done:
                waiting.pop((image, index), None)
        return list(waiting)

    # Rounds

    def begin_round(self, settings: TrainSettings, held_out: Sequence[str | Path] = ()) -> Path:
        """Write down what a round will learn from: every image, and the labels that count now.

        Parameters
        ----------
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
        self._must_write()
        with self._lock:
            current = self._labels.all_current()
            images = [(record, current.get(record.id)) for record in self.images()]
            judges = {self.image(image).id for image in held_out}
            folder = self._rounds.begin(self._info, images, settings, sorted(judges))
            self._journal.back_up(self._folder / "backups")
            return folder

    def adopt_rounds(self) -> list[RoundRecord]:
        """Take in the rounds that finished since; each is checked, then promoted or not."""
        self._must_write()
        with self._lock:
            return self._rounds.adopt()

    def discard_partial(self, folder: Path) -> None:
        """Set a cancelled or failed round's folder aside until the next round starts."""
        self._must_write()
        self._rounds.discard(folder)

    def interrupted_round(self) -> InterruptedRound | None:
        """A round whose process was killed, and that `begin_round` may go on with."""
        return self._rounds.interrupted()

    def rounds(self) -> list[RoundRecord]:
        """Every finished round, the first one first."""
        return self._rounds.all()

    def active_round(self) -> RoundRecord | None:
        """The round whose models make the suggestions; None before the first."""
        return self._rounds.active()

    def promote(self, number: int) -> RoundRecord:
        """Make a round the active one; ProjectError if it does not exist or is damaged."""
        self._must_write()
        return self._rounds.promote(number)

    def rollback(self) -> RoundRecord:
        """Go back to the round that was active before; ProjectError if there was none."""
        self._must_write()
        return self._rounds.rollback()

    def round_bytes(self, number: int) -> int:
        """What a finished round takes on the disk, in bytes; 0 where its folder is gone."""
        return size_on_disk(self._folder / "rounds" / f"{number:04d}")

    def prune_rounds(self, keep: int) -> Pruned:
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
        self._must_write()
        with self._lock:
            return self._rounds.prune(keep)

    # Tuning between rounds

    def begin_tuning(self, settings: TuneSettings) -> Path:
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
        self._must_write()
        with self._lock:
            current = self._labels.all_current()
            labelled = [(r, current[r.id]) for r in self.images() if r.id in current]
            active, rounds = self.active_round(), self.rounds()
            return self._tunings.begin(
                labelled,
                settings,
                window=self.window if active is None else round_window(active.folder),
                commits=self.commit_count(),
                after_round=rounds[-1].number if rounds else 0,
            )

    def adopt_tunings(self) -> None:
        """Clear away what ended without success, and all but the last few tunings."""
        self._must_write()
        self._tunings.tidy()

    def tunings(self) -> list[TunedRecord]:
        """The last few finished tunings, the oldest first; damaged ones are left out."""
        return self._tunings.all()

    def active_tuning(self) -> TunedRecord | None:
        """The last tuning that was kept, unless the active round is newer than it."""
        active = self.active_round()
        kept = [t for t in self.tunings() if t.kept]
        if not kept or (active is not None and kept[-1].after_round < active.number):
            return None
        return kept[-1]

    def commit_count(self) -> int:
        """How many times something was committed, whatever was taken back since."""
        return len(self._journal.events(["commit"]))

    # Private

    def _must_write(self) -> None:
        if self.read_only:
            raise ReadOnlyError(
                f"The project {self._folder} is open read-only here: nothing was changed."
            )

    def _whole_label(
        self,
        record: ImageRecord,
        label: NDArray[np.generic],
        plane: Plane | None,
        mapping: Mapping[int, int] | None,
    ) -> LabelArray:
        if plane is None:
            return as_label_array(label, record.shape, self.classes, mapping)
        if plane.axis != 0:
            raise InputError(f"Slices are committed along axis 0, got {plane}.")
        whole = self.label(record.id)
        if whole is None:
            whole = np.full(record.shape, NOT_ANNOTATED, np.uint8)
        target = take_plane(whole, plane, len(record.shape))
        target[...] = as_label_array(label, target.shape, self.classes, mapping)
        return whole


def _refuse_own_kind(kind: str) -> None:
    if kind in _OWN_KINDS:
        raise InputError(f"Events of kind {kind!r} are written by the project itself.")


def _refuse_occupied(folder: Path) -> None:
    if (folder / PROJECT_FILE).exists():
        raise ProjectError(f"{folder} is a project already: open it, or name another folder.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProjectError(
            f"{folder} is not an empty folder: name a new or empty one for the project."
        )
