"""Weights that were changed at random are read or refused in one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from forked_child import ForkedChildren

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="a process's memory is limited in Linux's way"
)


@pytest.mark.parametrize(
    ("count", "first"),
    [(24, 0), *(pytest.param(500, n * 1000, marks=pytest.mark.exhaustive) for n in range(1, 4))],
)
def test_changed_weights_are_no_crash_and_no_hang(
    count: int,
    first: int,
    tmp_path: Path,
    forks: ForkedChildren,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for room in ("io", "project", "models"):
        folder = str(Path(__file__).parents[1] / room)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
    command = [sys.executable, "-P", "-m", "weight_mutations"]
    done = forks.run([*command, str(tmp_path), str(count), str(first)])
    *faults, counts = done.stdout.splitlines() or [""]
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:]
    assert not faults, "\n".join(faults)
    assert count / 4 < int(counts.split()[0]) < count
