"""A few steps of recipes in one of several processes, for `test_training_distributed`.

``python shared_steps.py OUT RECIPE...`` writes losses and weights, in the process that leads. It is
the process that ``RANK`` names.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from toy import run, toy_context, weights_of

from scsam_train.distributed import World
from scsam_train.recipes import RECIPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# In the ninth step of `scsam`, SAM is trained beside the U-Net.
STEPS = {"scsam": 9, "cps": 5, "scsam-paper": 5}


@contextmanager
def alike() -> Iterator[None]:
    """Take away what rounds differently in one process and in two, inside the block.

    Half precision rounds the two ways apart: the networks' own, and that in Muon's iteration. And
    Adam makes whole steps of gradients that are rounding alone, as those of a bias before a
    normalisation, unless its epsilon is well above them.

    What each U-Net of cps teaches the other counts fully: a fault of it shows the more, and no
    pixel's classes are as near to a tie as they come with a tenth of it (2e-7), which rounding then
    decides.
    """
    adamw, adam = torch.optim.AdamW, torch.optim.Adam
    threads = torch.get_num_threads()
    changes = (
        patch("torch.optim.AdamW", partial(adamw, eps=1e-4)),
        patch("torch.optim.Adam", partial(adam, eps=1e-4)),
        patch("scsam_train.precision.has_bfloat16", lambda device: False),
        patch(
            "scsam_train.students.unet_optimisers",
            lambda network, rate: {torch.optim.AdamW(network.parameters()): rate},
        ),
        patch("scsam_train.recipes.cps.WEIGHT", 1.0),
    )
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(change)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def trained(names: Sequence[str], world: World) -> dict[str, Any]:
    """Losses and weights of each recipe after a few steps."""
    found = {}
    for name in names:
        # The narrow U-Net of the toy leaves ties of classes that rounding decides in cps.
        size = {"channels": None} if name == "cps" else {}
        batches, steps = {"labelled_batch": 4, "sam_batch": 4}, STEPS[name]
        toy = toy_context(recipe=name, steps=steps, world=world, **batches, **size)
        recipe = RECIPES[name](toy)
        reports = run(recipe, 0, steps, steps)
        recipe.finish()
        found[name] = {
            "size": world.size,
            "losses": [[r.loss_unet or -1, r.loss_sam or -1] for r in reports],
            "weights": {k: float(v.double().abs().sum()) for k, v in weights_of(toy).items()},
        }
    return found


def main(out: str, *names: str, environment: Mapping[str, str] = MappingProxyType({})) -> None:
    """Train, and write what came of it."""
    os.environ |= environment
    world = World()
    with alike():
        found = trained(names, world)
    if world.is_main:
        Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
