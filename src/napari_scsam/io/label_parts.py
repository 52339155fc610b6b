"""Label maps that are stored in several files: a whole volume, and single slices over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import InputError
from napari_scsam.core.labels import NOT_ANNOTATED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_scsam.core.arrays import Pixels


@dataclass(frozen=True)
class LabelPart:
    """One file of a label map.

    Attributes
    ----------
    plane : int or None
        The slice along axis 0 that the file contains; None for the whole volume.
    path : Path
    sha256 : str
        Of the file's bytes.
    """

    plane: int | None
    path: Path
    sha256: str


def compose(
    shape: tuple[int, ...], parts: Sequence[LabelPart], read: Callable[[LabelPart], Pixels]
) -> Pixels:
    """Compose a label map from its files.

    Parameters
    ----------
    shape : tuple of int
        The image's.
    parts : sequence of LabelPart
        The whole volume first, if there is one, then at most one file for each slice.
    read : callable
        Reads a file: an array of `shape`, or of one slice.

    Returns
    -------
    ndarray
        255 (not annotated) where there is no file.

    Raises
    ------
    InputError
        If a file has another shape than the image or its slice, or the image has no such slice.
    """
    label: Pixels | None = None
    for part in parts:
        if part.plane is None:
            label = read(part)
            if label.shape != tuple(shape):
                raise InputError(
                    f"{part.path} does not fit its image: it has shape {label.shape}, but the "
                    f"image {tuple(shape)}."
                )
            continue
        if label is None:
            label = np.full(shape, NOT_ANNOTATED, np.uint8)
        _put(label, part, read(part))
    return np.full(shape, NOT_ANNOTATED, np.uint8) if label is None else label


def _put(label: Pixels, part: LabelPart, plane: Pixels) -> None:
    index = part.plane or 0
    if label.ndim != 3 or index >= len(label) or plane.size != label[index].size:
        raise InputError(
            f"{part.path} does not fit its volume: it is slice {index}, of shape {plane.shape}, "
            f"in a volume of shape {label.shape}."
        )
    label[index] = plane.reshape(label[index].shape)
