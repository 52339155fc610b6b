"""Data sets of `semi`: labelled, unlabelled and tested members."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam import io
from napari_scsam.core.errors import InputError
from napari_scsam.core.settings import TrainSettings
from scsam_train.benchmark.sets import CARDIAC, TRAINING_ATRIA, TWIN, _pairs, _stem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scsam_train.benchmark.plan import EvaluateOn

# Random stream of this draw, different from those for labelled and choosing cases.
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
        """Return the entry for ``inputs.json``."""
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
    """A data set and the settings of its rounds.

    Attributes
    ----------
    name : str
    classes : dict of int to str
    settings : TrainSettings
        Common settings; the plan adds recipe, seed and time.
    training_members, test_members : callable
        Return the members for training and for testing.
    to_choose : float
        Share of the tested cases that choose the best member and are not reported.
    most_tested : int
        Maximum number of tested cases, if they are taken from the training set.
    """

    name: str
    classes: dict[int, str]
    settings: TrainSettings
    training_members: Callable[[Path], list[Member]]
    test_members: Callable[[Path], list[Member]]
    to_choose: float
    most_tested: int

    def members(self, data: Path, evaluate_on: EvaluateOn = "validation") -> list[Member]:
        """Return all members used by runs."""
        tested = self.test_members(data) if evaluate_on == "validation" else []
        return [*self.training_members(data), *tested]

    def split(
        self, data: Path, labels: int, seed: int, evaluate_on: EvaluateOn = "validation"
    ) -> tuple[list[Member], list[Member], list[Member]]:
        """Return labelled, unlabelled and tested members.

        `labels` random cases are labelled, independently of `evaluate_on`. The tested cases are
        either the validation cases, or at most half of the unlabelled cases of the training set,
        which are then not trained on.

        Raises
        ------
        InputError
            If there are too few cases, or fewer than two are left for testing.
        """
        pool = self.training_members(data)
        cases = sorted({member.case for member in pool})
        if not 1 <= labels <= len(cases):
            raise InputError(
                f"{self.name} has {len(cases)} training cases in {data}; got {labels} labelled "
                f"cases."
            )
        chosen = set(np.random.default_rng(seed).choice(cases, labels, replace=False).tolist())
        labelled = [member for member in pool if member.case in chosen]
        others = [member for member in pool if member.case not in chosen]
        if evaluate_on == "validation":
            return labelled, others, self.test_members(data)
        tested = self._drawn(others, seed)
        return (
            labelled,
            [member for member in others if member.case not in tested],
            [member for member in others if member.case in tested],
        )

    def _drawn(self, others: Sequence[Member], seed: int) -> set[str]:
        """Draw the cases of the training set that are tested."""
        cases = sorted({member.case for member in others})
        count = min(self.most_tested, len(cases) // 2)
        if count < 2:  # one chooses, the other is reported
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


# ACDC patients used for training: 30 of 40.
TRAINING_PATIENTS = 30


def _cardiac(*, training: bool) -> Callable[[Path], list[Member]]:
    def find(data: Path) -> list[Member]:
        pairs = _pairs(data / "cardiac_acdc", "*")
        patients = sorted({_stem(image).split("_")[0] for image, _ in pairs})
        wanted = set(patients[:TRAINING_PATIENTS] if training else patients[TRAINING_PATIENTS:])
        return [
            Member(_stem(image), _stem(image).split("_")[0], image, mask, _planes(image))
            for image, mask in pairs
            if _stem(image).split("_")[0] in wanted
        ]

    return find


def atrium_members(data: Path) -> tuple[list[Member], list[Member]]:
    """Return the volumes of LA 2018 for training and for validation, as in `sets`."""
    members = [
        Member(_stem(image), _stem(image), image, mask, _planes(image))
        for image, mask in _pairs(data / "atrium_la2018", "*")
    ]
    return members[:TRAINING_ATRIA], members[TRAINING_ATRIA:]


@cache
def _planes(path: Path) -> int:
    return io.read_volume(path).plane_count()


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# The same for every set, so that no set gets settings fitted to it.
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
        training_members=_polyps("train_*"),
        test_members=_polyps("validation_*"),
        to_choose=0.2,
        most_tested=100,  # as many as there are validation pictures
    ),
    "cardiac_acdc": SemiSet(
        name="cardiac_acdc",
        classes=CARDIAC,
        settings=SETTINGS,
        training_members=_cardiac(training=True),
        test_members=_cardiac(training=False),
        to_choose=0.2,
        most_tested=10,  # as many as there are patients to test
    ),
}
