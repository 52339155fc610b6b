"""Planes of the benchmarks: real scans with true masks, from a data folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import InputError
from napari_scsam.io import read_labels, read_volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.volume import Volume

# Minimum area of an object that is clicked, in px of the picture. Arbitrary.
MIN_PIXELS = 20
CARDIAC = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}


@dataclass(frozen=True, eq=False)
class Case:
    """One plane of a data set.

    Attributes
    ----------
    name : str
        Name of the file.
    group : str
        The patient; unit of the bootstrap.
    image : ndarray of shape (rows, cols) or (rows, cols, 3)
    masks : dict of str to ndarray of shape (rows, cols), bool
        True mask of each structure in the plane.
    """

    name: str
    group: str
    image: NDArray[Any]
    masks: dict[str, NDArray[np.bool_]]


def polyps(folder: Path) -> Iterator[Case]:
    """Yield the validation pictures of Kvasir-SEG."""
    for image, mask in _pairs(folder / "polyps_kvasir", "validation_*"):
        picture, truth = _read_pair(image, mask)
        yield Case(image.stem, image.stem, picture.data, _masks(truth, {1: "polyp"}))


def cardiac(folder: Path) -> Iterator[Case]:
    """Yield the middle slices of ACDC, at end diastole and end systole."""
    for image, mask in _pairs(folder / "cardiac_acdc", "*"):
        volume, truth = _read_pair(image, mask)
        at = len(truth) // 2
        masks = _masks(truth[at], CARDIAC)
        yield Case(image.name, image.name.split("_")[0], volume.data[at], masks)


def atrium(folder: Path) -> Iterator[Case]:
    """Yield slices of LA 2018 at a quarter, a half and three quarters of the atrium."""
    for image, mask in _pairs(folder / "atrium_la2018", "*"):
        volume, truth = _read_pair(image, mask)
        slices = np.flatnonzero((truth == 1).any(axis=(1, 2)))
        for share in (0.25, 0.5, 0.75):
            at = int(slices[int(share * (len(slices) - 1))])
            masks = _masks(truth[at], {1: "left atrium"})
            yield Case(f"{image.name}#{at}", image.name, volume.data[at], masks)


@dataclass(frozen=True, eq=False)
class Scan:
    """A whole volume with one object.

    Attributes
    ----------
    name : str
        Name of the file.
    image : ndarray of shape (slices, rows, cols)
    truth : ndarray of shape (slices, rows, cols), bool
    spacing : float or None
        Distance between slices, in mm.
    """

    name: str
    image: NDArray[Any]
    truth: NDArray[np.bool_]
    spacing: float | None


def atrium_scans(folder: Path) -> Iterator[Scan]:
    """Yield the whole volumes of LA 2018."""
    for image, mask in _pairs(folder / "atrium_la2018", "*"):
        volume, truth = _read_pair(image, mask)
        yield Scan(image.name, volume.data, truth == 1, volume.plane_spacing())


SETS = {"polyps_kvasir": polyps, "cardiac_acdc": cardiac, "atrium_la2018": atrium}

# ACDC patients up to this one may be used for training; the others are tested.
LAST_TRAINING_PATIENT = "patient020"
# A picture of Kvasir-SEG with a duplicate among the test pictures.
TWIN = "train_222"


def polyps_for_training(folder: Path, count: int, rng: np.random.Generator) -> list[Case]:
    """Draw training pictures of Kvasir-SEG."""
    pairs = [p for p in _pairs(folder / "polyps_kvasir", "train_*") if _stem(p[0]) != TWIN]
    chosen = [pairs[int(i)] for i in rng.choice(len(pairs), count, replace=False)]
    return [
        Case(image.stem, image.stem, picture.data, _masks(truth, {1: "polyp"}))
        for image, (picture, truth) in ((i, _read_pair(i, m)) for i, m in chosen)
    ]


def cardiac_for_training(folder: Path, count: int, rng: np.random.Generator) -> list[Case]:
    """Draw patients of ACDC, with one middle slice each, at end diastole or end systole."""
    patients = _by_group(case for case in cardiac(folder) if case.group <= LAST_TRAINING_PATIENT)
    chosen = rng.choice(sorted(patients), count, replace=False).tolist()
    return [patients[name][int(rng.integers(len(patients[name])))] for name in chosen]


def cardiac_for_testing(folder: Path) -> Iterator[Case]:
    """Yield ACDC's middle slices of the patients that are not used for training."""
    return (case for case in cardiac(folder) if case.group > LAST_TRAINING_PATIENT)


# Volumes of LA 2018 that may be used for training; the others are tested.
TRAINING_ATRIA = 5


def atrium_for_training(folder: Path, count: int, rng: np.random.Generator) -> list[Case]:
    """Draw one slice each of random volumes among the first of LA 2018."""
    volumes = _by_group(atrium(folder))
    chosen = rng.choice(sorted(volumes)[:TRAINING_ATRIA], count, replace=False).tolist()
    return [volumes[name][int(rng.integers(len(volumes[name])))] for name in chosen]


def atrium_for_testing(folder: Path) -> Iterator[Case]:
    """Yield slices of the volumes of LA 2018 that are not used for training."""
    volumes = _by_group(atrium(folder))
    return (case for name in sorted(volumes)[TRAINING_ATRIA:] for case in volumes[name])


def _by_group(cases: Iterator[Case]) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.group, []).append(case)
    return found


# Training and test planes of each set.
TUNING_SETS = {
    "polyps_kvasir": (polyps_for_training, polyps),
    "cardiac_acdc": (cardiac_for_training, cardiac_for_testing),
    "atrium_la2018": (atrium_for_training, atrium_for_testing),
}


def _pairs(folder: Path, pattern: str) -> list[tuple[Path, Path]]:
    """Return images and their masks, which have the same stem."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: give the folder of the data with --data.")
    masks = {_stem(path): path for path in (folder / "masks").iterdir()}
    images = sorted((folder / "images").glob(pattern))
    return [(path, masks[_stem(path)]) for path in images if _stem(path) in masks]


def _read_pair(image: Path, mask: Path) -> tuple[Volume, NDArray[Any]]:
    """Read an image, and its mask on the image's grid."""
    volume = read_volume(image)
    return volume, read_labels(mask, like=volume)


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _masks(truth: NDArray[Any], names: dict[int, str]) -> dict[str, NDArray[np.bool_]]:
    found = {name: truth == value for value, name in names.items()}
    return {name: mask for name, mask in found.items() if mask.sum() >= MIN_PIXELS}
