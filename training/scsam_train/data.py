"""Planes for training, read from the images listed in inputs.json and validated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam import io
from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import (
    BACKGROUND,
    NOT_ANNOTATED,
    annotated_planes,
    done_planes,
    scribbled_planes,
)
from napari_scsam.core.volume import Around, Volume, take_plane
from napari_scsam.io.label_parts import compose
from scsam_train.config import FileRef, SlicedLabel

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray, Pixels
    from napari_scsam.core.windows import Window
    from napari_scsam.io.label_parts import LabelPart
    from scsam_train.config import ImageInput, Inputs

# Images read per unlabelled plane wanted, if there are many. Arbitrary.
SPARE = 2


@dataclass(frozen=True, eq=False)
class TrainPlane:
    """One plane of one image.

    Attributes
    ----------
    image, case : str
        Origin of the plane.
    index : int
        Position along `axis`; 0 for a two-dimensional image.
    pixels : ndarray of shape (rows, cols) or (rows, cols, 3)
        Input of the models: the values of the file, or 0..1 in the round's window.
    label : ndarray of shape (rows, cols), uint8
        0 background, class ids, 255 not annotated; all 255 on an unlabelled plane.
    axis : int
        Axis of the volume.
    around : pair of ndarrays, each of the shape of `pixels`, or None
        The planes before and after it; see `Window.around`.
    judged : tuple of int or None
        Classes that were judged on it, the others being unknown; None for all.
    """

    image: str
    case: str
    index: int
    pixels: Pixels
    label: LabelArray
    axis: int = 0
    around: Around | None = None
    judged: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """Image and plane, for split.json."""
        return f"{self.image}:{self.index}"

    @property
    def holds_object(self) -> bool:
        """Whether any of its pixels belongs to a class."""
        return bool(((self.label != BACKGROUND) & (self.label != NOT_ANNOTATED)).any())

    def knows(self, class_id: int) -> bool:
        """Whether a class was judged on it."""
        return self.judged is None or class_id in self.judged


def load_planes(
    inputs: Inputs, max_unlabelled: int, *, neighbours: bool = False
) -> tuple[list[TrainPlane], list[TrainPlane]]:
    """Read the labelled planes, and evenly spaced unlabelled ones.

    Planes are taken along axis 0. Planes that are constant in the window, such as the empty ends
    of a volume, are left out.

    Parameters
    ----------
    inputs : Inputs
    max_unlabelled : int
        Number of unlabelled planes that will be chosen from those returned. Each image gives up
        to twice its share of them, because other images may have too few.
    neighbours : bool
        Whether each plane of a grey volume gets its neighbours, the planes before and after it.

    Returns
    -------
    labelled, unlabelled : list of TrainPlane

    Raises
    ------
    InputError
        If a file is missing or changed, a label does not fit its image or the classes, no labelled
        plane is left, or none of them contains an object.
    """
    labelled: list[TrainPlane] = []
    unlabelled: list[TrainPlane] = []
    images = _worth_reading(inputs.images, max_unlabelled)
    share = -(-max_unlabelled // max(1, len(images)))
    for image in images:
        volume, label = read_image(image)
        if label is not None:
            _check_classes(image, label, inputs.class_names)
        annotated = set() if label is None else _learnable(label)
        rest = [i for i in range(volume.plane_count()) if i not in annotated]
        reader = _Reader(image, volume, inputs.window.on(volume), neighbours)
        labelled += reader.planes(sorted(annotated), label)
        unlabelled += reader.planes(spaced(rest, 2 * share))
    _check_labelled(labelled, inputs)
    return labelled, unlabelled


def _worth_reading(images: Sequence[ImageInput], max_unlabelled: int) -> list[ImageInput]:
    """Return the labelled images and as many evenly spaced unlabelled ones as suffice.

    Not all of thousands of images are read for a few planes. Twice as many as planes are wanted
    are read, since some may be constant or belong to a held-out case.
    """
    unlabelled = [image for image in images if image.label is None]
    chosen = {image.id for image in spaced(unlabelled, SPARE * max_unlabelled)}
    return [image for image in images if image.label is not None or image.id in chosen]


def _check_classes(image: ImageInput, label: LabelArray, names: Mapping[int, str]) -> None:
    strange = sorted({int(v) for v in np.unique(label)} - {BACKGROUND, NOT_ANNOTATED, *names})
    if strange:
        table = ", ".join(f"{i}={name}" for i, name in names.items())
        raise InputError(
            f"The label of {image.file.path.name} (image {image.id}) holds {strange}, which are "
            f"not classes of the project ({table}; 0 is background, 255 not annotated). Commit it "
            f"again with these values replaced, for example with --map {strange[0]}={min(names)}."
        )


def _check_labelled(labelled: Sequence[TrainPlane], inputs: Inputs) -> None:
    if not labelled:
        seen = "" if inputs.window.kind == "plane" else f" in the window {inputs.window.title}"
        raise InputError(
            "No labelled slice can be learned from: nothing is annotated, or only on slices that "
            f"are constant{seen}."
        )
    if not any(plane.holds_object for plane in labelled):
        names = ", ".join(inputs.class_names.values())
        raise InputError(
            f"There is nothing to segment: all {len(labelled)} labelled slices are background. "
            f"Commit one slice with an object ({names})."
        )


def _learnable(label: LabelArray) -> set[int]:
    """Return the planes to train on: finished or scribbled ones, else any with annotations.

    A plane committed along another axis leaves one line on each of these planes. They count as
    unlabelled, unless there are no others.
    """
    return {*done_planes(label), *scribbled_planes(label)} or set(annotated_planes(label))


def read_image(image: ImageInput) -> tuple[Volume, LabelArray | None]:
    """Read an image and its committed label map, and check that both are the expected files.

    Raises
    ------
    InputError
        If a file is missing or changed, or the label does not fit the image's grid or uint8.
    """
    volume = io.read_volume(image.file.check())
    if image.label is None:
        return volume, None
    label = _read_label(image.label, volume)
    low, high = int(label.min()), int(label.max())
    if low < BACKGROUND or high > NOT_ANNOTATED:
        raise InputError(
            f"The label of {image.file.path.name} has values {low} to {high}; labels are 0 to 255."
        )
    return volume, label.astype(np.uint8)


def _read_label(label: FileRef | SlicedLabel, volume: Volume) -> Pixels:
    if isinstance(label, FileRef):
        return io.read_labels(label.check(), like=volume)

    def read(part: LabelPart) -> Pixels:
        like = volume if part.plane is None else None
        return io.read_labels(FileRef(part.path, part.sha256).check(), like=like)

    return compose(volume.shape, label.parts, read)


@dataclass(frozen=True, eq=False)
class _Reader:
    """Extracts planes from one volume, as input for the models."""

    image: ImageInput
    volume: Volume
    window: Window
    neighbours: bool

    def planes(self, indices: Iterable[int], label: LabelArray | None = None) -> list[TrainPlane]:
        found = (self._plane(index, label) for index in indices)
        return [plane for plane in found if plane.pixels.min() < plane.pixels.max()]

    def _plane(self, index: int, label: LabelArray | None) -> TrainPlane:
        place = Plane(0, index)
        # Copies, so that the volume can be freed.
        pixels = np.array(self.window.apply(self.volume.plane(place)))
        own = np.full(pixels.shape[:2], NOT_ANNOTATED, np.uint8)
        if label is not None:
            own[:] = take_plane(label, place, self.volume.ndim)
        around = self.window.around(self.volume, place) if self.neighbours else None
        if around is not None:
            around = (np.array(around[0]), np.array(around[1]))
        name, case, judged = self.image.id, self.image.case, self.image.judged
        known = None if label is None or judged is None else judged.on(index)
        return TrainPlane(name, case, index, pixels, own, around=around, judged=known)


def judged_table(planes: Sequence[TrainPlane], class_ids: Collection[int]) -> NDArray[np.bool_]:
    """Return which classes were judged on which plane, shape (planes, classes)."""
    found = [[plane.knows(class_id) for class_id in class_ids] for plane in planes]
    return np.array(found, bool).reshape(len(planes), len(class_ids))


def all_alike(planes: Sequence[TrainPlane]) -> bool:
    """Whether there are several planes and all of them have the same pixels."""
    first = planes[0].pixels
    return len(planes) > 1 and all(np.array_equal(plane.pixels, first) for plane in planes)


def spaced(items: list[Any], count: int) -> list[Any]:
    """Return at most `count` of the items, evenly spaced."""
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
