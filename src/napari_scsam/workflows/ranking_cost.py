"""How long a ranking will take: from what is missing, and from how fast the last one was."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_scsam.core.errors import INVALID, ProjectError
from napari_scsam.core.jobs import CancelToken, ignore_progress
from napari_scsam.io.atomic import write_bytes
from napari_scsam.io.real_files import read_json
from napari_scsam.project.ranking import ranking_folder
from napari_scsam.rounds.cost_estimate import rounded_time
from napari_scsam.workflows.measuring import Measuring, rate_name
from napari_scsam.workflows.ranking_inputs import labelled_images, needs_of, open_images
from napari_scsam.workflows.slice_signals import DISAGREEMENT, DOUBTS, FEATURES, Tools
from napari_scsam.workflows.workers import Pool, Workers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_scsam.core.settings import RankStrategy
    from napari_scsam.project import Project
    from napari_scsam.workflows.slice_signals import Work

SPEED_FILE = "speed.json"
# Seconds for a slice before anything was measured, and for starting the process and loading the
# models. Assumed.
RATES = {FEATURES: 0.06, DOUBTS: 0.1, DISAGREEMENT: 1.0}
STARTING_S = 8.0  # assumed
# Images on which U-Net and SAM are compared: 28 s on two AVX2 cores, at .7 s for an embedding
# (rounds/assumed_costs.py). Arbitrary.
SHORTLIST = 40


@dataclass(frozen=True)
class RankingCost:
    """What a ranking has to do.

    Attributes
    ----------
    images : int
        Images that are read: the open ones and, for their features, the labelled ones.
    missing : int
        Those of which something has to be measured.
    seconds : float
    measured : bool
        Whether the speed is that of an earlier ranking.
    """

    images: int
    missing: int
    seconds: float
    measured: bool

    @property
    def text(self) -> str:
        """The cost in words, such as "About 2 min: 300 of 1,200 images to read"."""
        source = "" if self.measured or not self.missing else " (assumed for two cores)"
        read = f"{self.missing:,} of {_count(self.images)} to read"
        what = read if self.missing else f"{_count(self.images)}, all read before"
        return f"About {rounded_time(self.seconds)}{source}: {what}."


def ranking_cost(project: Project, strategy: RankStrategy) -> RankingCost:
    """Estimate what it takes to rank a project now; reads what the cache has of it.

    Raises
    ------
    ProjectError
        If the strategy needs a round and there is none.
    ModelError
        If the active round can't be used for the strategy.
    """
    active = project.active_round()
    needs = needs_of(strategy, active, project)
    images = [(one.record, one.planes) for one in open_images(project)]
    folder = _folder(project)
    tools = Tools(project.window.name, active.folder if active else None, "auto")
    measuring = Measuring(folder, tools, Pool(Workers()), ignore_progress, CancelToken())
    each = tuple(name for name in needs if name != DISAGREEMENT)
    works = measuring.missing(images, each) if each else []
    known = {} if folder is None else _kept(folder)
    labelled = labelled_images(project) if FEATURES in needs else []
    labels = measuring.missing(labelled, (FEATURES,))
    seconds = STARTING_S + _rate(known, each) * _slices(works)
    seconds += _rate(known, (FEATURES,)) * _slices(labels)
    if DISAGREEMENT in needs:
        compared = min(SHORTLIST, len(images))
        seconds += known.get(DISAGREEMENT, RATES[DISAGREEMENT]) * compared
    return RankingCost(
        len({record.id for record, _ in [*images, *labelled]}),
        len({work.record.id for work in [*works, *labels]}),
        seconds,
        rate_name(each) in known,
    )


def _rate(known: Mapping[str, float], names: Sequence[str]) -> float:
    """Return the seconds for a slice of what is measured together."""
    return known.get(rate_name(names), sum(RATES[name] for name in names))


def _slices(works: Sequence[Work]) -> int:
    return sum(len(work.planes) for work in works)


def keep_rates(folder: Path, rates: Mapping[str, float]) -> None:
    """Keep what a ranking was measured at; without effect if the disk can't be written."""
    if rates:
        content = json.dumps({**_kept(folder), **rates}).encode()
        with suppress(ProjectError):
            write_bytes(folder / SPEED_FILE, content)


def _folder(project: Project) -> Path | None:
    """The folder of rankings; None if it can't be written, so that nothing is kept."""
    try:
        return ranking_folder(project.folder)
    except ProjectError:
        return None


def _kept(folder: Path) -> dict[str, float]:
    try:
        return {
            str(name): float(rate)
            for name, rate in read_json(folder / SPEED_FILE).items()
            if isinstance(rate, int | float) and math.isfinite(rate) and rate > 0
        }
    except (OSError, *INVALID):
        return {}


def _count(images: int) -> str:
    return f"{images:,} image{'' if images == 1 else 's'}"
