"""Planes to learn from and planes held out, taken from the images that inputs.json names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_scsam import io
from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import NOT_ANNOTATED, annotated_planes, done_planes
from napari_scsam.core.volume import LabelArray, Pixels, Volume, take_plane
from napari_scsam.core.windows import AUTO, Window
from scsam_train.config import ImageInput

# Held-out planes of a volume that is trained on stay this far from any trained plane: their
# neighbours are nearly copies.
MIN_GAP = 2
MIN_PLANES_TO_HOLD_OUT = 5


@dataclass(frozen=True, eq=False)
class TrainPlane:
    """One plane of one image.

    Attributes
    ----------
    image, case : str
        Where it comes from.
    index : int
        Along `axis`; 0 for a two-dimensional image.
    pixels : ndarray of shape (rows, cols) or (rows, cols, 3)
        What the models see: the file's own values, or 0..1 in the round's window.
    label : ndarray of shape (rows, cols), uint8
        0 background, class ids, 255 not annotated; all 255 on an unlabelled plane.
    axis : int
        Of the volume.
    """

    image: str
    case: str
    index: int
    pixels: Pixels
    label: LabelArray
    axis: int = 0

    @property
    def name(self) -> str:
        """Image and plane, for split.json."""
        return f"{self.image}:{self.index}"


@dataclass(frozen=True)
class Split:
    """Which planes teach and which judge.

    Attributes
    ----------
    train, held_out : list of TrainPlane
        Labelled planes.
    gated : bool
        Whether the held-out planes can decide about a promotion.
    reason : str
        How the planes were split, or why they were not.
    """

    train: list[TrainPlane]
    held_out: list[TrainPlane]
    gated: bool
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """As split.json keeps it."""
        return {
            "train": [plane.name for plane in self.train],
            "held_out": [plane.name for plane in self.held_out],
            "gated": self.gated,
            "reason": self.reason,
        }


def load_planes(
    images: Iterable[ImageInput], max_unlabelled: int, window: Window = AUTO
) -> tuple[list[TrainPlane], list[TrainPlane]]:
    """Read the labelled planes, and evenly spaced ones of the others.

    Planes lie along axis 0. Ones that are constant in the window (the empty ends of a
    volume) are left out.

    Parameters
    ----------
    images : iterable of ImageInput
    max_unlabelled : int
        Most unlabelled planes that are taken, over all images.
    window : Window
        Applied to every plane.

    Returns
    -------
    labelled, unlabelled : list of TrainPlane

    Raises
    ------
    InputError
        If a file is missing or changed, a label does not fit its image, or no labelled
        plane is left.
    """
    inputs = list(images)
    labelled: list[TrainPlane] = []
    unlabelled: list[TrainPlane] = []
    share = -(-max_unlabelled // max(1, len(inputs)))
    for image in inputs:
        volume, label = read_image(image)
        annotated = set() if label is None else _learnable(label)
        rest = [i for i in range(volume.plane_count()) if i not in annotated]
        window_here = window.on(volume)
        labelled += _planes(image, volume, label, sorted(annotated), window_here)
        # Twice the share, because other images may have fewer planes than theirs.
        unlabelled += _planes(image, volume, None, _spaced(rest, 2 * share), window_here)
    if not labelled:
        seen = "" if window == AUTO else f" in the window {window.title}"
        raise InputError(f"No labelled plane can be learned from: each is constant{seen}.")
    return labelled, _spaced(unlabelled, max_unlabelled)


def _learnable(label: LabelArray) -> set[int]:
    """Planes to learn from: those that are done, or else those with any annotation.

    A plane committed along another axis leaves one line on each of these: they stay
    unlabelled, unless there is nothing else.
    """
    return set(done_planes(label) or annotated_planes(label))


def split_planes(labelled: Sequence[TrainPlane], holdout: float, seed: int) -> Split:
    """Hold out whole cases; of a single case, planes that are far from the others.

    Parameters
    ----------
    labelled : sequence of TrainPlane
    holdout : float
        Share to hold out, 0..0.9.
    seed : int
        Of the choice of cases.
    """
    everything = list(labelled)
    cases = sorted({plane.case for plane in everything})
    if holdout == 0:
        return Split(everything, [], False, "Nothing is held out, as the settings ask.")
    if len(cases) >= 2:
        count = min(len(cases) - 1, max(1, round(holdout * len(cases))))
        chosen = set(np.random.default_rng(seed).permutation(cases)[:count].tolist())
        train = [plane for plane in everything if plane.case not in chosen]
        held_out = [plane for plane in everything if plane.case in chosen]
        return Split(train, held_out, True, f"{count} of {len(cases)} labelled cases held out.")
    if len(everything) < MIN_PLANES_TO_HOLD_OUT:
        reason = (
            f"Only {len(everything)} labelled slices of one case: too few to hold any out, "
            "so nothing was compared."
        )
        return Split(everything, [], False, reason)
    return _split_within_case(everything, holdout)


def _split_within_case(planes: list[TrainPlane], holdout: float) -> Split:
    count = max(1, int(holdout * len(planes)))
    # Inner planes, evenly spaced: the outermost ones show what no other plane shows.
    order = [int(i) for i in np.linspace(0, len(planes) - 1, count + 2)[1:-1]]
    chosen = [i for i in order if _far_from_others(planes, i, order)]
    if not chosen:
        reason = "The labelled slices of the only case are neighbours: none can judge the others."
        return Split(planes, [], False, reason)
    train = [plane for i, plane in enumerate(planes) if i not in chosen]
    held_out = [planes[i] for i in chosen]
    reason = (
        f"One labelled case only: {len(chosen)} of its {len(planes)} labelled slices held out. "
        "They resemble the trained ones more than another case would."
    )
    return Split(train, held_out, True, reason)


def _far_from_others(planes: list[TrainPlane], chosen: int, held_out: list[int]) -> bool:
    me = planes[chosen]
    others = (p for i, p in enumerate(planes) if i not in held_out and p.image == me.image)
    return all(abs(p.index - me.index) >= MIN_GAP for p in others)


def read_image(image: ImageInput) -> tuple[Volume, LabelArray | None]:
    """Read an image and its committed label map, each checked to be the file that was meant.

    Raises
    ------
    InputError
        If a file is missing or changed, or the label does not fit the image.
    """
    volume = io.read_volume(image.file.check())
    if image.label is None:
        return volume, None
    label = np.asarray(io.read_labels(image.label.check()), dtype=np.uint8)
    if label.shape != volume.shape:
        raise InputError(
            f"The label of {image.file.path.name} has shape {label.shape}, but the image has "
            f"{volume.shape}."
        )
    return volume, label


def _planes(
    image: ImageInput,
    volume: Volume,
    label: LabelArray | None,
    indices: Iterable[int],
    window: Window,
) -> list[TrainPlane]:
    found = []
    for index in indices:
        pixels = np.array(window.apply(volume.plane(Plane(0, index))))
        if pixels.min() == pixels.max():
            continue
        own = np.full(pixels.shape[:2], NOT_ANNOTATED, np.uint8)
        if label is not None:
            own[:] = take_plane(label, Plane(0, index), volume.ndim)
        found.append(TrainPlane(image.id, image.case, index, pixels, own))
    return found


def _spaced(items: list[Any], count: int) -> list[Any]:
    if len(items) <= count:
        return items
    picks = (np.arange(count) + 0.5) * len(items) / count
    return [items[int(i)] for i in picks]


def class_positions(label: LabelArray, class_ids: Sequence[int]) -> NDArray[np.uint8]:
    """Replace class ids by 1..K in the order of `class_ids`; 0 and 255 stay."""
    lookup = np.full(256, NOT_ANNOTATED, np.uint8)
    lookup[0] = 0
    for position, class_id in enumerate(class_ids, start=1):
        lookup[class_id] = position
    return lookup[label]
