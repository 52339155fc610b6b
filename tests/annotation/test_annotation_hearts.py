"""The simulated annotator outlines three-class hearts through the dock's own controllers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SCSAM_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(
    ("slices", "skip", "least"),
    # Of six slices, one alone decides more than the second decimal.
    [(6, 0, 0.88), pytest.param(20, 20, 0.9, marks=pytest.mark.exhaustive)],
)
def test_hearts_take_twelve_actions_at_most(slices: int, skip: int, least: float) -> None:
    if not (DATA / "cardiac_acdc").is_dir():
        pytest.skip("the developers' scans are not here")
    command = [sys.executable, str(ROOT / "benchmarks" / "heart_annotator.py"), str(DATA)]
    command += ["--slices", str(slices), "--skip", str(skip)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(found.stdout.splitlines()[-1])
    assert result["slices"] == slices
    assert result["most_actions"] <= 12
    dice = result["dice"]
    assert min(dice["left ventricle"], dice["right ventricle"]) >= 0.9
    # By a box it was .87, and without the rule for rings .17.
    assert dice["myocardium"] >= least
