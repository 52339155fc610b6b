"""How good the suggestions are, from random slices on which they were stored before being shown."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.volume import take_plane
from napari_scsam.project.random_checks import RandomCheck, checked_slice, random_checks
from napari_scsam.project.ranking import picks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.project import CommitRecord, Project

# Of the bootstrap: resamples, the share inside the interval, and the images below which there is
# none. The number of resamples and of images is arbitrary.
RESAMPLES, INSIDE, FEWEST = 2000, 0.95, 5


@dataclass(frozen=True)
class CheckedSlice:
    """A random slice on which a suggestion was stored, and that was committed afterwards.

    Attributes
    ----------
    image : str
    plane : int
    round : int or None
        That made the suggestion.
    dice : mapping of int to float
        By class id, 0..1, of the classes that were suggested or committed on it.
    outlined : bool
        Whether anything was suggested as an outline; a question is none.
    """

    image: str
    plane: int
    round: int | None
    dice: Mapping[int, float]
    outlined: bool = True

    @property
    def mean(self) -> float | None:
        """Mean Dice over its classes; None if nothing was suggested and nothing is there."""
        return float(np.mean(list(self.dice.values()))) if self.dice else None


@dataclass(frozen=True)
class Estimate:
    """Dice on random slices.

    Attributes
    ----------
    slices : int
        On which something was suggested or committed.
    empty : int
        Further slices on which nothing was suggested, and nothing is there.
    dice : float or None
        Mean over the slices; None without any.
    low, high : float or None
        95 % interval, by a bootstrap over images; None for fewer than five.
    outlined : int
        Slices on which something was suggested as an outline.
    dice_outlined : float or None
        Mean over these; None without any.
    """

    slices: int
    empty: int
    dice: float | None
    low: float | None = None
    high: float | None = None
    outlined: int = 0
    dice_outlined: float | None = None

    @property
    def text(self) -> str:
        """In words, such as "On 24 random slices: Dice 0.91, 0.87 to 0.94".

        Where some have no outline, because there were only questions: "; 0.95 on the 23 outlined".
        """
        many = "slice" if self.slices == 1 else "slices"
        if self.dice is None:
            return "No random slice with a structure yet"
        text = f"On {self.slices} random {many}: Dice {self.dice:.2f}"
        text += "" if self.low is None else f", {self.low:.2f} to {self.high:.2f}"
        if self.dice_outlined is None or self.outlined == self.slices:
            return text
        return f"{text}; {self.dice_outlined:.2f} on the {self.outlined} outlined"


@dataclass(frozen=True)
class Checks:
    """The random slices of a project.

    Attributes
    ----------
    checked : tuple of CheckedSlice
        With a suggestion, and committed since.
    missing : int
        Committed random slices without a suggestion from before.
    open : int
        Random slices that were shown, and are not committed.
    """

    checked: tuple[CheckedSlice, ...] = ()
    missing: int = 0
    open: int = 0

    @property
    def text(self) -> str:
        """The estimate for the newest round, or for all if it has few; empty without any."""
        if not self.checked and not self.missing:
            return ""
        newest = max((c.round or 0 for c in self.checked), default=0)
        own = [c for c in self.checked if (c.round or 0) == newest]
        few = len({c.image for c in own}) < FEWEST
        shown, which = (self.checked, "") if few or not newest else (own, f"Round {newest}: ")
        found = estimate(shown)
        are = "is" if found.empty == 1 else "are"
        rest = [f"{found.empty} more {are} rightly empty"] if found.empty else []
        rest += [f"{self.missing} had no suggestion"] if self.missing else []
        return f"{which}{found.text}. {'; '.join(rest)}{'.' if rest else ''}".strip()


class CheckReader:
    """Compares the stored suggestions with the labels; keeps what did not change."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], CheckedSlice] = {}

    def read(self, project: Project) -> tuple[Checks, list[str]]:
        """Compare; not for the window's thread.

        Returns
        -------
        checks : Checks
        problems : list of str
            Labels that can't be read.
        """
        current, problems = project.labelled(), []
        last = _last_of_each(random_checks(project))
        taken = {(p.entry.image, checked_slice(p.entry)) for p in picks(project)}
        wanted = {key for key in {*last, *taken} if key[1] is not None}
        planes = project.all_committed_planes()
        done = {(i, plane) for i, plane in wanted if i in current and plane in planes.get(i, ())}
        found, missing = [], 0
        for image, keys in _by_image(done).items():
            try:
                judge = _Judge(project, image, current[image])
            except ProjectError as exc:
                problems.append(str(exc))
                continue
            for plane in keys:
                check = judge.check_before(last.get((image, plane), ()), plane)
                if check is None:
                    missing += 1
                else:
                    found.append(self._compared(judge, check))
        found.sort(key=lambda one: (one.round or 0, one.image, one.plane))
        return Checks(tuple(found), missing, len(wanted) - len(done)), problems

    def _compared(self, judge: _Judge, check: RandomCheck) -> CheckedSlice:
        key = (check.id, judge.version)
        if key not in self._known:
            dice = judge.dice(check)
            outlined = bool(check.label.any())
            self._known[key] = CheckedSlice(check.image, check.plane, check.round, dice, outlined)
        return self._known[key]


