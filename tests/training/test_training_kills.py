"""A round or a tuning that is killed at a random moment loses nothing and leaves no dead end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs fork and SIGKILL")
@pytest.mark.parametrize(
    ("seed", "count"),
    [pytest.param(seed, 20, marks=pytest.mark.exhaustive) for seed in range(1, 4)],
)
def test_a_kill_at_any_moment_of_a_round_or_a_tuning(tmp_path: Path, seed: int, count: int) -> None:
    script = Path(__file__).with_name("killing_training.py")
    command = [sys.executable, str(script), str(tmp_path), str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()[-1].split("; ")
    killed = sum(int(one.split()[-1]) for one in words if ": killed" in one)
    assert killed >= count // 3, done.stdout
