"""How a process that computes shares the cores: with the window, and among its threads."""

from __future__ import annotations

import os
from contextlib import suppress

# How far each kind of process steps back behind the window: what a click waits for the least,
# then rounds, then tuning, which starts by itself.
MODELS, TRAINING, TUNING = 5, 10, 15

# Turns of a waiting thread before it sleeps: some 0.1 ms.
SPINS = 10_000


def wait_briefly() -> None:
    """Have threads of this process sleep when they wait for long, and the window go first.

    OpenMP's threads turn in circles for up to milliseconds by default, on cores that the
    window needs. Sleeping at once makes a training step of many short operations take 30 % longer
    (0.38 and 0.51 s on 2 cores, two pairs of runs), after this many turns none. To be called before
    torch is imported, which reads this once; what the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # libgomp, which torch brings for Linux, heeds it before the policy.
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def step_back(niceness: int) -> None:
    """Lower this process's priority to that level, however it was started.

    Windows has no such levels.
    """
    with suppress(AttributeError, OSError):
        os.nice(max(0, niceness - os.nice(0)))
