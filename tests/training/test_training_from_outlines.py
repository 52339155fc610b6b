"""The benchmark of suggestions before the first round: what it counts, and its table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from test_training_semi import write_set

from scsam_train.benchmark.__main__ import main
from scsam_train.benchmark.from_outlines import Found, markdown, summary

if TYPE_CHECKING:
    from pathlib import Path


def test_outlines_questions_and_false_alarms_are_counted_apart() -> None:
    found = [
        Found(1, True, outlined=True, inside=True, dice=0.9),
        Found(1, True, outlined=True, inside=True, dice=0.7),
        Found(1, True, asked=True, inside=True, dice=0.4),
        Found(1, True),
        Found(1, False, asked=True),
        Found(1, False, outlined=True),
    ]
    row = summary(found)
    assert row["dice"] == pytest.approx(0.8)
    plan = {"set": "polyps_kvasir", "outlines": 3, "tested": 6, "seed": 0}
    table = markdown({"plan": plan, "planes": 6, "classes": {"polyp": row}})
    assert table.splitlines()[-1] == "| polyp | 2 of 4 | 0.80 | 1 of 2 | 2, 1 |"
    assert "|  |" in markdown({"plan": plan, "planes": 0, "classes": {"polyp": summary([])}})


@pytest.mark.exhaustive
@pytest.mark.slow
def test_suggestions_from_two_outlines_are_compared_with_the_masks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "data", train=6)
    words = ["from-outlines", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert main([*words, "--outlines", "2", "--tested", "4"]) == 0
    assert "| polyp | " in capfd.readouterr().out
    found = json.loads((tmp_path / "out" / "from-outlines-polyps_kvasir.json").read_text())
    row = found["classes"]["polyp"]
    assert found["planes"] == row["present"] == 4
    assert row["outlined"] + row["asked"] > 0
    assert main([*words, "--outlines", "5", "--tested", "4"]) == 2
