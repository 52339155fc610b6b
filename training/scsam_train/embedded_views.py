"""Tensors that a recipe is trained on: canvases for the U-Net, and cached SAM embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_scsam.core.round_contract import LABELLED_EMBEDDINGS, MAX_VIEWS
from napari_scsam.models import EmbeddingCache, Frame, SamModel, prepare, with_neighbours
from scsam_train.data import TrainPlane, class_positions, judged_table
from scsam_train.losses import IGNORE
from scsam_train.workers import in_parts, side_by_side

if TYPE_CHECKING:
    from napari_scsam.core.arrays import LabelArray
    from scsam_train.augment import Augmenter

# A picture to embed, and a function that stores its embedding.
_Job = tuple[NDArray[Any], Callable[[Tensor], None]]

# Stream of the augmenter for embedded views; any number that no other augmenter uses.
VIEWS_STREAM = 1


def views_each(labelled: int) -> int:
    """Return how many views of each plane are embedded, for a number of labelled planes."""
    return min(MAX_VIEWS, max(1, LABELLED_EMBEDDINGS // labelled))


def embedded_view(
    augmenter: Augmenter, canvas: Tensor, label: Tensor, at: int, view: int
) -> tuple[Tensor, Tensor]:
    """Return one augmented view of a labelled plane, the same one on a canvas of any size.

    Parameters
    ----------
    augmenter : Augmenter
        With the stream `VIEWS_STREAM`.
    canvas : Tensor of shape (1, C, s, s), float32, 0..1
    label : Tensor of shape (1, s, s), uint8
    at : int
        Index of the labelled plane.
    view : int
        Number of the view, from 1.

    Returns
    -------
    canvas, label : Tensor
        Of the same shapes and types.
    """
    number = at * MAX_VIEWS + view
    moved, label = augmenter.move(canvas, label, number)
    return augmenter.mild(moved, number), label


@dataclass(frozen=True, eq=False)
class SamView:
    """One view of a plane, embedded if the image encoder is frozen.

    Attributes
    ----------
    features : Tensor of shape (1, 256, e, e), float16
        The embedding. If the round trains the image encoder: the encoder's input (1, 3, s, s).
    label : Tensor of shape (side, side), uint8
        On the grid of SAM's low-resolution masks; 0..K, 255 for unknown pixels.
    """

    features: Tensor
    label: Tensor


@dataclass(eq=False)
class Materials:
    """The planes of a round as a recipe gets them.

    Attributes
    ----------
    images, labels : Tensor of shape (L, 3, s, s) float32, and (L, s, s) uint8
        Labelled planes on the U-Net's canvas: 0..1, and 0..K or 255 for unknown pixels.
    cases, names : list of str, length L
        Cases and names of the labelled planes.
    unlabelled_images, unlabelled_valid : Tensor of shape (U, 3, s, s) float32, and (U, s, s) bool
        Unlabelled planes, and the pixels that are not padding.
    unlabelled_names : list of str, length U
    judged : Tensor of shape (L, K), bool
        Whether a class was judged on a labelled plane; otherwise it is unknown there.
    views : list of list of SamView
        Views of each labelled plane, the one without augmentation first. Empty for a recipe
        without SAM.
    unlabelled_features : list of Tensor
        `SamView.features` of the unlabelled planes; fewer than U if the time for embedding was
        too short.
    """

    images: Tensor
    labels: Tensor
    cases: list[str]
    names: list[str]
    unlabelled_images: Tensor
    unlabelled_valid: Tensor
    unlabelled_names: list[str]
    judged: Tensor
    views: list[list[SamView]] = field(default_factory=list)
    unlabelled_features: list[Tensor] = field(default_factory=list)

    @property
    def known(self) -> Tensor:
        """Whether each class was judged on any labelled plane, shape (K,), bool."""
        return self.judged.any(0)


def label_canvas(label: LabelArray, size: int) -> NDArray[np.uint8]:
    """Resize a label map (rows, cols) to a square canvas as `prepare` does a plane.

    Nearest neighbour; 255 in the padding. Returns shape (size, size), uint8.
    """
    frame = Frame((label.shape[0], label.shape[1]), size)
    rows, cols = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for old, new in zip(label.shape, frame.resized, strict=True)
    )
    canvas = np.full((size, size), IGNORE, np.uint8)
    canvas[: len(rows), : len(cols)] = label[np.ix_(rows, cols)]
    return canvas


def build_canvases(
    labelled: Sequence[TrainPlane],
    unlabelled: Sequence[TrainPlane],
    class_ids: Sequence[int],
    size: int,
    device: torch.device,
    *,
    context: bool = False,
) -> Materials:
    """Resize all planes to the U-Net's canvases of side `size`, in px.

    With `context`, the three channels are a slice and its neighbours.
    """
    labels = [label_canvas(class_positions(plane.label, class_ids), size) for plane in labelled]
    blank = [np.zeros(plane.pixels.shape[:2], np.uint8) for plane in unlabelled]
    valid = [label_canvas(label, size) == 0 for label in blank]
    return Materials(
        images=_canvases(labelled, size, context).to(device),
        labels=torch.from_numpy(np.stack(labels)).to(device),
        cases=[plane.case for plane in labelled],
        names=[plane.name for plane in labelled],
        unlabelled_images=_canvases(unlabelled, size, context).to(device),
        unlabelled_valid=torch.from_numpy(np.array(valid, bool).reshape(-1, size, size)).to(device),
        unlabelled_names=[plane.name for plane in unlabelled],
        judged=torch.from_numpy(judged_table(labelled, class_ids)).to(device),
    )


class Embedder:
    """Embeds planes and augmented views of them, the planes themselves first.

    Parameters
    ----------
    sam : SamModel
        If the round trains its image encoder, planes are only prepared, and not embedded.
    cache : EmbeddingCache
        Stores the embeddings for a resumed round and for later rounds.
    class_ids : sequence of int
    side : int
        Side of SAM's low-resolution masks, in px.
    augmenter : Augmenter
    most_views : int
        Maximum number of views of a labelled plane. A U-Net needs one: the embedding is warped
        with its picture.
    """

    def __init__(
        self,
        sam: SamModel,
        cache: EmbeddingCache,
        class_ids: Sequence[int],
        side: int,
        augmenter: Augmenter,
        most_views: int = MAX_VIEWS,
    ) -> None:
        self._sam = sam
        self._cache = cache
        self._class_ids = class_ids
        self._side = side
        self._augmenter = augmenter
        self._most_views = most_views

    def fill(
        self,
        materials: Materials,
        labelled: Sequence[TrainPlane],
        unlabelled: Sequence[TrainPlane],
        on_step: Callable[[int, int], None],
        deadline: float = float("inf"),
    ) -> None:
        """Add embeddings of all planes to `materials`.

        Each labelled plane is always embedded once. Unlabelled planes and further views of labelled
        ones follow in turn until the `deadline`, a time of `time.monotonic`. `on_step` is called
        with the number of embeddings and their total.
        """
        # If the encoder is trained, views are drawn in each step.
        views = min(self._most_views, views_each(len(labelled)))
        if self._sam.adapts_encoder:
            views = 1
        extra = [(i, view) for view in range(1, views) for i in range(len(labelled))]
        total = len(labelled) + len(extra) + len(unlabelled)
        materials.views.extend([] for _ in labelled)
        first = [partial(self._labelled, materials, labelled, at, 0) for at in range(len(labelled))]
        mine = [partial(self._labelled, materials, labelled, at, view) for at, view in extra]
        others = [partial(self._unlabelled, materials, plane) for plane in unlabelled]
        rest = [job for pair in zip_longest(others, mine) for job in pair if job is not None]
        done = 0
        with side_by_side(self._sam.torch_device) as pool:
            for job in in_parts([*first, *rest], pool.workers):
                if done >= len(first) and time.monotonic() > deadline:
                    break
                pictures, keep = zip(*(one() for one in job), strict=True)
                for kept, features in zip(keep, pool.map(self._features, pictures), strict=True):
                    kept(features)
                done += len(job)
                on_step(done, total)

    def _labelled(
        self, materials: Materials, labelled: Sequence[TrainPlane], at: int, view: int
    ) -> _Job:
        plane = labelled[at]
        if view == 0:
            pixels, label = plane.pixels, self._label(plane)
        else:
            pixels, label = self._changed(plane, at, view)
        views = materials.views[at]
        return pixels, lambda features: views.append(SamView(features, label))

    def _unlabelled(self, materials: Materials, plane: TrainPlane) -> _Job:
        return plane.pixels, materials.unlabelled_features.append

    def _changed(self, plane: TrainPlane, at: int, view: int) -> tuple[NDArray[np.float32], Tensor]:
        size = self._sam.entry.input_size
        canvas = prepare(plane.pixels, size, "unit").pixels[None]
        known = torch.from_numpy(label_canvas(class_positions(plane.label, self._class_ids), size))
        changed, label = embedded_view(self._augmenter, canvas, known[None], at, view)
        picture = changed[0].permute(1, 2, 0).numpy()
        return picture, torch.from_numpy(label_canvas(label[0].numpy(), self._side))

    def _label(self, plane: TrainPlane) -> Tensor:
        positions = class_positions(plane.label, self._class_ids)
        return torch.from_numpy(label_canvas(positions, self._side))

    def _features(self, pixels: NDArray[Any]) -> Tensor:
        if self._sam.adapts_encoder:
            entry = self._sam.entry
            return prepare(pixels, entry.input_size, entry.normalisation).pixels[None].half()
        # SamModel embeds one picture at a time, so each thread has a twin with a lock of its own.
        features: Tensor = self._cache.get_or_embed(self._sam.twin(), pixels).features
        return features.half().cpu().clone()


def _canvases(planes: Sequence[TrainPlane], size: int, context: bool) -> Tensor:
    if not planes:
        return torch.zeros((0, 3, size, size))
    seen = [with_neighbours(p.pixels, p.around) if context else p.pixels for p in planes]
    return torch.stack([prepare(pixels, size, "unit").pixels for pixels in seen])
