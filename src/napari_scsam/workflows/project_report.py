"""What was labelled in a project and what it cost, from its journal and labels alone."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from napari_scsam.project.image_queue import plane_total
from napari_scsam.project.ranking import picks
from napari_scsam.project.tags import read_tags
from napari_scsam.workflows import agreement, check_estimate
from napari_scsam.workflows.acceptance import acceptance_fall, accepted_share
from napari_scsam.workflows.effort import IN_WINDOW, Step, cost, progress, steps
from napari_scsam.workflows.sizes import Size, sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from napari_scsam.project import Project

ReportBy = Literal["round", "size", "annotator", "tag"]
Key = TypeVar("Key", bound="Hashable")


def collect_report(project: Project, by: ReportBy = "round") -> dict[str, Any]:
    """Collect everything that the report shows, as plain values.

    Parameters
    ----------
    project : Project
        May be open read-only; the images' files are not needed.
    by : {'round', 'size', 'annotator', 'tag'}
        How the effort is grouped: by the round that was active, by the size of the labelled
        structures (thirds), by who made the commits, or by the tags of the images.

    Returns
    -------
    dict
        Described in docs/howto/cohort.md.
    """
    events = project.events()
    made, (measured, problems) = steps(events), sizes(project)
    checks, unread = check_estimate.CheckReader().read(project)
    compared, unreadable = agreement.compare_opinions(project)
    names = {record.id: record.name for record in project.images()}
    classes = {c.id: c.name for c in project.classes}
    return {
        "project": project.name,
        "classes": list(classes.values()),
        "totals": _totals(project),
        "over_time": [asdict(moment) for moment in progress(events)],
        "by": by,
        "effort": _effort(made, _grouping(by, measured, project)),
        "images": [
            {
                "image": image,
                "name": names.get(image, image),
                "rounds": sorted({step.round for step in own if step.round is not None}),
                "annotators": sorted({step.by for step in own if step.by}),
                **_figures(own),
            }
            for image, own in _grouped(made, lambda step: step.image).items()
        ],
        "annotators": _annotators(made),
        "sizes": [
            {**asdict(one), "name": names[one.image], "class": classes[one.class_id]}
            for one in measured
        ],
        "rounds": [
            {"number": r.number, "active": r.active, "reason": r.reason, "dice": _dice(r.metrics)}
            for r in project.rounds()
        ],
        "picks": _counted(p.entry.strategy for p in picks(project)),
        "random_checks": check_estimate.as_report(checks, classes),
        "agreement": agreement.as_report(compared, classes),
        "notes": [
            *filter(None, [acceptance_fall(made)]),
            *dict.fromkeys([*problems, *unread, *unreadable]),
        ],
    }


def _totals(project: Project) -> dict[str, int]:
    planes, images = project.all_committed_planes(), project.images()
    committed = [len(planes.get(image.id, ())) for image in images]
    return {
        "images": len(images),
        "labelled_images": sum(map(bool, committed)),
        "slices": sum(map(plane_total, images)),
        "labelled_slices": sum(committed),
        "skipped_slices": len(project.skipped()),
    }


def _annotators(made: Sequence[Step]) -> list[dict[str, Any]]:
    """Return the effort of each annotator with each round."""
    groups = _grouped(made, lambda step: (step.by, step.round))
    ordered = sorted(groups, key=lambda group: (group[0], group[1] or 0))
    return [{"annotator": by, "round": n, **_figures(groups[by, n])} for by, n in ordered]


def _effort(made: Sequence[Step], group_of: Callable[[Step], str]) -> list[dict[str, Any]]:
    groups = _grouped(made, group_of)
    return [{"group": group, **_figures(own)} for group, own in groups.items()]


def _figures(made: Sequence[Step]) -> dict[str, Any]:
    """Return the effort of some commits; None where nothing is known."""
    in_window = [step for step in made if step.source in IN_WINDOW]
    suggested = [step for step in made if step.suggested]
    timed = [step.seconds for step in made if step.seconds is not None]
    each, actions = cost(made), sum(step.actions for step in in_window)
    return {
        "commits": len(made),
        "from_files": sum(1 for step in made if step.source == "mask"),
        "actions": actions,
        "actions_each": actions / len(in_window) if in_window else None,
        "seconds_each": median(timed) if timed else None,
        "slices": each.slices,
        "actions_a_slice": each.actions,
        "seconds_a_slice": each.seconds,
        "suggested": len(suggested),
        "accepted": accepted_share(suggested),
    }


def _grouping(by: ReportBy, measured: Sequence[Size], project: Project) -> Callable[[Step], str]:
    if by == "round":
        return lambda step: (
            "before the first round" if step.round is None else f"round {step.round}"
        )
    if by == "annotator":
        return lambda step: step.by or "nobody named"
    if by == "tag":
        tags = read_tags(project)
        return lambda step: ", ".join(tags.get(step.image, ())) or "no tag"
    totals: dict[str, float] = defaultdict(float)
    for one in measured:
        totals[one.image] += one.size
    ordered = sorted(totals, key=lambda image: (totals[image], image))
    thirds = ("small", "medium", "large")
    third = {image: thirds[3 * at // len(ordered)] for at, image in enumerate(ordered)}
    return lambda step: third.get(step.image, "nothing labelled")


def _grouped(made: Sequence[Step], key: Callable[[Step], Key]) -> dict[Key, list[Step]]:
    groups: dict[Key, list[Step]] = defaultdict(list)
    for step in made:
        groups[key(step)].append(step)
    return dict(groups)


def _dice(metrics: Mapping[str, Any]) -> float | None:
    value = ((metrics.get("dice") or {}).get("pair") or {}).get("mean")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _counted(strategies: Iterable[str]) -> dict[str, int]:
    return dict(Counter(strategies))
