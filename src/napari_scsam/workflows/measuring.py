"""Measuring many images for the ranking: what is missing, where, and how far it is."""

from __future__ import annotations

import hashlib
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.jobs import Progress
from napari_scsam.core.round_contract import MANIFEST_FILE
from napari_scsam.models import ranking
from napari_scsam.project.files import hash_file
from napari_scsam.workflows.slice_signals import (
    DISAGREEMENT,
    DOUBTS,
    FEATURES,
    UNITS,
    Measured,
    Work,
    doubts_in,
    measure,
    stamp_of,
)
from napari_scsam.workflows.slice_table import SliceTable
from napari_scsam.workflows.workers import Pool, Workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_scsam.core.arrays import FloatArray
    from napari_scsam.core.jobs import CancelToken, ProgressFn
    from napari_scsam.models import Doubt
    from napari_scsam.project import ImageRecord
    from napari_scsam.workflows.slice_signals import Tools

# Results are kept after so many images, or seconds: what a kill can lose. Arbitrary.
KEPT_EACH, KEPT_AFTER_S = 32, 10.0
# Images after which the time that is left is estimated. Arbitrary.
ESTIMATED_AFTER = 8

Planes = tuple[int, ...]


class Measuring:
    """Measures images, unless it is known from before.

    Parameters
    ----------
    root : Path or None
        Folder in the cache; None: nothing is kept.
    tools : Tools
    pool : Pool
    progress : callable
    cancel : CancelToken

    Attributes
    ----------
    problems : dict of str to str
        By image id: why it could not be measured.
    notes : list of str
        For the person, such as that the disk is full.
    measured : int
        Number of images that were read.
    rates : dict of str to float
        Seconds for a slice, by what was measured together (`rate_name`), where enough was.
    """

    def __init__(
        self,
        root: Path | None,
        tools: Tools,
        pool: Pool,
        progress: ProgressFn,
        cancel: CancelToken,
    ) -> None:
        self._tools, self._pool = tools, pool
        self._progress, self._cancel = progress, cancel
        names = [FEATURES, *((DOUBTS, DISAGREEMENT) if tools.round_folder else ())]
        self._tables = {n: SliceTable(root, _table_name(n, tools), UNITS[n]) for n in names}
        self.problems: dict[str, str] = {}
        self.notes: list[str] = []
        self.measured = 0
        self.rates: dict[str, float] = {}

    def merge(self) -> None:
        """Merge the files of what is known; only for who holds the ranking's lock."""
        for table in self._tables.values():
            table.merge()

    def missing(
        self, images: Sequence[tuple[ImageRecord, Planes]], names: Sequence[str]
    ) -> list[Work]:
        """Return what has not been measured yet; images that are gone are left out."""
        found = (self._work(record, planes, names) for record, planes in images)
        return [work for work in found if work is not None]

    def measure(
        self, images: Sequence[tuple[ImageRecord, Planes]], names: Sequence[str], what: str
    ) -> None:
        """Measure what is missing of some slices.

        Parameters
        ----------
        images : sequence of (ImageRecord, slice numbers)
        names : sequence of str
            What to measure.
        what : str
            For the progress, such as "Reading".
        """
        works = self.missing(images, names)
        if not works:
            return
        function = partial(measure, tools=self._tools)
        clock = _Clock()
        with closing(self._pool.results(function, works, self._cancel, _lost)) as todo:
            self._take_in(todo, len(works), f"{what} {len(works)} of {_images(len(images))}", clock)
        if clock.rate is not None and self._pool.workers == Workers():
            self.rates[rate_name(names)] = clock.rate

    def _take_in(self, todo: Iterator[Measured], total: int, text: str, clock: _Clock) -> None:
        """Keep results from time to time, and all of them whatever happens."""
        self._progress(Progress(0.0, text))
        kept = time.monotonic()
        waiting: list[Measured] = []
        try:
            for number, done in enumerate(todo, start=1):
                waiting.append(done)
                now = time.monotonic()
                if len(waiting) >= KEPT_EACH or now - kept > KEPT_AFTER_S:
                    self._keep(waiting)
                    waiting, kept = [], now
                clock.add(now, len(done.planes))
                left = _left(clock.seconds, number, total)
                self._progress(Progress(number / total, text + left))
        finally:
            self._keep(waiting)

    def doubts(self, image: str, plane: int) -> dict[int, Doubt]:
        """What is known of the classes on a slice; empty if nothing is."""
        return doubts_in(self._row(DOUBTS, image, plane), self._row(DISAGREEMENT, image, plane))

    def features(self, image: str, plane: int) -> FloatArray | None:
        """Pooled features of a slice; None if they were not measured."""
        return self._row(FEATURES, image, plane)

    def _row(self, name: str, image: str, plane: int) -> FloatArray | None:
        table = self._tables.get(name)
        return None if table is None else table.row(image, plane)

    def _work(self, record: ImageRecord, planes: Planes, names: Sequence[str]) -> Work | None:
        """What is missing of an image; None if nothing is, or its file is gone."""
        try:
            stamp = stamp_of(record.path)
        except OSError:
            self.problems[record.id] = f"The image {record.name} is no longer at {record.path}."
            return None
        missing = tuple(n for n in names if not self._tables[n].has(record.id, planes, stamp))
        return Work(record, planes, missing) if missing and planes else None

    def _keep(self, found: Sequence[Measured]) -> None:
        """Take in results; if the disk can't be written, they are only in memory."""
        self.measured += len(found)
        self.problems |= {one.image: one.problem for one in found if one.problem}
        for name, table in self._tables.items():
            rows = [
                (one.image, plane, one.stamp, vector)
                for one in found
                if name in one.values
                for plane, vector in zip(one.planes, one.values[name], strict=True)
            ]
            try:
                table.add(rows)
            except ProjectError as exc:
                self.notes = [f"What was measured is not kept: {exc}"]


class _Clock:
    """Times results; the first one, which includes loading the models, says nothing."""

    def __init__(self) -> None:
        self._started: float | None = None
        self._images = self._slices = 0
        self.seconds = 0.0

    def add(self, now: float, slices: int) -> None:
        """Count one image, with so many slices."""
        if self._started is None:
            self._started = now
            return
        self.seconds = now - self._started
        self._images += 1
        self._slices += slices

    @property
    def rate(self) -> float | None:
        """Seconds for a slice; None if too little was measured."""
        if self._images < ESTIMATED_AFTER or not self._slices:
            return None
        return self.seconds / self._slices


def rate_name(names: Sequence[str]) -> str:
    """Return the key in `Measuring.rates` of what is measured together."""
    return "+".join(names)


def _lost(work: Work) -> Measured:
    problem = f"The worker processes that read {work.record.name} died: is memory short?"
    return Measured(work.record.id, problem=problem)


def _table_name(name: str, tools: Tools) -> str:
    """Name a table by what its values depend on."""
    if name == FEATURES:
        return f"features-{ranking.FEATURES_VERSION}-{_short_hash(tools.window)}"
    assert tools.round_folder is not None
    return f"{name}-{hash_file(tools.round_folder / MANIFEST_FILE)[:16]}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _left(seconds: float, done: int, total: int) -> str:
    """Return the time that is left, in words; nothing before it can be estimated."""
    if done < ESTIMATED_AFTER:
        return ""
    minutes = round(seconds / (done - 1) * (total - done) / 60)
    return ", less than a minute left" if minutes < 1 else f", about {minutes} min left"
