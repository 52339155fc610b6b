"""Whose suggestion is shown: the round's, or that of the class prior of a tuned SAM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from napari_scsam.core.prompts import PointPrompt
from napari_scsam.models import suggestion_choice
from napari_scsam.models.protocols import Decoded, Embedding
from napari_scsam.models.suggestion_choice import propose_either

if TYPE_CHECKING:
    from napari_scsam.core.prompts import Kind, Prompts

SHAPE = (64, 64)
EMBEDDING = Embedding(None, SHAPE, np.zeros(SHAPE, np.float32), "key")
CLASS = 1


def disc(row: int, col: int, radius: int = 8) -> np.ndarray:
    rows, cols = np.indices(SHAPE)
    return np.hypot(rows - row, cols - col) <= radius


def decoded(mask: np.ndarray) -> Decoded:
    return Decoded(mask, np.where(mask, 3.0, -3.0).astype(np.float32), 0.9)


# The round outlines a disc with a spur; the prior is clicked on at another place.
ROUND, PRIOR = disc(20, 20), disc(44, 44)


class Follower:
    """A SAM that answers each map by itself."""

    def decode(self, _embedding: Any, prompts: Prompts, *, class_id: int) -> Decoded:
        assert class_id == CLASS and prompts.mask is not None
        return decoded(np.asarray(prompts.mask) > 0)


class Round:
    """Outlines one disc, whatever is asked."""

    sam, trained = Follower(), ("unet", "sam")

    def decode(self, *_: Any, proposed: bool) -> Decoded:
        assert proposed
        return decoded(ROUND)


class Tuned:
    """Answers a map by one mask, and each click by another."""

    def __init__(self, by_map: np.ndarray, by_click: np.ndarray) -> None:
        self.by_map, self.by_click = by_map, by_click

    def decode(self, _embedding: Any, prompts: Prompts, *, class_id: int) -> Decoded:
        assert class_id == CLASS
        if prompts.mask is not None:
            return decoded(self.by_map)
        return decoded(self.by_click)


def point(row: float, col: float, kind: Kind = "confirm", number: int | None = 1) -> PointPrompt:
    return PointPrompt(
        row, col, CLASS, True, "model", kind, confidence=0.9, state="proposed", round=number
    )


def proposed(
    monkeypatch: pytest.MonkeyPatch,
    tuned: Tuned,
    by_round: list[PointPrompt],
    by_prior: list[PointPrompt],
) -> list[PointPrompt]:
    odds = decoded(ROUND).logits
    monkeypatch.setattr(suggestion_choice, "proposed_outline", lambda *_: (by_round, odds))
    found = [(p, PRIOR) for p in by_prior]
    monkeypatch.setattr(suggestion_choice, "outlined_from_prior", lambda *_: found)
    image = np.zeros(SHAPE, np.float32)
    return propose_either(cast("Any", Round()), cast("Any", tuned), image, EMBEDDING, CLASS)


BY_ROUND = [point(20, 20), point(30, 20, "query")]
BY_PRIOR = [point(44, 44, number=None), point(50, 50, "missed", None)]


@pytest.mark.parametrize(
    ("by_map", "by_click", "whose"),
    [
        (ROUND, ROUND, 1),  # SAM confirms the round
        (PRIOR, PRIOR, None),  # SAM finds the prior's object in the round's outline
        (ROUND, PRIOR, 1),  # undecided: both once
    ],
)
def test_the_suggestion_that_sam_comes_closer_to_is_taken(
    monkeypatch: pytest.MonkeyPatch, by_map: np.ndarray, by_click: np.ndarray, whose: int | None
) -> None:
    found = proposed(monkeypatch, Tuned(by_map, by_click), BY_ROUND, BY_PRIOR)
    assert {p.round for p in found} == {whose}
    if whose is None:
        assert found == BY_PRIOR[:1]  # where the prior only asks, it does not compete


@pytest.mark.parametrize(
    ("by_round", "by_prior"),
    [
        (BY_ROUND, []),  # the prior finds nothing
        (BY_ROUND, BY_PRIOR[1:]),  # the prior only asks
        ([point(30, 20, "query")], BY_PRIOR),  # the round only asks
        ([], BY_PRIOR),  # the round finds nothing
    ],
)
def test_without_two_outlines_the_rounds_suggestion_stays(
    monkeypatch: pytest.MonkeyPatch, by_round: list[PointPrompt], by_prior: list[PointPrompt]
) -> None:
    assert proposed(monkeypatch, Tuned(PRIOR, PRIOR), by_round, by_prior) == by_round
