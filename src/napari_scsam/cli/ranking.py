"""The command rank."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from napari_scsam.cli.opening import opened
from napari_scsam.cli.options import Json
from napari_scsam.cli.report import Report, StderrProgress
from napari_scsam.cli.signals import terminated
from napari_scsam.core.jobs import CancelToken
from napari_scsam.core.settings import Device, RankStrategy
from napari_scsam.workflows.ranking import Ranked, RankOptions
from napari_scsam.workflows.ranking import rank as rank_project
from napari_scsam.workflows.ranking_cost import RankingCost
from napari_scsam.workflows.workers import Workers

# Images that are listed for people; --json has all. Arbitrary.
MOST_LISTED = 20


def rank(
    folder: Path,
    /,
    *,
    strategy: RankStrategy = "hybrid",
    workers: int = 1,
    dask_: Annotated[str | None, Parameter(name="--dask")] = None,
    seed: int = 0,
    device: Device = "auto",
    json: Json = False,
) -> Report:
    """List the open images in the order worth labelling, each with a reason; Ctrl+C cancels.

    What is measured is kept in the project's cache, so that the next ranking only reads new images.

    Parameters
    ----------
    folder
        The project folder.
    strategy
        hybrid: images that represent the others, with a round every third by doubt of the models,
        and 15 % at random as a check. The others are single criteria for comparison.
    workers
        Processes on this machine, each with one thread.
    dask_
        Address of a running dask scheduler, such as tcp://10.0.0.1:8786. Its workers must see the
        project and its images under the same paths.
    seed
        Seed of the random picks.
    device
        Where to run the models.
    """
    options = RankOptions(strategy, seed, device, Workers(workers, dask_))
    stop = CancelToken()
    with opened(folder, read_only=True) as project, StderrProgress() as progress, terminated(stop):
        ranked = rank_project(
            project, options, progress, stop, lambda cost: progress.say(_before(cost, options))
        )
        names = {record.id: record.name for record in project.images()}
    return Report(_data(ranked), _text(ranked, names), json)


def _before(cost: RankingCost, options: RankOptions) -> str:
    """What a ranking will take, which is estimated for one process only."""
    alone = options.workers == Workers()
    return cost.text if alone else f"With one process: {cost.text[0].lower()}{cost.text[1:]}"


def _data(ranked: Ranked) -> dict[str, object]:
    keys = ("image", "plane", "score", "reason", "strategy", "doubtful")
    return {
        "queue": [{key: getattr(e, key) for key in keys} for e in ranked.queue.entries],
        "strategy": ranked.queue.strategy,
        "round": ranked.queue.round,
        "unreadable": [asdict(one) for one in ranked.unreadable],
        "measured": ranked.measured,
        "seconds": round(ranked.seconds, 2),
        "notes": list(ranked.notes),
    }


def _text(ranked: Ranked, names: dict[str, str]) -> Group:
    entries = ranked.queue.entries
    table = Table("", "image", "name", "slice", "score", "reason")
    for number, entry in enumerate(entries[:MOST_LISTED], start=1):
        plane = "" if entry.plane is None else str(entry.plane)
        score = "-" if entry.score is None else f"{entry.score:.3f}"
        table.add_row(
            str(number), entry.image, escape(names[entry.image]), plane, score, escape(entry.reason)
        )
    more = len(entries) - MOST_LISTED
    lines = [f"and {more} more (--json lists all)."] if more > 0 else []
    lines += [f"Passed over: {one.name}: {one.why}" for one in ranked.unreadable]
    lines += ranked.notes
    return Group(table if entries else "No image is open.", *map(escape, lines))
