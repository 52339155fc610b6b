"""What two rounds predict on one slice, side by side."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, Progress, ProgressFn
from napari_scsam.core.labels import NOT_ANNOTATED, is_done
from napari_scsam.core.volume import take_plane
from napari_scsam.models import load_round, open_cache
from napari_scsam.project.rounds import round_window
from napari_scsam.workflows.prediction import cache_folder, predict_slice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.judged import ClassIds
    from napari_scsam.project import Project, RoundRecord


@dataclass(frozen=True)
class ClassDice:
    """How far two rounds agree on one class of a slice.

    Attributes
    ----------
    name : str
    between : float or None
        Dice of the two predictions; None if neither has the class.
    with_label : tuple of float or None
        Dice of each prediction with the annotated pixels of the committed label; None where
        neither has the class, where it was not judged, or where nothing is committed.
    """

    name: str
    between: float | None
    with_label: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True, eq=False)
class Compared:
    """Two rounds on one slice.

    Attributes
    ----------
    labels : pair of ndarrays of shape (rows, cols), uint8
        What each predicts.
    classes : tuple of ClassDice
    committed : bool
        Whether the slice is committed.
    """

    labels: tuple[LabelArray, LabelArray]
    classes: tuple[ClassDice, ...]
    committed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as values that JSON can hold."""
        return {
            "shape": self.labels[0].shape,
            "labels": [base64.b64encode(zlib.compress(a.tobytes())).decode() for a in self.labels],
            "classes": [[c.name, c.between, *c.with_label] for c in self.classes],
            "committed": self.committed,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Compared:
        """Return what `to_json` described."""
        shape = tuple(int(side) for side in values["shape"])
        first, second = (
            np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(shape)
            for text in values["labels"]
        )
        classes = tuple(ClassDice(n, between, (a, b)) for n, between, a, b in values["classes"])
        return Compared((first, second), classes, bool(values["committed"]))


def compare_rounds(
    project: Project,
    image_id: str,
    index: int,
    numbers: tuple[int, int],
    progress: ProgressFn,
    cancel: CancelToken,
) -> Compared:
    """Predict one slice along axis 0 with two rounds.

    Raises
    ------
    ProjectError
        If one of them does not exist, or has no weights any more.
    """
    found = {record.number: record for record in project.rounds()}
    records = [_with_weights(number, found.get(number)) for number in numbers]
    volume, place = project.volume(image_id), Plane(0, index)
    cache = open_cache(cache_folder(project), max_gb=project.cache_gb)
    labels = []
    for at, record in enumerate(records):
        cancel.check()
        progress(Progress(at / len(records), f"Predicting with round {record.number}"))
        models = load_round(record.folder, device="auto")
        window = round_window(record.folder).on(volume)
        labels.append(predict_slice(models, volume, place, window=window, cache=cache))
    truth, judged = _committed(project, image_id, place)
    names = {c.id: c.name for c in project.classes}
    rows = tuple(_row(names[c], c, labels, truth if c in judged else None) for c in names)
    return Compared((labels[0], labels[1]), rows, truth is not None)


def _with_weights(number: int, record: RoundRecord | None) -> RoundRecord:
    if record is None or record.pruned:
        lacks = "does not exist" if record is None else "was pruned, so it has no weights"
        raise ProjectError(f"Round {number} {lacks}. Choose another one.")
    return record


def _committed(project: Project, image_id: str, place: Plane) -> tuple[LabelArray | None, ClassIds]:
    """The committed label of a slice, if there is one, and the classes judged on it."""
    label, version = project.label(image_id), project.label_version(image_id)
    if label is None:
        return None, ()
    plane: LabelArray = take_plane(label, place, label.ndim)
    if not is_done(plane):
        return None, ()
    commit = next(c for c in project.commits(image_id) if c.version == version)
    return plane, commit.judged.on(place.index)


def _row(
    name: str, class_id: int, labels: Sequence[LabelArray], truth: LabelArray | None
) -> ClassDice:
    first, second = labels
    between = _dice(first == class_id, second == class_id)
    if truth is None:
        return ClassDice(name, between)
    known = truth != NOT_ANNOTATED
    with_label = tuple(_dice((label == class_id) & known, truth == class_id) for label in labels)
    return ClassDice(name, between, (with_label[0], with_label[1]))


def _dice(one: np.ndarray, other: np.ndarray) -> float | None:
    total = int(one.sum() + other.sum())
    return 2 * float((one & other).sum()) / total if total else None
