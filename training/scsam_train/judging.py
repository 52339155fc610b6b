"""Dice of a pair on held-out planes, counted per case, and what it can be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED
from napari_scsam.core.prompts import Prompts, deepest
from napari_scsam.models import Embedding
from napari_scsam.models.pair import Pair
from napari_scsam.models.sam import SamModel
from scsam_train.data import TrainPlane

Scores = dict[str, dict[str, float | None]]

MEMBERS = ("unet", "sam", "pair")
# Held-out planes that are looked at, evenly spaced: embedding them takes time.
MAX_PLANES = 40
# A round that answers one click in the middle this well, and its base not better by more than
# the second, is trusted with points.
CLICK_DICE = 0.5
CLICK_LOSS = 0.02
MAX_CLICKED = 12


class Judge:
    """Scores pairs on the same planes with the same embeddings.

    Parameters
    ----------
    planes : sequence of TrainPlane
        Labelled.
    class_names : dict of int to str
    """

    def __init__(self, planes: Sequence[TrainPlane], class_names: dict[int, str]) -> None:
        picks = np.linspace(0, len(planes) - 1, min(len(planes), MAX_PLANES)).astype(int)
        self.planes = [planes[i] for i in picks]
        self._names = class_names
        self._embeddings: dict[int, Embedding] = {}

    @property
    def cases(self) -> int:
        """How many cases the planes come from."""
        return len({plane.case for plane in self.planes})

    def score(self, pair: Pair, check: Callable[[], None], *, share: bool = True) -> Scores:
        """Dice per member of the pair and class.

        Pixels are counted over all of a case's planes, then cases are averaged. A class
        that neither truth nor prediction holds in a case says nothing about it.

        Parameters
        ----------
        pair : Pair
        check : callable
            Called before each plane; raises Cancelled.
        share : bool
            Whether embeddings are kept for later pairs on the same image encoder.
        """
        counts: dict[str, dict[str, NDArray[np.int64]]] = {}
        for index, plane in enumerate(self.planes):
            check()
            maps = self._label_maps(pair, index, plane, share)
            for member, label in maps.items():
                case = counts.setdefault(member, {})
                before = case.get(plane.case, np.zeros((len(self._names), 3), np.int64))
                case[plane.case] = before + self._count(label, plane)
        empty = dict.fromkeys([*self._names.values(), "mean"])
        scores: Scores = {member: dict(empty) for member in MEMBERS}
        return scores | {name: self._mean(list(cases.values())) for name, cases in counts.items()}

    def _label_maps(
        self, pair: Pair, index: int, plane: TrainPlane, share: bool
    ) -> dict[str, NDArray[np.int64]]:
        embedding = self._embeddings.get(index) if share else None
        if embedding is None and "sam" in pair.trained:
            embedding = pair.sam.embed(plane.pixels)
            if share:
                self._embeddings[index] = embedding
        ids = np.array([0, *pair.class_ids])
        members = pair.members(plane.pixels, embedding)
        return {name: ids[p.argmax(0)] for name, p in members.items()}

    def _count(self, label: NDArray[np.int64], plane: TrainPlane) -> NDArray[np.int64]:
        known = plane.label != NOT_ANNOTATED
        rows = []
        for class_id in self._names:
            guess, truth = (label == class_id) & known, plane.label == class_id
            rows.append([(guess & truth).sum(), guess.sum(), truth.sum()])
        return np.array(rows, np.int64)

    def _mean(self, cases: list[NDArray[np.int64]]) -> dict[str, float | None]:
        values = np.stack(cases).astype(float)
        total = values[..., 1] + values[..., 2]
        dice = np.divide(
            2 * values[..., 0], total, out=np.full(total.shape, np.nan), where=total > 0
        )
        scores: dict[str, float | None] = {}
        for column, name in enumerate(self._names.values()):
            seen = dice[:, column][~np.isnan(dice[:, column])]
            scores[name] = float(seen.mean()) if len(seen) else None
        present = [value for value in scores.values() if value is not None]
        scores["mean"] = sum(present) / len(present) if present else None
        return scores


def empty_scores(class_names: dict[int, str]) -> Scores:
    """Scores of a round that nothing was held out for."""
    return {member: dict.fromkeys([*class_names.values(), "mean"]) for member in MEMBERS}


def click_dice(sams: Sequence[SamModel], planes: Sequence[TrainPlane]) -> list[float]:
    """Mean Dice of each SAM's answer to one click in the middle of each object.

    Parameters
    ----------
    sams : sequence of SamModel
        On the same image encoder.
    planes : sequence of TrainPlane
        At most twelve objects on them are clicked on.

    Returns
    -------
    list of float
        One for each SAM; empty where there is no object to click on.
    """
    objects = [
        (plane, class_id)
        for plane in planes
        for class_id in np.unique(plane.label)
        if class_id not in (BACKGROUND, NOT_ANNOTATED)
    ]
    picks = np.linspace(0, len(objects) - 1, min(len(objects), MAX_CLICKED)).astype(int)
    values = [_one_click(sams, plane, class_id) for plane, class_id in (objects[i] for i in picks)]
    return [float(mean) for mean in np.mean(values, axis=0)] if values else []


def follows_clicks(dice: float, base_dice: float) -> bool:
    """Whether a round's SAM answers clicks itself, by `click_dice` of it and of its base."""
    return dice >= CLICK_DICE and dice >= base_dice - CLICK_LOSS


def _one_click(sams: Sequence[SamModel], plane: TrainPlane, class_id: int) -> list[float]:
    truth, known = plane.label == class_id, plane.label != NOT_ANNOTATED
    embedding = sams[0].embed(plane.pixels)
    asked = Prompts(points=[deepest(truth)], labels=[1])
    masks = [sam.decode(embedding, asked).mask & known for sam in sams]
    return [2 * float((m & truth).sum()) / float(m.sum() + truth.sum()) for m in masks]
