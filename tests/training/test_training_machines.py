"""Computing as an ordinary processor does, on any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scsam_train.benchmark import __main__ as benchmark
from scsam_train.benchmark.machines import ORDINARY

if TYPE_CHECKING:
    from pathlib import Path

# A processor with bfloat16, whichever this one is.
ASK = """
import json, torch
torch.cpu._is_avx512_bf16_supported = lambda: True
from scsam_train.benchmark.machines import machine
print(json.dumps(machine()))
"""


def test_where_onednn_may_not_use_bfloat16_nothing_is_computed_in_it() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", ASK],
        env={**os.environ, **ORDINARY, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["ordinary"] and found["isa"] in ("AVX2", "DEFAULT")  # the latter without AVX2
    assert not found["bfloat16"]
    assert found["threads"] == 1 and found["onednn_max_isa"] == "AVX2"


@pytest.mark.parametrize("ordinary", [True, False])
def test_the_switch_runs_the_same_command_in_a_process_of_its_own(
    ordinary: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once: the process that it starts runs the benchmark itself."""
    started, measured = [], []

    def start(
        command: list[str], env: dict[str, str], check: bool
    ) -> subprocess.CompletedProcess[str]:
        started.append((command[4:], {name: env.get(name) for name in ORDINARY}))
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setattr("scsam_train.benchmark.machines.subprocess.run", start)
    monkeypatch.setattr(benchmark, "_steps", lambda options: measured.append(options.out) or 0)
    for name in ORDINARY:
        monkeypatch.delenv(name, raising=False)
    arguments = ["steps", "--out", str(tmp_path), *(["--ordinary"] if ordinary else [])]
    assert benchmark.main(arguments) == (7 if ordinary else 0)
    assert started == ([(arguments, ORDINARY)] if ordinary else [])
    for name, value in ORDINARY.items():
        monkeypatch.setenv(name, value)
    assert benchmark.main(arguments) == 0
    assert measured == [str(tmp_path)] * (1 if ordinary else 2)
