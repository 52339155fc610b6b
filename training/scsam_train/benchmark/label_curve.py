"""Dice by number of labels when a ranking strategy chooses what to label next."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from napari_scsam.core.errors import InputError
from napari_scsam.core.settings import RankStrategy
from napari_scsam.models import ranking
from scsam_train.benchmark.common import write_report
from scsam_train.benchmark.curve_rounds import CurveRounds
from scsam_train.benchmark.intervals import over_seeds
from scsam_train.benchmark.light_learner import LightLearner, mean_dice, read_planes
from scsam_train.benchmark.semi_sets import SEMI_SETS, Member, atrium_members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from scsam_train.benchmark.light_learner import LearnerPlane
    from scsam_train.benchmark.plan import EvaluateOn

STRATEGIES: tuple[RankStrategy, ...] = get_args(RankStrategy)
# What the others are compared with: in nnActive (arXiv 2511.19183) no method was reliably better.
BASELINE: RankStrategy = "foreground-random"
# Share of the training cases that a seed leaves out of the pool, to test on them. Arbitrary.
LEFT_OUT = 0.2
ATRIUM = "atrium_la2018"
SETS = (*SEMI_SETS, ATRIUM)


@dataclass(frozen=True)
class Plan:
    """Options of the measurement.

    Attributes
    ----------
    set : str
        One of `SETS`.
    labels : tuple of int
        Numbers of labelled slices at which the learner is fitted anew, rising.
    seeds : tuple of int
        Seeds of the pool, and of the random picks and the noise.
    strategies : tuple of str
    evaluate_on : {'training', 'validation'}
        Whether to test on the training cases that a seed leaves out of the pool, or on the
        validation cases.
    pictures : int, optional
        Budget of a whole round that is trained at each number of labels, too.
    threads : int, optional
        Torch threads of the rounds.
    """

    set: str
    labels: tuple[int, ...]
    seeds: tuple[int, ...]
    strategies: tuple[RankStrategy, ...] = STRATEGIES
    evaluate_on: EvaluateOn = "training"
    pictures: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.pictures is not None and self.set == ATRIUM:
            raise InputError(f"Whole rounds are trained on {' and '.join(SEMI_SETS)} only.")
        if not self.labels or list(self.labels) != sorted(set(self.labels)):
            raise InputError(f"The numbers of labels must rise; got {list(self.labels)}.")

    def members(self, data: Path) -> tuple[list[Member], list[Member]]:
        """Return the members for training and for validation."""
        if self.set == ATRIUM:
            return atrium_members(data)
        chosen = SEMI_SETS[self.set]
        return chosen.training_members(data), chosen.test_members(data)

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Classes of the set."""
        return (1,) if self.set == ATRIUM else tuple(SEMI_SETS[self.set].classes)


