"""The queue: all open images of a project in the order worth labelling."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.jobs import CancelToken, ProgressFn, ignore_progress
from napari_scsam.core.settings import STRATEGY_TITLES
from napari_scsam.models import ranking
from napari_scsam.project.ranking import QueueEntry, RankedQueue, ranking_folder, write_queue
from napari_scsam.workflows.measuring import Measuring
from napari_scsam.workflows.ranking_cost import SHORTLIST, RankingCost, keep_rates, ranking_cost
from napari_scsam.workflows.ranking_inputs import OpenImage, labelled_images, needs_of, open_images
from napari_scsam.workflows.slice_signals import DISAGREEMENT, FEATURES, Tools
from napari_scsam.workflows.workers import Pool, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from napari_scsam.core.settings import Device, RankStrategy
    from napari_scsam.models import Doubt
    from napari_scsam.project import Project


@dataclass(frozen=True)
class RankOptions:
    """How to rank.

    Attributes
    ----------
    strategy : str
    seed : int
        Of the random picks and of the noise.
    device : {'auto', 'cpu', 'cuda', 'mps'}
    workers : Workers
    """

    strategy: RankStrategy = "hybrid"
    seed: int = 0
    device: Device = "auto"
    workers: Workers = field(default_factory=Workers)


@dataclass(frozen=True)
class Unreadable:
    """An open image that was passed over.

    Attributes
    ----------
    image, name : str
    why : str
    """

    image: str
    name: str
    why: str


@dataclass(frozen=True)
class Ranked:
    """A queue and how it was made.

    Attributes
    ----------
    queue : RankedQueue
    unreadable : tuple of Unreadable
    measured : int
        Images that were read for it; the others were known from before.
    seconds : float
    notes : tuple of str
        For the person.
    """

    queue: RankedQueue
    unreadable: tuple[Unreadable, ...]
    measured: int
    seconds: float
    notes: tuple[str, ...] = ()


def as_strategy(name: str) -> RankStrategy:
    """Check a strategy's name; InputError if there is no such strategy."""
    for strategy in STRATEGY_TITLES:
        if name == strategy:
            return strategy
    raise InputError(f"A strategy is one of {', '.join(STRATEGY_TITLES)}; got {name!r}.")


def rank(
    project: Project,
    options: RankOptions | None = None,
    progress: ProgressFn = ignore_progress,
    cancel: CancelToken | None = None,
    announce: Callable[[RankingCost], None] | None = None,
) -> Ranked:
    """Rank the open images of a project, and store the queue in its cache.

    Every open image is in it once, a volume with the slice most worth labelling; images that
    can't be read are named apart. What is measured is kept, so that the next ranking, or one that
    was interrupted, only reads what is new. The project may be open read-only.

    Parameters
    ----------
    project : Project
    options : RankOptions, optional
    progress : callable
    cancel : CancelToken, optional
    announce : callable, optional
        Gets what it will cost in one process, before anything is read.

    Raises
    ------
    InputError
        If another process is ranking the project.
    ProjectError
        If the strategy needs a round and there is none.
    ModelError
        If the active round can't be used for the strategy.
    Cancelled
        If `cancel` was called; what was measured is kept.
    """
    options = options or RankOptions()
    started = time.monotonic()
    active = project.active_round()
    needs = needs_of(options.strategy, active, project)
    with _place(project) as (root, notes), Pool(options.workers) as pool:
        pool.check()
        if announce is not None:
            announce(ranking_cost(project, options.strategy))
        tools = Tools(project.window.name, active.folder if active else None, options.device)
        measuring = Measuring(root, tools, pool, progress, cancel or CancelToken())
        measuring.merge()
        job = _Job(project, options, needs, measuring)
        entries = tuple(job.entry(pick) for pick in job.picks())
        queue = RankedQueue(options.strategy, active.number if active else None, entries)
        notes += measuring.notes
        if root is not None:
            keep_rates(root, measuring.rates)
        notes += _stored(project.folder, queue) if root is not None else []
    names = {record.id: record.name for record in project.images()}
    return Ranked(
        queue,
        tuple(Unreadable(i, names[i], why) for i, why in measuring.problems.items()),
        measuring.measured,
        time.monotonic() - started,
        tuple(notes),
    )


