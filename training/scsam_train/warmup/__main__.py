"""``python -m scsam_train.warmup --out DIR``: train an adapter for point prompts of LiteMedSAM."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from napari_scsam.core.errors import ScsamError
from napari_scsam.core.memory import keep_freed_memory
from napari_scsam.core.threads import wait_briefly

# Those of the shipped adapter (docs/explanation/warm-up.md): training scenes, held-out scenes,
# steps of one run through the curriculum, and a time limit that it did not reach.
SCENES, HELD_OUT, STEPS, MINUTES = 1600, 64, 4500, 600.0


def main(arguments: list[str] | None = None) -> int:
    """Run or resume the training given on the command line.

    Returns 0, or 2 after an error message.
    """
    options = _parser().parse_args(arguments)
    wait_briefly()
    keep_freed_memory()
    from scsam_train.warmup.fit import Plan
    from scsam_train.warmup.make import make_adapter

    console = Console(stderr=True)
    plan = Plan(
        seed=options.seed, steps=options.steps, minutes=options.minutes, batch=options.batch
    )
    try:
        figures = make_adapter(
            Path(options.out),
            plan,
            scenes=options.scenes,
            held_out=options.held_out,
            cache=Path(options.cache) if options.cache else None,
            on_event=lambda event: console.print_json(json.dumps(event), indent=None),
        )
    except ScsamError as exc:
        console.print(str(exc))
        return 2
    sys.stdout.write(json.dumps({"plan": asdict(plan), "figures": figures}) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scsam_train.warmup", description=__doc__)
    add: Any = parser.add_argument
    add("--out", required=True, help="folder for the adapter, its log and its state")
    add("--seed", type=int, default=0)
    add("--minutes", type=float, default=MINUTES, help="time limit of one pass")
    add("--steps", type=int, default=STEPS, help="steps of one pass; exactly reproducible")
    add("--batch", type=int, default=8, help="objects per step")
    add("--scenes", type=int, default=SCENES, help="scenes for training")
    add("--held-out", type=int, default=HELD_OUT, help="scenes for validation")
    add("--cache", default=None, help="folder for embeddings, 2.5 MB each; default OUT/cache")
    return parser


if __name__ == "__main__":
    sys.exit(main())
