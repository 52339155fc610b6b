"""Pictures and hearts that `annotation_effort.py` has outlined, with their true labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.io import read_labels, read_volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Kvasir-SEG: a picture with a twin among the test pictures, and one of each near-duplicate pair.
LEFT_OUT = ("train_222", "train_667", "train_620", "train_593")
# ACDC: patients that the other benchmarks do not test on.
PATIENTS = 30


@dataclass(frozen=True, eq=False)
class Case:
    """One image.

    Attributes
    ----------
    image, mask : Path
    planes : tuple of int
        The slices to outline; 0 of a picture.
    """

    image: Path
    mask: Path
    planes: tuple[int, ...] = (0,)

    def truth(self) -> np.ndarray:
        """Return the true label, (slices, rows, cols)."""
        label = read_labels(self.mask, read_volume(self.image))
        return label.reshape(-1, *label.shape[-2:])


@dataclass(frozen=True)
class Task:
    """What is outlined.

    Attributes
    ----------
    classes : mapping of int to str
        Those to begin with first; a wall after what it holds.
    modality : str
    most_prompts : int
        Prompts of one slice for each class on it, at most; a slice that is not good enough then
        counts with them. Arbitrary.
    """

    classes: Mapping[int, str]
    modality: str
    most_prompts: int


TASKS = {
    "polyps": Task({1: "polyp"}, "rgb", 20),
    "hearts": Task({3: "left ventricle", 1: "right ventricle", 2: "myocardium"}, "mr", 10),
}


def cases(data: Path, name: str, count: int, seed: int, slices: int) -> list[Case]:
    """Draw `count` images of a task, and at most `slices` slices of each."""
    found = _polyps(data) if name == "polyps" else _hearts(data)
    chosen = np.random.default_rng(seed).permutation(len(found))[:count]
    return [_with_planes(found[int(at)], slices) for at in chosen]


def _polyps(data: Path) -> list[Case]:
    images, masks = (
        _files(data / "polyps_kvasir", "images"),
        _files(data / "polyps_kvasir", "masks"),
    )
    by_stem = {path.stem: path for path in masks}
    return [
        Case(path, by_stem[path.stem])
        for path in images
        if path.stem.startswith("train_") and path.stem not in LEFT_OUT
    ]


def _hearts(data: Path) -> list[Case]:
    """Return the first volume, at the end of the diastole, of each patient."""
    found: dict[str, Case] = {}
    for path in _files(data / "cardiac_acdc", "images"):
        mask = data / "cardiac_acdc" / "masks" / path.name
        found.setdefault(path.name.split("_")[0], Case(path, mask))
    return list(found.values())[:PATIENTS]


def _files(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / kind).iterdir())


def _with_planes(case: Case, slices: int) -> Case:
    shown: Sequence[int] = np.flatnonzero(case.truth().any((1, 2))).tolist()
    at = np.linspace(0, len(shown) - 1, min(slices, len(shown))).round().astype(int)
    return Case(case.image, case.mask, tuple(shown[int(i)] for i in at))