def measure(
    data: Path, out: Path, plan: Plan, on_done: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Simulate the labelling with each strategy and seed.

    Nothing is labelled at first. At each number of labels, the light learner is fitted, tested,
    and its doubts order the slices that are open; those that are first in the order are labelled
    next, one of each image. A round in the plugin would take minutes; the learner takes seconds.

    Returns
    -------
    dict
        ``plan``; ``curves``: by strategy and seed, Dice at each number of labels; ``areas``: by
        strategy, the mean over the numbers of labels and seeds (``mean``), and the difference from
        `BASELINE` with its 95 % interval over seeds (``minus_baseline``, ``interval``); ``rounds``:
        by strategy and seed, the Dice of each member of a whole round at each number of labels.
    """
    out.mkdir(parents=True, exist_ok=True)
    training, validation = plan.members(data)
    tested = validation if plan.evaluate_on == "validation" else []
    known = read_planes(out, [*training, *tested], on_done)
    on_done(f"{plan.set}: {len(known)} planes read")
    names = {member.case for member in tested}
    curves: dict[str, dict[str, list[float]]] = {name: {} for name in plan.strategies}
    rounds: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in plan.strategies}
    for seed in plan.seeds:
        pool, left_out = _split([p for p in known if p.case not in names], seed)
        testing = [p for p in known if p.case in names] or left_out
        for name in plan.strategies:
            steps = list(labelling(pool, plan, name, seed))
            curves[name][str(seed)] = [mean_dice(learner, testing) for _, learner in steps]
            dice = ", ".join(f"{value:.3f}" for value in curves[name][str(seed)])
            on_done(f"{plan.set}, seed {seed}, {name}: {dice}")
            if plan.pictures is None:
                continue
            trained = CurveRounds(out, SEMI_SETS[plan.set], plan.pictures, plan.threads, on_done)
            members = (_members_of(pool, training), _members_of(testing, [*training, *tested]))
            rounds[name][str(seed)] = [
                trained.dice(*members, labelled, seed) for labelled, _ in steps
            ]
            on_done(f"{plan.set}, seed {seed}, {name}: {rounds[name][str(seed)]}")
    found = {"plan": asdict(plan), "curves": curves, "areas": areas(curves)}
    return found if plan.pictures is None else found | {"rounds": rounds}


def labelling(
    pool: Sequence[LearnerPlane], plan: Plan, strategy: RankStrategy, seed: int
) -> Iterator[tuple[tuple[LearnerPlane, ...], LightLearner]]:
    """Label the pool in the order of a strategy.

    Yields
    ------
    labelled : tuple of LearnerPlane
        At each number of labels.
    learner : LightLearner
        Fitted on them.
    """
    labelled: list[LearnerPlane] = []
    learner: LightLearner | None = None
    for count in plan.labels:
        while len(labelled) < count:
            chosen = _next(pool, labelled, learner, strategy, seed)[: count - len(labelled)]
            if not chosen:
                raise InputError(f"{plan.set} has only {len(labelled)} slices to label.")
            labelled += chosen
        learner = LightLearner.fit(labelled, plan.class_ids)
        yield tuple(labelled), learner


def areas(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """Return the mean height of each strategy's curves, and its difference from the baseline."""
    found: dict[str, Any] = {}
    base = {seed: float(np.mean(dice)) for seed, dice in curves.get(BASELINE, {}).items()}
    for name, by_seed in curves.items():
        heights = {seed: float(np.mean(dice)) for seed, dice in by_seed.items()}
        differences = [heights[seed] - base[seed] for seed in heights if seed in base]
        found[name] = {
            "mean": float(np.mean(list(heights.values()))),
            "minus_baseline": float(np.mean(differences)) if differences else None,
            "interval": over_seeds(differences) if name != BASELINE else None,
        }
    return found


def write(out: Path, report: dict[str, Any]) -> None:
    """Write ``label-curve-SET.json`` and ``.md``."""
    write_report(out, f"label-curve-{report['plan']['set']}", report, markdown(report))


def markdown(report: dict[str, Any]) -> str:
    """Return a table with a row for each strategy."""
    plan = report["plan"]
    counts = " | ".join(str(count) for count in plan["labels"])
    lines = [
        f"{plan['set']}: Dice of a light learner by number of labelled slices, "
        f"{len(plan['seeds'])} seeds, {plan['evaluate_on']} cases. Area: the mean of a row.",
        "",
        f"| strategy | {counts} | area | minus {BASELINE} | 95 % over seeds |",
        "|---" * (len(plan["labels"]) + 4) + "|",
    ]
    for name, row in report["areas"].items():
        means = np.mean(list(report["curves"][name].values()), axis=0)
        dice = " | ".join(f"{value:.3f}" for value in means)
        difference = row["minus_baseline"]
        lines.append(
            f"| {name} | {dice} | {row['mean']:.3f} "
            f"| {'' if difference is None else f'{difference:+.3f}'} "
            f"| {'' if row['interval'] is None else _interval(row['interval'])} |"
        )
    return "\n".join([*lines, *_of_rounds(report)]) + "\n"


def _of_rounds(report: dict[str, Any]) -> list[str]:
    """Return a table of the whole rounds, with a row for each strategy and member."""
    if "rounds" not in report:
        return []
    plan = report["plan"]
    lines = [
        "",
        f"Dice of whole rounds of {plan['pictures']} pictures on the same slices:",
        "",
        f"| strategy | member | {' | '.join(str(count) for count in plan['labels'])} | mean |",
        "|---" * (len(plan["labels"]) + 3) + "|",
    ]
    for name, by_seed in report["rounds"].items():
        for member in next(iter(by_seed.values()))[0]:
            dice = np.mean([[one[member] for one in row] for row in by_seed.values()], axis=0)
            cells = " | ".join(f"{value:.3f}" for value in (*dice, dice.mean()))
            lines.append(f"| {name} | {member} | {cells} |")
    return lines


def _interval(found: Sequence[float]) -> str:
    return f"{found[0]:+.3f} to {found[1]:+.3f}"


def _members_of(planes: Sequence[LearnerPlane], members: Sequence[Member]) -> list[Member]:
    """Return the members that planes belong to."""
    images = {plane.image for plane in planes}
    return [member for member in members if member.name in images]


def _split(
    planes: Sequence[LearnerPlane], seed: int
) -> tuple[list[LearnerPlane], list[LearnerPlane]]:
    """Return the pool of a seed and the planes of the cases that it leaves out."""
    cases = sorted({plane.case for plane in planes})
    count = max(1, round(LEFT_OUT * len(cases)))
    left_out = set(np.random.default_rng(seed).choice(cases, count, replace=False).tolist())
    return (
        [plane for plane in planes if plane.case not in left_out],
        [plane for plane in planes if plane.case in left_out],
    )


def _next(
    pool: Sequence[LearnerPlane],
    labelled: Sequence[LearnerPlane],
    learner: LightLearner | None,
    strategy: RankStrategy,
    seed: int,
) -> list[LearnerPlane]:
    """Return the open planes in the order of the strategy, one of each image."""
    done = {(plane.image, plane.index) for plane in labelled}
    still = {
        (plane.image, plane.index): plane
        for plane in pool
        if (plane.image, plane.index) not in done
    }
    slices = [
        ranking.OpenSlice(p.image, p.index, p.pooled, learner.doubts(p) if learner else {})
        for p in still.values()
    ]
    known = ranking.Labelled()
    if labelled:
        images = len({plane.image for plane in labelled})
        known = ranking.Labelled(images, np.stack([plane.pooled for plane in labelled]))
    names = {c: str(c) for one in slices for c in one.doubts}
    # Those that need predictions begin at random.
    waits = strategy in ("entropy", "disagreement") and not names
    picks = ranking.ordered("random" if waits else strategy, slices, names, known, seed)
    return [still[pick.image, pick.plane] for pick in picks]
