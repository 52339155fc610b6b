"""Threads wait as told, and a process steps back to a level, not by one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from napari_scsam.core.threads import MODELS, SPINS, TRAINING, TUNING, wait_briefly


def test_threads_wait_briefly_unless_the_user_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    wait_briefly()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.environ["GOMP_SPINCOUNT"] == str(SPINS)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_briefly()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"]) == ("ACTIVE", "7")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no niceness")
def test_a_process_steps_back_to_a_level_however_often_it_is_asked() -> None:
    script = (
        "import os; from napari_scsam.core.threads import step_back; "
        f"step_back({TRAINING}); step_back({MODELS}); print(os.nice(0))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert int(done.stdout) == max(TRAINING, os.nice(0))
    assert MODELS < TRAINING < TUNING
