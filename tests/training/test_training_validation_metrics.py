"""The judge: Dice per case, figures for paired comparisons, and what a round has forgotten."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from scsam_train.data import TrainPlane
from scsam_train.parent_comparison import comparison, forgetting
from scsam_train.validation_metrics import Evaluator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_scsam.models.sam import Embedding

NAMES = {1: "organ", 4: "tumour"}


class FixedPair:
    """Answers from the pixels: they are its label map."""

    class_ids, trained, joins_sam = (1, 4), ("unet",), False

    def __init__(self, change: Callable[[Any], Any] = lambda label: label) -> None:
        self.change, self.told = change, []

    def members(
        self, pixels: Any, embedding: Embedding, around: Any = None
    ) -> dict[str, np.ndarray]:
        self.told.append(around)
        label = self.change(pixels)
        maps = np.stack([label == 0, label == 1, label == 4]).astype(float)
        return {"unet": maps, "pair": maps[[0, 1, 2]]}


def plane(case: str, index: int, truth: Any, guess: Any, around: Any = None) -> TrainPlane:
    truth, guess = np.array([truth], np.uint8), np.array([guess], np.uint8)
    return TrainPlane(case, case, index, guess, truth, around=around)


PLANES = [
    plane("a", 0, [1, 1, 0, 0], [1, 0, 0, 0]),
    plane("a", 1, [1, 255, 4, 0], [1, 1, 4, 4]),
    plane("b", 0, [0, 0, 1, 255], [0, 0, 0, 4]),
]


def marks(pair: Any = None, planes: Any = PLANES) -> Any:
    return Evaluator(planes, NAMES).evaluate(pair or FixedPair(), lambda: None)


def test_pixels_are_counted_over_a_case_and_cases_are_averaged() -> None:
    found = marks()
    # a: organ 2 of 3 and 2 found; tumour 1 of 1 and 2 found. b: organ missed, no tumour.
    assert found.cases() == {
        "a": {m: {"organ": 2 * 2 / 5, "tumour": pytest.approx(2 / 3)} for m in ("unet", "pair")},
        "b": {m: {"organ": 0.0, "tumour": None} for m in ("unet", "pair")},
    }
    dice = found.dice()
    assert dice["pair"] == dice["unet"]
    assert dice["pair"]["organ"] == pytest.approx(0.4)
    assert dice["pair"]["tumour"] == pytest.approx(2 / 3)
    assert dice["pair"]["mean"] == pytest.approx((0.4 + 2 / 3) / 2)
    assert dice["sam"] == {"organ": None, "tumour": None, "mean": None}  # not trained


def test_the_mean_is_that_of_the_cases_that_are_written_down() -> None:
    found = marks()
    for name in NAMES.values():
        values = [case["pair"][name] for case in found.cases().values()]
        known = [value for value in values if value is not None]
        assert found.dice()["pair"][name] == pytest.approx(np.mean(known))
    json.dumps(found.cases(), allow_nan=False)


def test_the_judge_tells_a_pair_of_each_slice_s_neighbours() -> None:
    around = (np.zeros((1, 4)), np.ones((1, 4)))
    pair = FixedPair()
    marks(pair, [plane("a", 0, [1, 0, 0, 0], [1, 0, 0, 0], around), PLANES[0]])
    assert pair.told == [around, None]


def test_forgetting_is_measured_on_what_the_parent_was_judged_on(tmp_path: Path) -> None:
    split = {
        "held_out": ["b:0", "c:0", "a:1"],
        "train": ["a:1"],
        "cases": {"held_out": ["b", "c"], "train": ["a"]},
    }
    (tmp_path / "split.json").write_text(json.dumps(split))
    now, before = marks(), marks(FixedPair(lambda label: np.where(label == 0, 1, label)))
    found = forgetting(now, before, tmp_path)
    # Only b:0 counts: c is held out no more, and a:1 was trained on.
    assert found == {"planes": 1, "parent": pytest.approx(2 / 4), "round": 0.0}


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"held_out": ["c:0"], "train": []}'])
def test_without_the_parent_s_split_nothing_is_said_of_forgetting(
    tmp_path: Path, content: Any
) -> None:
    if content is not None:
        (tmp_path / "split.json").write_text(content)
    assert forgetting(marks(), marks(), tmp_path) is None


def test_a_round_is_compared_with_its_parent_pair_by_pair() -> None:
    now, before = marks(), marks(FixedPair(lambda label: np.where(label == 0, 1, label)))
    # a: organ .8 - .75, tumour 2/3 - 2/3; b: organ 0 - .5.
    assert comparison(now, before) == {
        "unit": "case",
        "count": 2,
        "difference": pytest.approx((0.025 - 0.5) / 2),
        "standard_error": pytest.approx(0.525 / 2),
    }
    one, same = marks(planes=PLANES[:2]), marks(planes=PLANES[:2])
    expected = {"unit": "slice", "count": 2, "difference": 0.0, "standard_error": 0.0}
    assert comparison(one, same) == expected
    single = marks(planes=PLANES[:1])
    assert comparison(single, single) == expected | {"count": 1, "standard_error": None}


def test_planes_without_any_class_compare_nothing() -> None:
    blank = marks(planes=[plane("a", 0, [0, 0, 0, 0], [0, 0, 0, 0])])
    assert comparison(blank, blank) is None
