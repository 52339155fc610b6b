"""The split of labelled planes into training and held-out ones, and the unlabelled planes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import INVALID, InputError
from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED
from napari_scsam.core.round_contract import MIN_PLANES_TO_HOLD_OUT, SPLIT_FILE
from scsam_train.data import TrainPlane, spaced

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

# Minimum distance, in slices, between a held-out plane and any training plane of the same volume:
# neighbours are nearly identical.
MIN_GAP = 2


@dataclass(frozen=True)
class EarlierSplit:
    """What the parent of a round was trained on and what it was judged by, as names.

    Attributes
    ----------
    train, held_out : frozenset of str
        Planes.
    train_cases, held_out_cases : frozenset of str
    """

    train: frozenset[str] = frozenset()
    held_out: frozenset[str] = frozenset()
    train_cases: frozenset[str] = frozenset()
    held_out_cases: frozenset[str] = frozenset()

    @staticmethod
    def of_round(folder: Path | None) -> EarlierSplit:
        """Read the split of a round; an empty one for None and for a round without a readable one.

        Parameters
        ----------
        folder : Path, optional
            Folder of the round.
        """
        if folder is None:
            return EarlierSplit()
        try:
            found = json.loads((folder / SPLIT_FILE).read_text())
            cases = found["cases"]
            lists = found["train"], found["held_out"], cases["train"], cases["held_out"]
            return EarlierSplit(*(frozenset(map(str, names)) for names in lists))
        except (OSError, *INVALID):
            return EarlierSplit()


@dataclass(frozen=True)
class Split:
    """The split of the labelled planes.

    Attributes
    ----------
    train, held_out : list of TrainPlane
        Labelled planes.
    gated : bool
        Whether a promotion may depend on the held-out planes.
    reason : str
        How the planes were split, or why not.
    """

    train: list[TrainPlane]
    held_out: list[TrainPlane]
    gated: bool
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the content of split.json."""
        return {
            "train": [plane.name for plane in self.train],
            "held_out": [plane.name for plane in self.held_out],
            "cases": {"train": _cases(self.train), "held_out": _cases(self.held_out)},
            "gated": self.gated,
            "reason": self.reason,
        }


def split_planes(
    labelled: Sequence[TrainPlane],
    holdout: float,
    seed: int,
    held_out: Collection[str] = (),
    earlier: EarlierSplit | None = None,
) -> Split:
    """Hold out whole cases; for a single case, planes that are far from the others.

    The training planes contain each class that any plane has, as far as possible. What the parent
    held out stays held out, and what it was trained on is held out only where nothing else can be:
    the two rounds are compared on planes that neither has learned.

    Parameters
    ----------
    labelled : sequence of TrainPlane
    holdout : float
        Share of the cases to hold out, 0..0.9.
    seed : int
        Seed for the choice of cases.
    held_out : collection of str
        Images that the user holds out instead; validated by `napari_scsam.core.held_out`.
    earlier : EarlierSplit, optional
        Of the parent.

    Raises
    ------
    InputError
        If all planes with an object belong to the images in `held_out`.
    """
    everything, earlier = list(labelled), earlier or EarlierSplit()
    if held_out:
        return _split_as_chosen(everything, held_out)
    cases = _cases(everything)
    if holdout == 0:
        return Split(everything, [], False, "Nothing is held out, as the settings ask.")
    if len(cases) >= 2:
        count = min(len(cases) - 1, max(1, round(holdout * len(cases))))
        chosen = _drawn(everything, count, seed, earlier)
        train = [plane for plane in everything if plane.case not in chosen]
        held_out_planes = [plane for plane in everything if plane.case in chosen]
        return Split(
            train, held_out_planes, True, f"{count} of {len(cases)} labelled cases held out."
        )
    if len(everything) < MIN_PLANES_TO_HOLD_OUT:
        reason = (
            f"Only {len(everything)} labelled slices of one case: too few to hold any out, "
            "so nothing was compared."
        )
        return Split(everything, [], False, reason)
    return _split_within_case(everything, holdout, earlier)


