"""The estimate from random slices: its mean, its interval, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from annotation_desk import ManualRunner

from napari_scsam.workflows.check_estimate import CheckedSlice, Checks, estimate
from napari_scsam.workflows.running_estimate import RunningEstimate

if TYPE_CHECKING:
    from napari_scsam.project import Project


def slices(count: int, mean: float, round: int | None = 1) -> list[CheckedSlice]:
    """Slices of as many images, with Dice spread evenly around a mean."""
    spread = np.linspace(-0.1, 0.1, count) if count > 1 else [0.0]
    return [
        CheckedSlice(f"{round}-{i}", 0, round, {1: mean + float(s)}) for i, s in enumerate(spread)
    ]


def test_the_interval_is_that_of_the_mean_and_resamples_images() -> None:
    many = estimate(slices(400, 0.8))
    assert many.dice == pytest.approx(0.8) and many.slices == 400
    # Of a mean of 400: 1.96 standard errors on each side.
    error = 1.96 * np.std(np.linspace(-0.1, 0.1, 400)) / 20
    assert many.high - many.low == pytest.approx(2 * error, rel=0.1)
    few = estimate(slices(8, 0.8))
    assert few.high - few.low > many.high - many.low
    # Slices of one image are no independent evidence.
    same = [CheckedSlice(str(i // 50), i, 1, s.dice) for i, s in enumerate(slices(400, 0.8))]
    assert estimate(same).high - estimate(same).low > 10 * error
    assert estimate(slices(4, 0.8)).low is None and estimate([]).dice is None


def test_slices_without_a_structure_are_counted_apart() -> None:
    empty = [CheckedSlice("e", 0, 1, {}), CheckedSlice("f", 0, 1, {})]
    found = estimate([*slices(5, 0.5), *empty])
    assert (found.slices, found.empty, found.dice) == (5, 2, pytest.approx(0.5))
    assert CheckedSlice("a", 0, 1, {1: 1.0, 2: 0.0}).mean == 0.5


def test_slices_that_were_only_asked_about_count_and_are_told_apart() -> None:
    asked = [CheckedSlice("q", 0, 1, {1: 0.0}, outlined=False)]
    found = estimate([*slices(4, 0.9), *asked])
    assert (found.slices, found.outlined) == (5, 4)
    assert (found.dice, found.dice_outlined) == (pytest.approx(0.72), pytest.approx(0.9))
    assert found.text.endswith("; 0.90 on the 4 outlined")
    assert "outlined" not in estimate(slices(5, 0.9)).text
    assert estimate(asked).text == "On 1 random slice: Dice 0.00"


def test_the_newest_round_is_shown_where_it_has_enough() -> None:
    old, new = slices(6, 0.5), slices(5, 0.8, 2)
    assert Checks().text == ""
    assert Checks((*old, *new)).text.startswith("Round 2: On 5 random slices: Dice 0.80, 0.7")
    assert Checks((*old, *new[:4])).text.startswith("On 10 random slices: Dice 0.6")
    without = slices(6, 0.7, None)
    assert Checks(tuple(without), 3, 2).text.startswith("On 6 random slices: Dice 0.70, 0.6")
    assert Checks(tuple(without), 3, 2).text.endswith("3 had no suggestion.")


def test_many_commits_while_it_computes_are_one_more_computation(project: Project) -> None:
    runner, texts = ManualRunner(), list[tuple[str, str, str]]()
    running = RunningEstimate(project, runner, lambda *all_three: texts.append(all_three))
    for _ in range(5):
        running.refresh()
    assert len(runner.queue) == 1
    runner.work()
    assert texts == [("", "", ""), ("", "", "")]
    running.refresh()
    runner.work()
    assert len(texts) == 3
