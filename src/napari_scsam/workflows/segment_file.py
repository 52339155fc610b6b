"""Segmentation of one object in an image file with SAM, without a project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.arrays import LabelArray
from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import Progress, ProgressFn, ignore_progress
from napari_scsam.core.settings import Device, SamName
from napari_scsam.core.volume import Volume, take_plane
from napari_scsam.core.windows import AUTO, Window, parse_window
from napari_scsam.io import check_outputs, format_of, label_files, read_volume, write_labels
from napari_scsam.models import Decoded, SamBackend, decode_region, load_sam, open_cache
from napari_scsam.propagation import carry, propagate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import Pixels
    from napari_scsam.core.prompts import Prompts


@dataclass(frozen=True)
class OutlineOptions:
    """Where an object is segmented, and with which model.

    Attributes
    ----------
    axis : {0, 1, 2}
        For a volume: the axis perpendicular to the slice; 0 is the slice axis.
    plane : int, optional
        For a volume, and required there: the slice number, from 0.
    window : str
        Intensity window for SAM: auto (each slice by itself), volume, soft-tissue, lung, bone,
        brain, liver, or LEVEL/WIDTH such as 40/400.
    propagate : bool
        For a volume: propagate the mask along the axis in both directions, until the object is
        lost.
    model : str
        The two lite-medsam models include their weights; the others need --checkpoint.
    checkpoint : Path, optional
        The model's published weights.
    device : {'auto', 'cpu', 'cuda', 'mps'}
        Where to run the model.
    """

    axis: int = 0
    plane: int | None = None
    window: str = AUTO.name
    propagate: bool = False
    model: SamName = "lite-medsam"
    checkpoint: Path | None = None
    device: Device = "auto"

    def load_sam(self) -> SamBackend:
        """The model; ModelError if its weights can't be loaded."""
        return load_sam(self.model, device=self.device, checkpoint=self.checkpoint)


@dataclass(frozen=True)
class Outlined:
    """A segmented object.

    Attributes
    ----------
    files : list of Path
        Files that its mask was written to.
    pixels : int
        Number of pixels in the mask.
    iou : float
        IoU predicted by SAM on the prompted slice, 0..1.
    via : str
        How the prompts were used.
    flags : dict of int to str
        Slices along the axis that should be checked, and why; empty without propagation.
    """

    files: list[Path]
    pixels: int
    iou: float
    via: str
    flags: dict[int, str]


def segment_file(
    image: Path,
    prompts: Prompts,
    out: Path,
    options: OutlineOptions,
    *,
    overwrite: bool = False,
    progress: ProgressFn = ignore_progress,
) -> Outlined:
    """Segment one object on one slice, optionally propagate it, and write the mask.

    Parameters
    ----------
    image : Path
        An image file.
    prompts : Prompts
        In pixels of the slice.
    out : Path
        The mask's file, in the format of its suffix; never the image.
    options : OutlineOptions
    overwrite : bool
        Replace `out` where it exists.
    progress : callable
        Called after each propagated slice.

    Raises
    ------
    InputError
        Before SAM is loaded: a volume without a slice number, prompts outside the slice, a window
        that hides everything, propagation in a two-dimensional image, or a file in the way.
    ModelError
        If the weights can't be loaded.
    """
    format, window = format_of(out), parse_window(options.window)
    volume = read_volume(image)
    inputs = [image] if options.checkpoint is None else [image, options.checkpoint]
    check_outputs(label_files(out, volume.shape, format), inputs, overwrite=overwrite)
    where = _checked_plane(volume, prompts, window, options)
    volume = window.over(volume)
    sam = options.load_sam()
    decoded = _decoded(sam, volume.plane(where), prompts)
    if options.propagate:
        mask, flags = _carry_through(sam, volume, where, decoded.mask, progress)
    else:
        mask, flags = _on_one_slice(volume, where, decoded.mask), {}
    files = write_labels(out, mask, volume, format)
    return Outlined(files, int(mask.sum()), decoded.iou, decoded.via, flags)


def _checked_plane(
    volume: Volume, prompts: Prompts, window: Window, options: OutlineOptions
) -> Plane:
    """The slice to outline on, after everything that SAM is not needed for was checked."""
    if options.propagate and volume.ndim != 3:
        raise InputError("An outline is carried through volumes; this image has one slice only.")
    where = _chosen_plane(volume, options.axis, options.plane)
    pixels = volume.plane(where)
    window.on(volume).check(pixels)
    prompts.check_inside((pixels.shape[0], pixels.shape[1]))
    return where


def _decoded(sam: SamBackend, pixels: Pixels, prompts: Prompts) -> Decoded:
    return decode_region(sam, open_cache(), pixels, sam.embed(pixels), prompts)


def _on_one_slice(volume: Volume, where: Plane, mask: NDArray[np.bool_]) -> LabelArray:
    label = np.zeros(volume.shape, np.uint8)
    take_plane(label, where, volume.ndim)[...] = mask
    return label


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
    """Return the label (0 and 1) of the volume's shape, and the slices that should be checked."""
    count = volume.plane_count(start.axis)
    label = _on_one_slice(volume, start, mask)
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
