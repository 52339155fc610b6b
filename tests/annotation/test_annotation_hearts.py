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
@pytest.mark.parametrize("slices", [6, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_hearts_take_twelve_actions_at_most(slices: int) -> None:
    if not (DATA / "cardiac_acdc").is_dir():
        pytest.skip("the developers' scans are not here")
    command = [sys.executable, str(ROOT / "benchmarks" / "heart_annotator.py"), str(DATA)]
    command += ["--slices", str(slices)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(found.stdout.splitlines()[-1])
    assert result["slices"] == slices
    assert result["most_actions"] <= 12
    dice = result["dice"]
    assert min(dice["left ventricle"], dice["right ventricle"]) >= 0.9
    # The goal is .90, too; without the rule for rings it was .17.
    assert dice["myocardium"] >= 0.8
