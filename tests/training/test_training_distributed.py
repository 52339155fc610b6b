"""Two processes under accelerate: the losses and the weights of one with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NAMES = ["scsam", "cps", "scsam-paper"]
SCRIPT = """
import functools, json, sys
sys.path.insert(0, sys.argv[2])
import torch
from scsam_train import precision, students
from scsam_train.recipes import RECIPES, cps
from scsam_train.distributed import World
from toy import run, toy_context, weights_of
# Half precision rounds the two ways apart: the networks' own, and that in Muon's iteration. And
# Adam makes whole steps of gradients that are rounding alone, as those of a bias before a
# normalisation, unless its epsilon is well above them.
torch.optim.AdamW = functools.partial(torch.optim.AdamW, eps=1e-4)
torch.optim.Adam = functools.partial(torch.optim.Adam, eps=1e-4)
precision.has_bfloat16 = lambda device: False
students.unet_optimisers = lambda network, rate: {torch.optim.AdamW(network.parameters()): rate}
# What each U-Net teaches the other counts fully here: a fault of it shows the more, and no pixel's
# classes are as near to a tie as they come with a tenth of it (2e-7), which rounding then decides.
cps.WEIGHT = 1.0
torch.set_num_threads(1)
world, found = World(), {}
for name in sys.argv[3:]:
    # The narrow U-Net of the toy leaves ties of classes that rounding decides in cps.
    size = {"grid": 64, "channels": None} if name == "cps" else {}
    toy = toy_context(recipe=name, steps=10, world=world, labelled_batch=4, sam_batch=4, **size)
    recipe = RECIPES[name](toy)
    reports = run(recipe, 0, 10, 10)
    recipe.finish()
    weights = {k: float(v.double().abs().sum()) for k, v in weights_of(toy).items()}
    lines = [[r.loss_unet or -1, r.loss_sam or -1] for r in reports]
    found[name] = {"size": world.size, "losses": lines, "weights": weights}
if world.is_main:
    open(sys.argv[1], "w").write(json.dumps(found))
"""


def trained(folder: Path, processes: int) -> dict[str, Any]:
    """Losses and weights of each recipe, as the process that leads has them."""
    script, out = folder / "train.py", folder / f"{processes}.json"
    script.write_text(SCRIPT)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "accelerate.commands.launch", "--multi_gpu"]
        command += ["--num_processes", str(processes), "--num_machines", "1"]
        command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
        command += ["--main_process_port", "0"]
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "PYTHONPATH": str(HERE),
    }
    command += [str(script), str(out), str(HERE), *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = tmp_path_factory.mktemp("world")
    return trained(folder, 1), trained(folder, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_do_what_one_does(one_and_two: Any, name: str) -> None:
    one, two = (found[name] for found in one_and_two)
    assert (one["size"], two["size"]) == (1, 2)
    for mine, theirs in zip(one["losses"], two["losses"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    for key, value in one["weights"].items():
        assert two["weights"][key] == pytest.approx(value, rel=1e-4, abs=1e-6), key
