"""A window that is killed loses at most the stroke that is being drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("napari")
pytestmark = pytest.mark.gui


@pytest.mark.skipif(os.name == "nt", reason="needs fork and SIGKILL")
@pytest.mark.parametrize(
    ("seed", "count"), [(1, 2), pytest.param(2, 50, marks=pytest.mark.exhaustive)]
)
def test_a_killed_window_loses_at_most_the_stroke_in_progress(
    seed: int, count: int, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("killing_window.py")
    words = [sys.executable, str(script), str(tmp_path), str(seed), str(count)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60 + 20 * count)
    assert done.returncode == 0, done.stderr[-3000:]
    killed, strokes, outlines = done.stdout.splitlines()[-1].split(", ")
    assert killed == f"{count} killed"
    # So that there was something to lose.
    assert int(strokes.split()[0]) + int(outlines.split()[0]) > count
    assert int(outlines.split()[0])
