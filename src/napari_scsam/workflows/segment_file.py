"""Outlining one object of an image file with SAM, without a project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import Progress, ProgressFn, ignore_progress
from napari_scsam.core.volume import Volume, take_plane
from napari_scsam.core.windows import AUTO, Window
from napari_scsam.io import read_volume
from napari_scsam.models import SamBackend, decode_region, load_sam, open_cache
from napari_scsam.propagation import carry, propagate

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.prompts import Prompts
    from napari_scsam.core.settings import Device, SamName


@dataclass(frozen=True)
class Outlined:
    """An object of an image.

    Attributes
    ----------
    volume : Volume
        The image, as SAM saw its values.
    mask : ndarray of shape `volume.shape`, uint8
        0 and 1.
    iou : float
        SAM's own estimate on the prompted slice, 0..1.
    via : str
        How the prompts were answered.
    flags : dict of int to str
        Slices along the axis that want a look, and why; empty where nothing was carried.
    """

    volume: Volume
    mask: LabelArray
    iou: float
    via: str
    flags: dict[int, str]


@dataclass(frozen=True)
class SamChoice:
    """A SAM and where it runs, as `load_sam` takes them."""

    name: SamName = "lite-medsam"
    checkpoint: Path | None = None
    device: Device = "auto"


def outline_file(
    image: Path,
    prompts: Prompts,
    *,
    axis: int = 0,
    plane: int | None = None,
    window: Window = AUTO,
    carried: bool = False,
    sam: SamChoice = SamChoice(),
    progress: ProgressFn = ignore_progress,
) -> Outlined:
    """Outline one object on one slice and, if wished, carry it through the others.

    Parameters
    ----------
    image : Path
        An image file.
    prompts : Prompts
        In pixels of the slice.
    axis : {0, 1, 2}
        Of a volume: the axis that the slice is perpendicular to.
    plane : int, optional
        Of a volume, and needed there: the slice number from 0.
    window : Window
        What SAM sees of the values.
    carried : bool
        Carry the outline along the axis, both ways, until it can't be followed.
    sam : SamChoice
    progress : callable
        Told after each slice that is carried to.

    Raises
    ------
    InputError
        Before SAM is loaded: a volume without a slice, prompts outside it, a window that shows
        nothing, an image with one slice only to be carried through.
    ModelError
        If the weights can't be loaded.
    """
    volume = read_volume(image)
    if carried and volume.ndim != 3:
        raise InputError("An outline is carried through volumes; this image has one slice only.")
    where = _chosen_plane(volume, axis, plane)
    window.on(volume).check(volume.plane(where))
    volume = window.over(volume)
    pixels = volume.plane(where)
    prompts.check_inside((pixels.shape[0], pixels.shape[1]))
    loaded = load_sam(sam.name, device=sam.device, checkpoint=sam.checkpoint)
    decoded = decode_region(loaded, open_cache(), pixels, loaded.embed(pixels), prompts)
    if carried:
        mask, flags = _carry_through(loaded, volume, where, decoded.mask, progress)
    else:
        mask, flags = np.zeros(volume.shape, np.uint8), {}
        take_plane(mask, where, volume.ndim)[...] = decoded.mask
    return Outlined(volume, mask, decoded.iou, decoded.via, flags)


def _chosen_plane(volume: Volume, axis: int, plane: int | None) -> Plane:
    if volume.ndim == 2:
        return Plane(0, plane or 0)
    if plane is None:
        count = volume.plane_count(axis) if axis in (0, 1, 2) else 0
        raise InputError(
            f"The image is a volume of shape {volume.shape}: say which slice with --plane, "
            f"0 to {count - 1} along axis {axis}."
        )
    return Plane(axis, plane)


def _carry_through(
    sam: SamBackend,
    volume: Volume,
    start: Plane,
    mask: NDArray[np.bool_],
    progress: ProgressFn,
) -> tuple[LabelArray, dict[int, str]]:
    """Label (0 and 1) of shape `volume.shape` and why slices along the axis want a look."""
    count = volume.plane_count(start.axis)
    label = np.zeros(volume.shape, np.uint8)
    take_plane(label, start, 3)[...] = mask
    flags: dict[int, str] = {}
    cache = open_cache(memory_items=2)
    anchors = {start.index: mask.astype(np.uint8)}
    followed = propagate(
        lambda i, trail: carry(sam, volume.plane(Plane(start.axis, i)), trail, cache=cache),
        anchors,
        count,
        volume.plane_spacing(start.axis),
    )
    done: set[int] = set()
    for filled in followed:
        done.add(filled.index)
        take_plane(label, Plane(start.axis, filled.index), 3)[...] = filled.label
        if filled.flags:
            flags[filled.index] = ", ".join(filled.flags.values())
        progress(Progress(len(done) / (count - 1), "Propagating"))
    return label, flags
