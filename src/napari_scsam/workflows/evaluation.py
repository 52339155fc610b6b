"""Evaluation of masks on disk against the truth, case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import InputError
from napari_scsam.core.labels import (
    BACKGROUND,
    NOT_ANNOTATED,
    PALETTE,
    LabelClass,
    as_label_array,
    make_classes,
)
from napari_scsam.io import Placing, place, read_label_volume, stem
from napari_scsam.models import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_scsam.core.arrays import Pixels
    from napari_scsam.models import Evaluation


def evaluate_cases(
    prediction: Path,
    truth: Path,
    *,
    names: Sequence[str] | None = None,
    mapping: Mapping[int, int] | None = None,
    placing: Placing | None = None,
) -> dict[str, Evaluation]:
    """Compare a mask with the truth, or all masks in a folder with those of the same name.

    Parameters
    ----------
    prediction, truth : Path
        Two files, or two folders whose files are paired by stem.
    names : sequence of str, optional
        Names of the values 1, 2, ...; None: the values found are the class table.
    mapping : mapping of int to int, optional
        Values to replace in both masks, such as ``{255: 1}``.
    placing : Placing, optional
        What to do with a prediction on another grid than the truth; None: it is refused.

    Returns
    -------
    dict of str to Evaluation
        By case, in alphabetical order.

    Raises
    ------
    InputError
        If a file has no counterpart, the grids differ, or a mask contains an unknown value.
    """
    pairs = _pairs(prediction, truth)
    return {case: _evaluate_pair(*files, names, mapping, placing) for case, files in pairs.items()}


def _pairs(prediction: Path, truth: Path) -> dict[str, tuple[Path, Path]]:
    if prediction.is_dir() != truth.is_dir():
        raise InputError("Give two mask files, or two folders; got one of each.")
    if not prediction.is_dir():
        return {stem(prediction): (prediction, truth)}
    predictions = {stem(p): p for p in sorted(prediction.iterdir()) if p.is_file()}
    truths = {stem(p): p for p in sorted(truth.iterdir()) if p.is_file()}
    lonely = sorted(set(predictions) - set(truths))
    if lonely or not predictions:
        what = f"no truth named like {lonely[0]}" if lonely else "no prediction"
        raise InputError(f"There is {what} in {truth if lonely else prediction}.")
    return {stem: (path, truths[stem]) for stem, path in predictions.items()}


def _evaluate_pair(
    prediction: Path,
    truth: Path,
    names: Sequence[str] | None,
    mapping: Mapping[int, int] | None,
    placing: Placing | None,
) -> Evaluation:
    true, found = read_label_volume(truth), read_label_volume(prediction)
    classes = make_classes(names) if names else _values_as_classes(true.data, mapping or {})
    true, found = (
        replace(volume, data=as_label_array(volume.data, volume.shape, classes, mapping))
        for volume in (true, found)
    )
    placed = place(found, true, (prediction, f"the truth {truth}"), placing or Placing())
    return evaluate(
        placed.data,
        true.data,
        spacing_mm=true.spacing if true.spacing_known else None,
        class_names={c.id: c.name for c in classes},
    )


def _values_as_classes(data: Pixels, mapping: Mapping[int, int]) -> tuple[LabelClass, ...]:
    """Return one class per value of the truth, named after the value."""
    values = {mapping.get(int(v), int(v)) for v in np.unique(data)}
    ids = sorted(values - {BACKGROUND, NOT_ANNOTATED}) or [1]
    return tuple(LabelClass(i, str(i), PALETTE[0]) for i in ids)