def _split_as_chosen(planes: list[TrainPlane], held_out: Collection[str]) -> Split:
    train = [plane for plane in planes if plane.image not in held_out]
    held_out_planes = [plane for plane in planes if plane.image in held_out]
    if not any(plane.holds_object for plane in train):
        raise InputError(
            "There is nothing to learn: the labelled slices with an object are all held out. "
            "Hold out fewer images, or commit a slice with an object on another one."
        )
    if not held_out_planes:
        reason = "The labelled slices of the held-out images are constant: nothing was compared."
        return Split(train, [], False, reason)
    cases = _cases(held_out_planes)
    reason = f"{len(cases)} of {len(_cases(planes))} labelled cases held out, as you chose."
    return Split(train, held_out_planes, True, reason)


def _drawn(planes: Sequence[TrainPlane], count: int, seed: int, earlier: EarlierSplit) -> set[str]:
    """Draw cases at random, keeping at least one case with each class for training.

    The parent's held-out cases come first, then new ones, and last those it was trained on. If
    every case is the only one with some class, one case with an object is kept.
    """
    order = np.random.default_rng(seed).permutation(_cases(planes)).tolist()
    order.sort(key=lambda case: (case in earlier.train_cases, case not in earlier.held_out_cases))
    classes = {case: _classes([p for p in planes if p.case == case]) for case in order}
    chosen: set[str] = set()
    for case in order:
        others = [classes[other] for other in order if other not in chosen | {case}]
        if len(chosen) < count and classes[case] <= set().union(*others):
            chosen.add(case)
    if chosen:
        return chosen
    kept = [case for case in order if classes[case]][-1:]
    return set([case for case in order if case not in kept][:count])


def _split_within_case(planes: list[TrainPlane], holdout: float, earlier: EarlierSplit) -> Split:
    count = max(1, int(holdout * len(planes)))
    order = _inner(planes, count, earlier)
    chosen = [i for i in order if _far_from_others(planes, i, order)]
    if not chosen:
        reason = "The labelled slices of the only case are neighbours: none can test the others."
        return Split(planes, [], False, reason)
    train = [plane for i, plane in enumerate(planes) if i not in chosen]
    held_out = [planes[i] for i in chosen]
    if not _classes(held_out) <= _classes(train):
        reason = "Too few labelled slices of the only case hold each class to hold any out."
        return Split(planes, [], False, reason)
    reason = (
        f"One labelled case only: {len(chosen)} of its {len(planes)} labelled slices held out. "
        "They resemble the trained ones more than another case would."
    )
    return Split(train, held_out, True, reason)


def _inner(planes: Sequence[TrainPlane], count: int, earlier: EarlierSplit) -> list[int]:
    """Indices of inner planes, evenly spaced: the outermost show anatomy that no other does.

    The parent's held-out planes come first; planes it was trained on only if there are no others.
    """
    before = [i for i, plane in enumerate(planes) if plane.name in earlier.held_out][:count]
    known = earlier.train | earlier.held_out
    new = [i for i, plane in enumerate(planes) if plane.name not in known]
    pool = new if before or new else list(range(len(planes)))
    wanted = count - len(before) if pool else 0
    places = np.linspace(0, len(pool) - 1, wanted + 2)[1:-1]
    return sorted({*before, *(pool[int(place)] for place in places)})


def _far_from_others(planes: list[TrainPlane], chosen: int, held_out: list[int]) -> bool:
    me = planes[chosen]
    others = (p for i, p in enumerate(planes) if i not in held_out and p.image == me.image)
    return all(abs(p.index - me.index) >= MIN_GAP for p in others)


def choose_unlabelled(
    candidates: Sequence[TrainPlane], split: Split, count: int
) -> list[TrainPlane]:
    """Return evenly spaced unlabelled planes that leak nothing of the held-out ones.

    Planes of a held-out case are left out. In a case that is also trained on, only those next to
    a held-out plane are.
    """
    hidden = {p.case for p in split.held_out} - {p.case for p in split.train}
    near = {
        (plane.image, plane.index + step)
        for plane in split.held_out
        for step in range(1 - MIN_GAP, MIN_GAP)
    }
    return spaced(
        [p for p in candidates if p.case not in hidden and (p.image, p.index) not in near], count
    )


def _classes(planes: Sequence[TrainPlane]) -> set[int]:
    """The classes that are on any of the planes."""
    found = {int(value) for plane in planes for value in np.unique(plane.label)}
    return found - {BACKGROUND, NOT_ANNOTATED}


def _cases(planes: Sequence[TrainPlane]) -> list[str]:
    return sorted({plane.case for plane in planes})
