"""The benchmark's planes: real scans with their true masks, from the developers' data folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import InputError
from napari_scsam.io import read_label_volume, read_volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MIN_PIXELS = 20
CARDIAC = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}


@dataclass(frozen=True, eq=False)
class Case:
    """One plane.

    Attributes
    ----------
    name : str
        Of the file.
    group : str
        The patient, the unit that is drawn in the bootstrap.
    image : ndarray of shape (rows, cols) or (rows, cols, 3)
    masks : dict of str to ndarray of shape (rows, cols), bool
        True mask of each structure that is in the plane.
    """

    name: str
    group: str
    image: NDArray[Any]
    masks: dict[str, NDArray[np.bool_]]


def polyps(folder: Path) -> Iterator[Case]:
    """Kvasir-SEG's validation pictures."""
    for image, mask in _pairs(folder / "polyps_kvasir", "validation_*"):
        truth = read_label_volume(mask).data
        yield Case(image.stem, image.stem, read_volume(image).data, _masks(truth, {1: "polyp"}))


def cardiac(folder: Path) -> Iterator[Case]:
    """ACDC's middle slices, end diastole and end systole."""
    for image, mask in _pairs(folder / "cardiac_acdc", "*"):
        volume, truth = read_volume(image).data, read_label_volume(mask).data
        at = len(volume) // 2
        yield Case(image.name, image.name.split("_")[0], volume[at], _masks(truth[at], CARDIAC))


def atrium(folder: Path) -> Iterator[Case]:
    """Slices of LA 2018 at a quarter, a half and three quarters of the atrium."""
    for image, mask in _pairs(folder / "atrium_la2018", "*"):
        volume, truth = read_volume(image).data, read_label_volume(mask).data
        slices = np.flatnonzero((truth == 1).any(axis=(1, 2)))
        for share in (0.25, 0.5, 0.75):
            at = int(slices[int(share * (len(slices) - 1))])
            masks = _masks(truth[at], {1: "left atrium"})
            yield Case(f"{image.name}#{at}", image.name, volume[at], masks)


@dataclass(frozen=True, eq=False)
class Scan:
    """A whole volume with one object.

    Attributes
    ----------
    name : str
        Of the file.
    image : ndarray of shape (slices, rows, cols)
    truth : ndarray of shape (slices, rows, cols), bool
    spacing : float or None
        Between slices, in mm.
    """

    name: str
    image: NDArray[Any]
    truth: NDArray[np.bool_]
    spacing: float | None


def atrium_scans(folder: Path) -> Iterator[Scan]:
    """LA 2018's volumes, whole."""
    for image, mask in _pairs(folder / "atrium_la2018", "*"):
        volume = read_volume(image)
        yield Scan(
            image.name, volume.data, read_label_volume(mask).data == 1, volume.plane_spacing()
        )


SETS = {"polyps_kvasir": polyps, "cardiac_acdc": cardiac, "atrium_la2018": atrium}

# Patients of ACDC up to this one may be learned from when the others are measured.
LAST_TO_LEARN = "patient020"
# A picture of Kvasir-SEG that has a twin among others' test pictures.
TWIN = "train_222"


def polyps_to_learn(folder: Path, count: int, rng: np.random.Generator) -> list[Case]:
    """Random training pictures of Kvasir-SEG."""
    pairs = [p for p in _pairs(folder / "polyps_kvasir", "train_*") if _stem(p[0]) != TWIN]
    chosen = [pairs[int(i)] for i in rng.choice(len(pairs), count, replace=False)]
    return [
        Case(image.stem, image.stem, read_volume(image).data, _masks(truth, {1: "polyp"}))
        for image, truth in ((i, read_label_volume(m).data) for i, m in chosen)
    ]


def cardiac_to_learn(folder: Path, count: int, rng: np.random.Generator) -> list[Case]:
    """Middle slices of random patients of ACDC, one each, at end diastole or end systole."""
    patients = _by_group(case for case in cardiac(folder) if case.group <= LAST_TO_LEARN)
    chosen = rng.choice(sorted(patients), count, replace=False).tolist()
    return [patients[name][int(rng.integers(len(patients[name])))] for name in chosen]


def cardiac_of_others(folder: Path) -> Iterator[Case]:
    """ACDC's middle slices of the patients that nothing is learned from."""
    return (case for case in cardiac(folder) if case.group > LAST_TO_LEARN)


# Volumes of LA 2018 that may be learned from when the others are measured.
ATRIA_TO_LEARN = 5


def atrium_to_learn(folder: Path, count: int, rng: np.random.Generator) -> list[Case]:
    """One slice each of random volumes among the first of LA 2018."""
    volumes = _by_group(atrium(folder))
    chosen = rng.choice(sorted(volumes)[:ATRIA_TO_LEARN], count, replace=False).tolist()
    return [volumes[name][int(rng.integers(len(volumes[name])))] for name in chosen]


def atrium_of_others(folder: Path) -> Iterator[Case]:
    """Slices of the volumes of LA 2018 that nothing is learned from."""
    volumes = _by_group(atrium(folder))
    return (case for name in sorted(volumes)[ATRIA_TO_LEARN:] for case in volumes[name])


def _by_group(cases: Iterator[Case]) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.group, []).append(case)
    return found


# Where to learn a set from, and what is measured then.
LEARNED = {
    "polyps_kvasir": (polyps_to_learn, polyps),
    "cardiac_acdc": (cardiac_to_learn, cardiac_of_others),
    "atrium_la2018": (atrium_to_learn, atrium_of_others),
}


def _pairs(folder: Path, pattern: str) -> list[tuple[Path, Path]]:
    """Images and their masks, which have the same stem."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: give the folder of the data with --data.")
    masks = {_stem(path): path for path in (folder / "masks").iterdir()}
    images = sorted((folder / "images").glob(pattern))
    return [(path, masks[_stem(path)]) for path in images if _stem(path) in masks]


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _masks(truth: NDArray[Any], names: dict[int, str]) -> dict[str, NDArray[np.bool_]]:
    found = {name: truth == value for value, name in names.items()}
    return {name: mask for name, mask in found.items() if mask.sum() >= MIN_PIXELS}
