"""Two processes under accelerate: the losses and the weights of one with the same global batch.

One process is this one, and the two are forks of it. They find each other as those of ``accelerate
launch`` do, by their environment; the launcher itself is left to `make test-all`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from forked_child import FORKS, ForkedChildren
from shared_steps import alike, main, trained

from scsam_train.distributed import World

HERE = Path(__file__).parent
NAMES = ["scsam", "cps", "scsam-paper"]
LAUNCHER = (
    "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 "
    "--mixed_precision no --dynamo_backend no --main_process_port 0"
)


def started(out: Path, names: list[str], launcher: str = "", **more: str) -> Any:
    script = str(HERE / "shared_steps.py")
    command = [sys.executable, *launcher.split(), script, str(out), *names]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    env |= {"PYTHONPATH": os.pathsep.join([str(HERE), env.get("PYTHONPATH", "")]), **more}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def results(out: Path, *processes: Any) -> dict[str, Any]:
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-2000:]
    return json.loads(out.read_text())


def by_two(folder: Path) -> dict[str, Any]:
    """What two processes make, as the one that leads has it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    out = folder / "two.json"
    world["ACCELERATE_USE_CPU"] = "true"
    ranks = [{**world, "RANK": at, "LOCAL_RANK": at} for at in "01"]
    if not FORKS:
        return results(out, *[started(out, NAMES, **rank) for rank in ranks])
    forks = ForkedChildren()
    two = [forks.call(partial(main, str(out), *NAMES, environment=rank)) for rank in ranks]
    assert [process.wait() for process in two] == [0, 0]
    return json.loads(out.read_text())


def compare(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert (one["size"], two["size"]) == (1, 2)
    for mine, theirs in zip(one["losses"], two["losses"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    for key, value in one["weights"].items():
        assert two["weights"][key] == pytest.approx(value, rel=1e-4, abs=1e-6), key


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    with alike():
        one = trained(NAMES, World())
    return one, by_two(tmp_path_factory.mktemp("world"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_do_what_one_does(one_and_two: Any, name: str) -> None:
    one, two = (found[name] for found in one_and_two)
    compare(one, two)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_accelerates_launcher_starts_such_processes(tmp_path: Path) -> None:
    with alike():
        one = trained(["scsam"], World())["scsam"]
    out = tmp_path / "launched.json"
    compare(one, results(out, started(out, ["scsam"], LAUNCHER))["scsam"])
