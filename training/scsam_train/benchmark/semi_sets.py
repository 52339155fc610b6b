"""The sets of `semi`: what is labelled, what is not, and what is measured."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam import io
from napari_scsam.core.errors import InputError
from napari_scsam.core.settings import TrainSettings
from scsam_train.benchmark.sets import CARDIAC, TWIN, _pairs, _stem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scsam_train.benchmark.plan import EvaluateOn

# Tells this draw apart from those that label and choose.
_TESTED_STREAM = 13


@dataclass(frozen=True)
class Member:
    """One image with its true mask.

    Attributes
    ----------
    name, case : str
    image, mask : Path
    planes : int
    """

    name: str
    case: str
    image: Path
    mask: Path
    planes: int

    @property
    def image_hash(self) -> str:
        """SHA-256 of the image's file."""
        return _sha256(self.image)

    @property
    def mask_hash(self) -> str:
        """SHA-256 of the mask's file."""
        return _sha256(self.mask)

    def as_input(self, *, labelled: bool) -> dict[str, Any]:
        """As ``inputs.json`` names it."""
        label = {"path": str(self.mask), "sha256": self.mask_hash} if labelled else None
        return {
            "id": self.name,
            "case": self.case,
            "path": str(self.image),
            "sha256": self.image_hash,
            "label": label,
        }


@dataclass(frozen=True)
class SemiSet:
    """A set and how it is learned.

    Attributes
    ----------
    name : str
    classes : dict of int to str
    settings : TrainSettings
        For it; recipe, seed and time are the plan's.
    to_learn, to_test : callable
        Members to learn from, and to measure.
    to_choose : float
        Share of the tested cases that choose the best member, and are not reported.
    most_tested : int
        Cases that are measured at most where they are taken from the training set.
    """

    name: str
    classes: dict[int, str]
    settings: TrainSettings
    to_learn: Callable[[Path], list[Member]]
    to_test: Callable[[Path], list[Member]]
    to_choose: float
    most_tested: int

    def members(self, data: Path, evaluate_on: EvaluateOn = "validation") -> list[Member]:
        """All that runs see."""
        tested = self.to_test(data) if evaluate_on == "validation" else []
        return [*self.to_learn(data), *tested]

    def split(
        self, data: Path, labels: int, seed: int, evaluate_on: EvaluateOn = "validation"
    ) -> tuple[list[Member], list[Member], list[Member]]:
        """Labelled, unlabelled and tested members.

        `labels` random cases are labelled, the same ones wherever it is measured. The tested
        ones are the validation cases; or unlabelled ones of the training set, at most half of
        them, which are then not learned from.

        Raises
        ------
        InputError
            If there are not so many cases, or fewer than two are left to be measured.
        """
        pool = self.to_learn(data)
        cases = sorted({member.case for member in pool})
        if not 1 <= labels <= len(cases):
            raise InputError(
                f"{self.name} has {len(cases)} cases to learn from in {data}; {labels} labelled "
                f"ones were asked for."
            )
        chosen = set(np.random.default_rng(seed).choice(cases, labels, replace=False).tolist())
        labelled = [member for member in pool if member.case in chosen]
        others = [member for member in pool if member.case not in chosen]
        if evaluate_on == "validation":
            return labelled, others, self.to_test(data)
        tested = self._drawn(others, seed)
        return (
            labelled,
            [member for member in others if member.case not in tested],
            [member for member in others if member.case in tested],
        )

    def _drawn(self, others: Sequence[Member], seed: int) -> set[str]:
        """Cases of the training set that are measured."""
        cases = sorted({member.case for member in others})
        count = min(self.most_tested, len(cases) // 2)
        if count < 2:  # one chooses, another is reported
            raise InputError(
                f"{len(cases)} unlabelled cases of {self.name} are too few to measure on: label "
                "fewer, or measure with --evaluate-on validation."
            )
        rng = np.random.default_rng([seed, _TESTED_STREAM])
        return set(rng.choice(cases, count, replace=False).tolist())


def _polyps(pattern: str) -> Callable[[Path], list[Member]]:
    def find(data: Path) -> list[Member]:
        pairs = _pairs(data / "polyps_kvasir", pattern)
        return [
            Member(image.stem, image.stem, image, mask, 1)
            for image, mask in pairs
            if _stem(image) != TWIN
        ]

    return find


# Patients of ACDC up to this one are learned from: 30 of 40.
LAST_TO_LEARN = 30


def _cardiac(*, learn: bool) -> Callable[[Path], list[Member]]:
    def find(data: Path) -> list[Member]:
        pairs = _pairs(data / "cardiac_acdc", "*")
        patients = sorted({_stem(image).split("_")[0] for image, _ in pairs})
        wanted = set(patients[:LAST_TO_LEARN] if learn else patients[LAST_TO_LEARN:])
        return [
            Member(_stem(image), _stem(image).split("_")[0], image, mask, _planes(image))
            for image, mask in pairs
            if _stem(image).split("_")[0] in wanted
        ]

    return find


@cache
def _planes(path: Path) -> int:
    return io.read_volume(path).plane_count()


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# For every set the same, so that none has settings of its own to fit it.
SETTINGS = TrainSettings(
    image_size=192,
    labelled_batch=4,
    unlabelled_batch=4,
    sam_batch=8,
    unet_lr=2e-3,
    unlabelled_planes=400,
    turn=True,
)

SEMI_SETS = {
    "polyps_kvasir": SemiSet(
        name="polyps_kvasir",
        classes={1: "polyp"},
        settings=SETTINGS,
        to_learn=_polyps("train_*"),
        to_test=_polyps("validation_*"),
        to_choose=0.2,
        most_tested=100,  # as many as there are validation pictures
    ),
    "cardiac_acdc": SemiSet(
        name="cardiac_acdc",
        classes=CARDIAC,
        settings=SETTINGS,
        to_learn=_cardiac(learn=True),
        to_test=_cardiac(learn=False),
        to_choose=0.2,
        most_tested=10,  # as many as there are patients to test
    ),
}
