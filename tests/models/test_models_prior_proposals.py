"""Suggestions without a round: points from the class prior, and which of them have an outline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch

from napari_scsam import models
from napari_scsam.models.class_prior import ClassPrior, Moments
from napari_scsam.models.prior_proposals import propose_from_prior
from napari_scsam.models.protocols import Decoded, Embedding
from napari_scsam.models.sam import SamModel

if TYPE_CHECKING:
    from napari_scsam.core.prompts import PointPrompt, Prompts
    from napari_scsam.models.protocols import SamBackend

SHAPE = (256, 200)
VIEW = np.random.default_rng(0).random(SHAPE, np.float32)
EMBEDDING = Embedding(None, SHAPE, VIEW, "key")


def disc(row: int, col: int, radius: int) -> np.ndarray:
    rows, cols = np.indices(SHAPE)
    return np.hypot(rows - row, cols - col) <= radius


class StandIn:
    """A SAM with a prior that is sure of some discs, and one answer for every click."""

    def __init__(self, *discs: np.ndarray, answer: np.ndarray | None = None) -> None:
        self.odds = np.where(np.any(discs, axis=0), 5.0, -5.0) if discs else np.full(SHAPE, -5.0)
        self.discs, self.answer = discs, answer
        self.clicked: list[Any] = []

    def class_log_odds(self, embedding: Embedding, class_id: int) -> Any:
        return self.odds if class_id == 1 else None

    def decode(self, embedding: Embedding, prompts: Prompts, *, class_id: int) -> Decoded:
        ((row, col),) = prompts.points
        self.clicked.append((row, col, class_id))
        mask = self.answer
        if mask is None:
            mask = next(part for part in self.discs if part[int(row), int(col)])
        return Decoded(mask, np.where(mask, 1.0, -1.0).astype(np.float32), 0.9)


def suggested(sam: StandIn, class_id: int = 1) -> list[PointPrompt]:
    return propose_from_prior(cast("SamBackend", sam), EMBEDDING, class_id)


def test_an_object_on_which_sam_and_the_prior_agree_gets_one_point_in_its_middle() -> None:
    (point,) = suggested(StandIn(disc(90, 70, 25)))
    assert (point.kind, point.state, point.origin, point.positive) == (
        "confirm",
        "proposed",
        "model",
        True,
    )
    assert (point.row, point.col) == pytest.approx((90, 70), abs=1)
    assert point.confidence == 1


@pytest.mark.parametrize(("radius", "kinds"), [(25, ["confirm"]), (18, ["missed"]), (12, [])])
def test_the_less_they_agree_the_less_is_suggested(radius: int, kinds: list[str]) -> None:
    sam = StandIn(disc(90, 70, 25), answer=disc(90, 70, radius))  # Dice 1, .68 and .37
    assert [p.kind for p in suggested(sam)] == kinds


def test_few_objects_are_suggested_the_likeliest_first_and_specks_never() -> None:
    big, second, speck = disc(60, 60, 30), disc(180, 130, 24), disc(20, 180, 1)
    third = disc(200, 30, 22)
    sam = StandIn(big, second, third, speck)
    found = suggested(sam)
    assert [(round(p.row), round(p.col)) for p in found] == [(60, 60), (180, 130)]
    small = StandIn(big, disc(180, 130, 10))  # a ninth of the evidence for the first
    assert len(suggested(small)) == 1


def test_nothing_is_suggested_for_a_class_without_prior_or_where_it_finds_nothing() -> None:
    sam = StandIn(disc(90, 70, 25))
    assert suggested(sam, 2) == []
    assert not sam.clicked
    assert suggested(StandIn()) == []


def test_an_outline_of_one_picture_suggests_the_object_of_another(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray]
) -> None:
    picture, truth = blob
    frame = models.Frame(truth.shape, lite.entry.input_size)
    side = lite.entry.input_size
    label = np.full((side, side), 255, np.uint8)
    scale = side / max(truth.shape)
    rows, cols = (round(n * scale) for n in truth.shape)
    at = np.ix_((np.arange(rows) / scale).astype(int), (np.arange(cols) / scale).astype(int))
    label[:rows, :cols] = truth[at]
    features = lite.embed(picture).features[0].float()
    prior = ClassPrior.fit([Moments.of(features, torch.from_numpy(label))], shrinkage=0.1)
    sam = SamModel(lite.weights, None, prior)

    other, place = picture[::-1, ::-1].copy(), truth[::-1, ::-1]
    embedding = sam.embed(other)
    odds = sam.class_log_odds(embedding, 1)
    assert odds is not None and odds.shape == truth.shape == frame.shape
    assert odds[place].mean() > 0 > odds[~place].mean()
    assert lite.class_log_odds(embedding, 1) is None
    first = models.propose_from_prior(sam, embedding, 1)[0]
    assert place[round(first.row), round(first.col)]
    assert sam.class_log_odds(embedding, 2) is None


def test_nothing_is_suggested_in_a_constant_border() -> None:
    view = VIEW.copy()
    view[:120] = 0
    embedding = Embedding(None, SHAPE, view, "key")
    sam = StandIn(disc(60, 60, 30), disc(180, 130, 30))
    (point,) = propose_from_prior(cast("SamBackend", sam), embedding, 1)
    assert (point.row, point.col) == pytest.approx((180, 130), abs=1)
