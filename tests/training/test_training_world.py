"""Two processes under accelerate: the losses and the weights of one with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scsam_train.recipes import RECIPES

HERE = Path(__file__).parent
SCRIPT = """
import functools, json, sys
sys.path.insert(0, sys.argv[3])
import torch
from scsam_train import precision, students, kit
from scsam_train.recipes import RECIPES, cps
from scsam_train.world import World
from toy import run, toy_kit, weights_of
# Half precision rounds the two ways apart: the networks' own, and that in Muon's iteration. And
# Adam makes whole steps of gradients that are rounding alone, as those of a bias before a
# normalisation, unless its epsilon is well above them.
torch.optim.AdamW = functools.partial(torch.optim.AdamW, eps=1e-4)
precision.has_bfloat16 = lambda device: False
students.unet_optimisers = lambda weights, rate: {torch.optim.AdamW(weights): rate}
# What each U-Net teaches the other counts fully here: a fault of it shows the more, and no pixel's
# classes are as near to a tie as they come with a tenth of it (2e-7), which rounding then decides.
cps.WEIGHT = 1.0
torch.set_num_threads(1)
world = World()
toy = toy_kit(recipe=sys.argv[1], steps=10, world=world, labelled_batch=4, sam_batch=4)
recipe = RECIPES[sys.argv[1]](toy)
reports = run(recipe, 0, 10, 10)
recipe.finish()
if world.leads:
    weights = {k: float(v.double().abs().sum()) for k, v in weights_of(toy).items()}
    lines = [[r.loss_unet or -1, r.loss_sam or -1] for r in reports]
    found = {"size": world.size, "losses": lines, "weights": weights}
    open(sys.argv[2], "w").write(json.dumps(found))
"""


def trained(tmp_path, name, processes):
    script, out = tmp_path / "train.py", tmp_path / f"{name}-{processes}.json"
    script.write_text(SCRIPT)
    command = [sys.executable]
    if processes > 1:
        launch = [
            "-m",
            "accelerate.commands.launch",
            "--multi_gpu",
            "--num_processes",
            str(processes),
        ]
        command += [*launch, "--num_machines", "1", "--mixed_precision", "no"]
        command += ["--dynamo_backend", "no", "--main_process_port", "0"]
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "PYTHONPATH": str(HERE),
    }
    command += [str(script), name, str(out), str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scsam", "cps"])
def test_two_processes_do_what_one_does(tmp_path, name):
    assert name in RECIPES
    one, two = (trained(tmp_path, name, processes) for processes in (1, 2))
    assert (one["size"], two["size"]) == (1, 2)
    for mine, theirs in zip(one["losses"], two["losses"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    for key, value in one["weights"].items():
        assert two["weights"][key] == pytest.approx(value, rel=1e-4, abs=1e-6), key
