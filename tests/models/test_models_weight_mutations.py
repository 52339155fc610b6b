"""Weights that were changed at random are read or refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="a process's memory is limited in Linux's way"
)


@pytest.mark.parametrize(
    ("count", "first"),
    [(24, 0), *(pytest.param(500, n * 1000, marks=pytest.mark.exhaustive) for n in range(1, 4))],
)
def test_changed_weights_are_no_crash_and_no_hang(count: int, first: int, tmp_path: Path) -> None:
    script = Path(__file__).with_name("weight_mutations.py")
    command = [sys.executable, str(script), str(tmp_path), str(count), str(first)]
    rooms = [str(script.parents[1] / room) for room in ("io", "project", "models")]
    path = os.pathsep.join([*rooms, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=900
    )
    *faults, counts = done.stdout.splitlines() or [""]
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:]
    assert not faults, "\n".join(faults)
    assert count / 4 < int(counts.split()[0]) < count
