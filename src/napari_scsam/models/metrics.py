"""Segmentation metrics of label maps: Dice, IoU, HD95 and ASSD per class."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

from napari_scsam.core.errors import InputError
from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray

Unit = Literal["mm", "px"]


@dataclass(frozen=True)
class ClassScore:
    """Metrics of one class.

    Attributes
    ----------
    class_id : int
    name : str
    dice, iou : float
        0..1. Both masks empty: 1. One empty: 0.
    hd95 : float
        The larger of both directed 95th percentiles of surface distances (linear
        interpolation). Both masks empty: 0. One empty: inf.
    assd : float
        Mean of all surface distances, of both directions together. Empty masks as for `hd95`.
    truth_pixels, predicted_pixels : int
        Number of pixels where the truth is annotated.
    """

    class_id: int
    name: str
    dice: float
    iou: float
    hd95: float
    assd: float
    truth_pixels: int
    predicted_pixels: int


@dataclass(frozen=True)
class Evaluation:
    """Metrics of all classes of a label map.

    Attributes
    ----------
    classes : tuple of ClassScore
        Ascending by class id.
    unit : {'mm', 'px'}
        Unit of the distances; ``px`` if no spacing was given.
    """

    classes: tuple[ClassScore, ...]
    unit: Unit

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the classes, 0..1."""
        return float(np.mean([score.dice for score in self.classes]))

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON-serialisable values: infinite distances become None."""
        classes = [
            {k: None if v == math.inf else v for k, v in asdict(score).items()}
            for score in self.classes
        ]
        return {"unit": self.unit, "mean_dice": self.mean_dice, "classes": classes}


def evaluate(
    prediction: NDArray[np.generic],
    truth: NDArray[np.generic],
    *,
    spacing_mm: Sequence[float] | None = None,
    class_names: Mapping[int, str] | None = None,
) -> Evaluation:
    """Compare a label map with the truth, class by class.

    A surface is the set of a mask's pixels with a face neighbour (4 in 2-D, 6 in 3-D) outside
    the mask; the outside of the image counts as outside the mask. Distances are between centres
    of surface pixels. Pixels with truth 255 (not annotated) count as background in both maps.

    Parameters
    ----------
    prediction, truth : ndarray of shape (rows, cols) or (slices, rows, cols)
        Whole numbers; 0 background, 1..254 classes, and in the truth 255 not annotated.
    spacing_mm : sequence of float, optional
        Distance between neighbouring pixels along each axis of the arrays, in mm.
        Without it distances are in pixels.
    class_names : mapping of int to str, optional
        The class table. Default: the values found.

    Raises
    ------
    InputError
        If shapes or spacing do not fit, a value is not a class, or there is nothing to compare.

    References
    ----------
    Dice and IoU as usual; HD95 and ASSD as in Maier-Hein et al., Metrics reloaded,
    Nature Methods 21 (2024), computed by MONAI.
    """
    truth_labels = _as_labels(truth, "truth")
    predicted = _as_labels(prediction, "prediction")
    if predicted.shape != truth_labels.shape:
        raise InputError(
            f"The prediction has shape {predicted.shape}, but the truth has {truth_labels.shape}."
        )
    spacing = _checked_spacing(spacing_mm, truth_labels.ndim)
    if not predicted.any() and not truth_labels.any() and class_names is None:
        raise InputError("There is nothing to compare: both masks are all background.")
    names = _class_table(predicted, truth_labels, class_names)
    known = truth_labels != NOT_ANNOTATED
    if not known.any():
        raise InputError("Nothing in the truth is annotated: all of it is 255.")
    scores = tuple(
        _score(i, name, (predicted == i) & known, truth_labels == i, spacing)
        for i, name in names.items()
    )
    return Evaluation(scores, "px" if spacing_mm is None else "mm")


def _score(
    class_id: int,
    name: str,
    predicted: NDArray[np.bool_],
    true: NDArray[np.bool_],
    spacing: tuple[float, ...],
) -> ClassScore:
    a, b = int(predicted.sum()), int(true.sum())
    common = int((predicted & true).sum())
    hd95, assd = surface_distances(predicted, true, spacing)
    return ClassScore(
        class_id=class_id,
        name=name,
        dice=2 * common / (a + b) if a + b else 1.0,
        iou=common / (a + b - common) if a + b else 1.0,
        hd95=hd95,
        assd=assd,
        truth_pixels=b,
        predicted_pixels=a,
    )


def surface_distances(
    predicted: NDArray[np.bool_], true: NDArray[np.bool_], spacing: Sequence[float]
) -> tuple[float, float]:
    """Return HD95 and ASSD of two masks, in the unit of `spacing`; see `ClassScore` for empties.

    Parameters
    ----------
    predicted, true : ndarray of shape (rows, cols) or (slices, rows, cols), bool
    spacing : sequence of float
        Distance between neighbouring pixels along each axis.
    """
    if predicted.any() != true.any():
        return math.inf, math.inf
    if not true.any():
        return 0.0, 0.0
    pair = [torch.from_numpy(np.ascontiguousarray(m))[None, None] for m in (predicted, true)]
    options = {"include_background": True, "spacing": [float(v) for v in spacing]}
    with warnings.catch_warnings():
        # MONAI 1.6 passes itself an argument that it has deprecated.
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        hd95 = compute_hausdorff_distance(*pair, percentile=95, **options)
        assd = compute_average_surface_distance(*pair, symmetric=True, **options)
    return float(hd95), float(assd)


def _as_labels(array: NDArray[np.generic], what: str) -> LabelArray:
    labels = np.asarray(array)
    if labels.ndim not in (2, 3) or not labels.size:
        raise InputError(f"The {what} has 2 or 3 axes, got shape {labels.shape}.")
    values = np.unique(labels)
    whole = labels.dtype.kind in "biu" or np.array_equal(values, np.round(values))
    if not whole or values[0] < BACKGROUND or values[-1] > NOT_ANNOTATED:
        raise InputError(
            f"The {what} holds whole numbers from 0 to 255, got {labels.dtype} values "
            f"from {values[0]} to {values[-1]}."
        )
    return labels.astype(np.uint8)


def _class_table(
    predicted: LabelArray, truth: LabelArray, names: Mapping[int, str] | None
) -> dict[int, str]:
    found = {int(v) for v in np.union1d(predicted, truth)} - {BACKGROUND, NOT_ANNOTATED}
    if names is None:
        names = {i: str(i) for i in found}
    strange = sorted(found - set(names))
    if (predicted == NOT_ANNOTATED).any() or not names:
        strange.append(NOT_ANNOTATED)
    if strange:
        table = ", ".join(f"{i}={name}" for i, name in sorted(names.items())) or "not named"
        raise InputError(
            f"A mask holds {strange[0]}, which is no class (the classes are {table}; 255 means "
            f"not annotated). Name what it means, for example --map {strange[0]}=1."
        )
    return dict(sorted(names.items()))


def _checked_spacing(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    values = (1.0,) * ndim if spacing is None else tuple(float(v) for v in spacing)
    if len(values) != ndim or not all(0 < v < math.inf for v in values):
        raise InputError(
            f"The spacing is {ndim} positive numbers of mm for masks of {ndim} axes, got {values}."
        )
    return values
