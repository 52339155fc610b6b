"""Rounds of a benchmark: their inputs, and training in their own process."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import InputError
from napari_scsam.core.round_contract import (
    EVENTS_FILE,
    INPUTS_FILE,
    METRICS_FILE,
    PARTIAL,
    EventKind,
)
from scsam_train.benchmark.common import run_round
from scsam_train.benchmark.embedded import (
    CACHE_GB,
    cache_of,
    embed_all,
    found_embedded,
    own_copy,
)
from scsam_train.benchmark.plan import Candidate, Places, Plan, embeds
from scsam_train.benchmark.records import SUFFIX, key_of
from scsam_train.benchmark.scoring import choosing_members
from scsam_train.benchmark.semi_sets import SEMI_SETS, Member, SemiSet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_scsam.core.settings import TrainSettings

# Minimum of `TrainSettings.minutes`.
MIN_MINUTES = 0.05


@dataclass(frozen=True)
class Trained:
    """A finished round, and the embedding time charged to it.

    Attributes
    ----------
    folder : Path
    embeddings : int
        Number found in the cache, charged as if the round had computed them.
    each_s : float
        Seconds per embedding.
    """

    folder: Path
    embeddings: int = 0
    each_s: float = 0.0

    @property
    def charged_s(self) -> float:
        """Seconds charged for embeddings found in the cache."""
        return self.embeddings * self.each_s

    @property
    def metrics(self) -> dict[str, Any]:
        """Content of ``metrics.json``."""
        found: dict[str, Any] = json.loads((self.folder / METRICS_FILE).read_text())
        return found

    def curve(self) -> list[dict[str, Any]]:
        """Return mean Dice by member on the choosing cases, by fraction of the round."""
        lines = (self.folder / EVENTS_FILE).read_text().splitlines()
        events = [json.loads(line) for line in lines]
        return [
            {
                "fraction": event["fraction"],
                "dice": {m: s["mean"] for m, s in event["dice"].items()},
            }
            for event in events
            if event["event"] == EventKind.VALIDATION
        ]


@dataclass(frozen=True)
class Job:
    """A candidate with a seed, on the members of a data set.

    Attributes
    ----------
    places : Places
    plan : Plan
    candidate : Candidate
    seed : int
    """

    places: Places
    plan: Plan
    candidate: Candidate
    seed: int

    @property
    def chosen(self) -> SemiSet:
        """The data set."""
        return SEMI_SETS[self.plan.set]

    @cached_property
    def split(self) -> tuple[list[Member], list[Member], list[Member]]:
        """Labelled, unlabelled and tested members."""
        plan = self.plan
        return self.chosen.split(self.places.data, plan.labels, self.seed, plan.evaluate_on)

    @cached_property
    def choosing(self) -> list[Member]:
        """Tested members that choose weights and the best member."""
        return choosing_members(self.chosen, self.split[2], self.seed)

    @property
    def settings(self) -> list[TrainSettings]:
        """Settings of each of its rounds."""
        base = self.chosen.settings
        return [part.settings(self.plan, base, self.seed) for part in self.candidate.parts]

    @cached_property
    def stem(self) -> str:
        """Stem of its record and folder, including its key."""
        labelled, unlabelled, tested = self.split
        roles = {"labelled": labelled, "unlabelled": unlabelled, "tested": tested}
        key = key_of(
            self.chosen,
            self.settings,
            {**roles, "judges": self.choosing},
            name=self.candidate.name,
            threads=self.plan.threads,
        )
        kind = self.candidate.title.replace(", ", "-").replace("+", "-")
        return f"{self.plan.set}-{self.plan.labels}-{kind}-{self.seed}-{key}"

    @property
    def record(self) -> Path:
        """Path of its record."""
        return self.places.results / f"{self.stem}{SUFFIX}"

    @property
    def cache(self) -> Path | None:
        """Folder of embeddings for its models; None if they need none."""
        return cache_of(self.places.out) if any(map(embeds, self.settings)) else None

    def parts(self) -> list[Job]:
        """Return its rounds as jobs."""
        return [replace(self, candidate=part) for part in self.candidate.parts]


def train(job: Job, on_done: Callable[[str], None]) -> Trained:
    """Train the job's round, resume it if it was interrupted, or return the finished one.

    Raises
    ------
    InputError
        If the embeddings alone are charged with more than the minutes.
    ScsamError
        If the round fails.
    """
    (settings,) = job.settings
    labelled, unlabelled, _ = job.split
    out, count, each = job.places.out, found_embedded(settings, labelled, unlabelled), 0.0
    if count:
        members = job.chosen.members(job.places.data, job.plan.evaluate_on)
        each = embed_all(out, job.chosen.name, members, on_done)
    minutes = settings.minutes
    if minutes is not None:
        minutes = _left(minutes, count, each)
    timed = replace(settings, minutes=minutes)
    folder = out / "runs" / job.stem / "0001"
    if folder.is_dir():
        return Trained(folder, count, each)
    with own_copy(cache_of(out), folder.with_name("cache")) as own:
        inputs = inputs_of(job.chosen, labelled, unlabelled, job.choosing, timed, own)
        train_in(folder, inputs, job.plan.threads)
    return Trained(folder, count, each)


def _left(minutes: float, count: int, each: float) -> float:
    """Return the minutes of a run that are left after its embeddings."""
    charged = count * each / 60
    if minutes - charged < MIN_MINUTES:
        raise InputError(
            f"{minutes:g} minutes are too few: {count} embeddings alone are charged with "
            f"{charged:.1f} minutes. Give more, or a budget in pictures."
        )
    return round(minutes - charged, 2)


def inputs_of(
    chosen: SemiSet,
    labelled: Sequence[Member],
    unlabelled: Sequence[Member],
    choosing: Sequence[Member],
    settings: TrainSettings,
    cache: Path | None,
    parent: Path | None = None,
) -> str:
    """Return ``inputs.json`` of a first round, or of one that continues from `parent`."""
    images = [member.as_input(labelled=True) for member in labelled]
    images += [member.as_input(labelled=True) for member in choosing]
    images += [member.as_input(labelled=False) for member in unlabelled]
    classes = [{"id": id, "name": name, "colour": "#ff0000"} for id, name in chosen.classes.items()]
    return json.dumps(
        {
            "schema": 1,
            "round": 1 if parent is None else 2,
            "project": chosen.name,
            "modality": "other",
            "classes": classes,
            "images": images,
            "held_out": [member.name for member in choosing],
            "parent_round": parent and {"number": 1, "folder": str(parent)},
            "cache": str(cache),
            "cache_gb": CACHE_GB,
            "settings": settings.to_dict(),
        }
    )


def train_in(folder: Path, inputs: str, threads: int | None) -> Path:
    """Train or resume a round in its own process; return its folder."""
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}{PARTIAL}")
        partial.mkdir(parents=True, exist_ok=True)
        (partial / INPUTS_FILE).write_text(inputs)
        run_round(partial, threads)
    return folder
