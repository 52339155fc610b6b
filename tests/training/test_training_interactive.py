"""The benchmark's simulated annotator and its statistics, against answers known by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_scsam.core.errors import InputError
from napari_scsam.models import Decoded
from scsam_train.benchmark import interactive
from scsam_train.benchmark.annotator import annotate
from scsam_train.benchmark.interactive import Measured, markdown, summary
from scsam_train.benchmark.sets import SETS

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.core.prompts import Prompts
    from napari_scsam.models.sam import Embedding


class Painter:
    """A SAM that marks a square of 5 pixels at each click, by its sign, and fills boxes."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.asked = []

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        self.asked.append(prompts)
        logits = np.full(self.shape, -4.0, np.float32)
        if prompts.box is not None:
            r0, c0, r1, c1 = (int(v) for v in prompts.box)
            logits[r0 : r1 + 1, c0 : c1 + 1] = 4
        for (row, col), label in zip(prompts.points, prompts.labels, strict=True):
            r, c = int(row), int(col)
            logits[r - 2 : r + 3, c - 2 : c + 3] = 4 if label else -4
        return Decoded(logits > 0, logits, 0.5)


def truth_with(*squares: Any) -> np.ndarray:
    truth = np.zeros((60, 60), bool)
    for row, col in squares:
        truth[row - 2 : row + 3, col - 2 : col + 3] = True
    return truth


def test_clicks_go_to_the_middle_of_the_largest_mistake() -> None:
    sam = Painter((60, 60))
    outcome = annotate(sam, None, truth_with((10, 10), (40, 45)), 2)
    assert set(sam.asked[1].points) == {(10, 10), (40, 45)}
    # Half of the object after one click: Dice 2 * 25 / (25 + 50); then all.
    assert outcome.clicks == pytest.approx((2 / 3, 1.0))
    assert outcome.true == pytest.approx((0.5, 1.0, 50 / (35 * 40)))
    assert sam.asked[0].mask is None
    assert sam.asked[1].mask is not None
    assert sam.asked[-1].box == (8, 8, 42, 47)


def test_without_feed_back_no_mask_is_shown() -> None:
    sam = Painter((60, 60))
    annotate(sam, None, truth_with((10, 10), (40, 45)), 3, feed_back=False)
    assert all(prompts.mask is None for prompts in sam.asked)


def test_an_unsteady_hand_stays_on_what_it_means_and_repeats_by_seed() -> None:
    truth = truth_with((30, 30))
    hits = []
    for seed in (1, 1, 2):
        sam = Painter((60, 60))
        annotate(sam, None, truth, 1, seed)
        hits.append(sam.asked[0].points[0])
        assert truth[tuple(int(v) for v in hits[-1])]
    assert hits[0] == hits[1]


def outcome(*dice: Any, box: float = 0.9) -> Any:
    true = [d / (2 - d) for d in (*dice, box)]
    return SimpleNamespace(clicks=dice, box=box, estimated=true, true=true)


def test_the_summary_is_the_mean_with_an_interval_over_patients() -> None:
    rising = tuple(np.linspace(0.1, 1.0, 10))
    flat = (0.5,) * 10
    rows = [Measured("a", "x", 0, outcome(*rising)), Measured("b", "x", 0, outcome(*flat))]
    result = summary(rows)
    assert result["dice"]["1"]["mean"] == pytest.approx(0.3)
    assert result["dice"]["10 - 5"]["mean"] == pytest.approx(0.25)
    # Two patients: a mean is of a and a, a and b, or b and b.
    assert result["dice"]["1"]["interval"] == pytest.approx([0.1, 0.5])
    assert result["iou_correlation"] == 1
    assert (result["groups"], result["objects"]) == (2, 2)
    report = {"model": "m", "seeds": [0], "sets": {"s": result}}
    assert "| s | 2 | 0.300 (0.100, 0.500) |" in markdown(report)


@pytest.mark.parametrize("name", SETS)
def test_a_missing_set_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="--data"):
        interactive.measure(None, name, tmp_path, limit=1, seeds=[0])
