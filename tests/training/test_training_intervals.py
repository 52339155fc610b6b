"""Intervals of paired differences, against computations of their own."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from scsam_train.benchmark.intervals import by_case, by_seed, over_cases, over_seeds


def run_of(values: Any, chosen_by: Any = ()) -> dict[str, Any]:
    """A record of one class: Dice by case and member, and the means that it reports."""
    cases = {
        case: {"image": {member: {"polyp": {"dice": dice}} for member, dice in of.items()}}
        for case, of in values.items()
    }
    kept = [of for case, of in values.items() if case not in chosen_by]
    members = {member for of in kept for member in of}
    dice = {member: float(np.mean([of[member] for of in kept])) for member in members}
    return {"cases": cases, "chosen_by": list(chosen_by), "dice": dice}


def test_the_interval_over_seeds_is_students() -> None:
    # The yields of Student's sleep data (Biometrika 6, 1908), second minus first drug: the
    # interval as R's help of t.test has it.
    differences = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    low, high = over_seeds(differences)
    assert (low, high) == (pytest.approx(0.7001142, abs=1e-6), pytest.approx(2.4598858, abs=1e-6))
    assert over_seeds([0.1]) is None and over_seeds([]) is None
    assert over_seeds([0.1, 0.1]) == (pytest.approx(0.1), pytest.approx(0.1))


def test_the_interval_over_cases_is_that_of_all_resamples() -> None:
    differences = [-0.2, 0.0, 0.1, 0.15, 0.4, 0.05]
    # Every one of the 6 ** 6 resamples, each as likely as another.
    means = np.mean(list(itertools.product(differences, repeat=6)), axis=1)
    exact = np.quantile(means, [0.025, 0.975])
    assert over_cases(differences) == pytest.approx(tuple(exact), abs=0.01)
    assert over_cases(differences) == over_cases(differences)
    assert over_cases([0.1]) is None


def test_differences_are_paired_by_seed_and_by_case() -> None:
    """Cases that chose count for nothing, and of two seeds a case is one unit."""
    mine = {
        "0": run_of({"a": {"unet": 0.5}, "b": {"unet": 0.7}, "c": {"unet": 0.1}}, ["c"]),
        "1": run_of({"a": {"unet": 0.9}, "b": {"unet": 0.2}, "c": {"unet": 0.8}}, ["b"]),
        "2": run_of({"a": {"unet": 0.0}}),
    }
    base = {
        "0": run_of({"a": {"unet": 0.4}, "b": {"unet": 0.4}, "c": {"unet": 0.9}}, ["c"]),
        "1": run_of({"a": {"unet": 0.4}, "b": {"unet": 0.9}, "c": {"unet": 0.9}}, ["b"]),
    }
    assert by_seed(mine, base, "unet") == pytest.approx([0.2, 0.2])
    assert by_case(mine, base, "unet") == pytest.approx({"a": 0.3, "b": 0.3, "c": -0.1})
    assert by_seed(mine, base, "sam") == [] and by_case(mine, base, "sam") == {}


def test_a_pair_is_held_against_the_only_member_of_the_other() -> None:
    mine = {"0": run_of({"a": {"unet": 0.5, "sam": 0.6, "pair": 0.8}})}
    alone = {"0": run_of({"a": {"unet": 0.4}})}
    assert by_seed(mine, alone, "pair") == pytest.approx([0.4])
    assert by_case(mine, alone, "pair") == pytest.approx({"a": 0.4})
    assert by_seed(mine, alone, "sam") == []