class _Job:
    """One ranking: measures what the strategy needs, and applies it."""

    def __init__(
        self,
        project: Project,
        options: RankOptions,
        needs: tuple[str, ...],
        measuring: Measuring,
    ) -> None:
        self._project, self._options = project, options
        self._needs, self._measuring = needs, measuring
        self._names = {c.id: c.name for c in project.classes}
        self._images = {one.record.id: one for one in open_images(project)}
        self._labelled = ranking.Labelled()

    def picks(self) -> list[ranking.Pick]:
        """Measure and rank; images that were skipped, and blank ones, come last."""
        each = tuple(name for name in self._needs if name != DISAGREEMENT)
        images = [(one.record, one.planes) for one in self._images.values()]
        self._measuring.measure(images, each, "Reading")
        if FEATURES in self._needs:
            self._labelled = self._measured_labels()
        fresh = [one for one in self._readable() if not one.skipped]
        skipped = [one for one in self._readable() if one.skipped]
        later = [replace(p, reason=f"skipped before; {p.reason}") for p in self._ranked(skipped)]
        return [*self._ranked(fresh), *later, *self._blank()]

    def entry(self, pick: ranking.Pick) -> QueueEntry:
        """Return a pick as it is stored, with the other slices of a volume in their order."""
        volume = len(self._images[pick.image].record.shape) == 3
        slices = self._slices([self._images[pick.image]]) if volume else []
        return QueueEntry(
            pick.image,
            pick.plane if volume else None,
            None if pick.score is None else round(pick.score, ranking.DECIMALS),
            pick.reason,
            pick.strategy,
            tuple(ranking.slice_order(slices, pick)) if volume else (),
            any(doubt.is_notable for doubt in self._doubts(pick.image, pick.plane).values()),
        )

    def _ranked(self, images: Sequence[OpenImage]) -> list[ranking.Pick]:
        picks = self._order(images)
        if DISAGREEMENT not in self._needs or not picks:
            return picks
        chosen = [pick for pick in picks if pick.score is not None][:SHORTLIST]
        shortlist = [(self._images[p.image].record, (p.plane,)) for p in chosen]
        self._measuring.measure(shortlist, (DISAGREEMENT,), "Comparing U-Net and SAM on")
        return self._order(images)

    def _order(self, images: Sequence[OpenImage]) -> list[ranking.Pick]:
        """Apply the strategy to what is known now."""
        return ranking.ordered(
            self._options.strategy,
            self._slices(images),
            self._names,
            self._labelled,
            self._options.seed,
        )

    def _slices(self, images: Sequence[OpenImage]) -> list[ranking.OpenSlice]:
        """The slices of some images that are not blank, with what was measured on them."""
        found = []
        for one in images:
            for plane in one.planes:
                features = self._measuring.features(one.record.id, plane)
                if FEATURES in self._needs and (features is None or not features.any()):
                    continue
                doubts = self._doubts(one.record.id, plane) if self._needs else {}
                found.append(ranking.OpenSlice(one.record.id, plane, features, doubts))
        return found

    def _doubts(self, image: str, plane: int) -> dict[int, Doubt]:
        """What is known of the project's classes on a slice."""
        known = self._measuring.doubts(image, plane)
        return {c: doubt for c, doubt in known.items() if c in self._names}

    def _readable(self) -> list[OpenImage]:
        return [one for i, one in self._images.items() if i not in self._measuring.problems]

    def _blank(self) -> list[ranking.Pick]:
        """Images with nothing but blank slices, which no strategy can place."""
        seen = {one.image for one in self._slices(self._readable())}
        strategy = self._options.strategy
        return [
            ranking.Pick(one.record.id, one.planes[0], 0.0, "blank: nothing to see", strategy)
            for one in self._readable()
            if one.record.id not in seen
        ]

    def _measured_labels(self) -> ranking.Labelled:
        """What is labelled, with features of its slices."""
        images = labelled_images(self._project)
        problems = dict(self._measuring.problems)
        self._measuring.measure(images, (FEATURES,), "Reading labelled")
        # A labelled image that is gone is no problem of the queue.
        self._measuring.problems = problems
        rows = [self._measuring.features(r.id, n) for r, planes in images for n in planes]
        known = [row for row in rows if row is not None and row.any()]
        return ranking.Labelled(len(images), np.stack(known)) if known else ranking.Labelled()


@contextmanager
def _place(project: Project) -> Iterator[tuple[Path | None, list[str]]]:
    """The folder of rankings, for one process at a time; None where it can't be written."""
    try:
        folder = ranking_folder(project.folder)
    except ProjectError as exc:
        yield None, [f"What was measured is not kept: {exc}"]
        return
    lock = FileLock(folder / "ranking.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as exc:
        raise InputError(
            f"{project.name} is being ranked already: wait until that has ended."
        ) from exc
    except OSError as exc:
        yield None, [f"What was measured is not kept: {exc.strerror or exc}"]
        return
    try:
        yield folder, []
    finally:
        lock.release()


def _stored(project: Path, queue: RankedQueue) -> list[str]:
    """Store the queue; what went wrong, for the person."""
    try:
        write_queue(project, queue)
    except ProjectError as exc:
        return [f"The queue is not kept: {exc}"]
    return []