class _Judge:
    """The label of one image that is current now, read when it is first needed."""

    def __init__(self, project: Project, image: str, version: int) -> None:
        self._project, self._image, self.version = project, image, version
        self._commits = project.commits(image)
        self._label: LabelArray | None = None

    def check_before(self, checks: Sequence[RandomCheck], plane: int) -> RandomCheck | None:
        """The last check that was stored before the slice was first committed."""
        first = min(c.id for c in self._commits if _has(c, plane))
        return next((check for check in reversed(checks) if check.id < first), None)

    def dice(self, check: RandomCheck) -> dict[int, float]:
        """Dice of each class that was suggested or committed, where the label is known."""
        if self._label is None:
            self._label = self._project.label(self._image)
        assert self._label is not None  # it is the current version
        truth = take_plane(self._label, Plane(0, check.plane), self._label.ndim)
        commit = next(c for c in self._commits if c.version == self.version)
        known = truth != NOT_ANNOTATED
        found = {}
        for class_id in commit.judged.on(check.plane):
            one, other = (check.label == class_id) & known, truth == class_id
            if one.any() or other.any():
                found[class_id] = float(2 * (one & other).sum() / (one.sum() + other.sum()))
        return found


def estimate(checked: Sequence[CheckedSlice]) -> Estimate:
    """Mean Dice of some slices with a 95 % interval; images are resampled, not slices."""
    values: dict[str, list[float]] = defaultdict(list)
    for one in checked:
        if one.mean is not None:
            values[one.image].append(one.mean)
    count = sum(map(len, values.values()))
    empty = len(checked) - count
    if not count:
        return Estimate(0, empty, None)
    sums = np.array([sum(own) for own in values.values()])
    sizes = np.array([len(own) for own in values.values()])
    dice = float(sums.sum() / count)
    shown = [one.mean for one in checked if one.outlined and one.mean is not None]
    outlined = len(shown), float(np.mean(shown)) if shown else None
    if len(sums) < FEWEST:
        return Estimate(count, empty, dice, None, None, *outlined)
    drawn = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [(1 - INSIDE) / 2, (1 + INSIDE) / 2])
    return Estimate(count, empty, dice, float(low), float(high), *outlined)


def as_report(checks: Checks, names: Mapping[int, str]) -> dict[str, Any]:
    """Return the estimates as plain values: over all rounds, for each round, and each class."""
    by_round: dict[int | None, list[CheckedSlice]] = defaultdict(list)
    for one in checks.checked:
        by_round[one.round].append(one)
    by_class: dict[int, list[CheckedSlice]] = defaultdict(list)
    for one in checks.checked:
        for class_id, dice in one.dice.items():
            only = replace(one, dice={class_id: dice})
            by_class[class_id].append(only)
    return {
        "text": checks.text,
        "all": vars(estimate(checks.checked)),
        "rounds": [{"round": r, **vars(estimate(own))} for r, own in by_round.items()],
        "classes": [
            {"class": names.get(c, str(c)), **vars(estimate(own))}
            for c, own in sorted(by_class.items())
        ],
        "without_suggestion": checks.missing,
        "not_labelled": checks.open,
    }


def _last_of_each(checks: Sequence[RandomCheck]) -> dict[tuple[str, int], list[RandomCheck]]:
    found: dict[tuple[str, int], list[RandomCheck]] = defaultdict(list)
    for check in checks:
        found[check.image, check.plane].append(check)
    return dict(found)


def _by_image(keys: set[tuple[str, int | None]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for image, plane in sorted(keys, key=str):
        if plane is not None:
            found[image].append(plane)
    return dict(found)


def _has(commit: CommitRecord, plane: int) -> bool:
    return plane in commit.planes
