"""Process priorities and thread waiting, so that background processes leave cores to the window."""

from __future__ import annotations

import os
from contextlib import suppress

# Niceness of each kind of process: clicks wait for the models, so they come first, then rounds,
# then tuning, which starts by itself, then the ranking of the images. Arbitrary values.
MODELS, TRAINING, TUNING, RANKING = 5, 10, 15, 19

# Iterations that a waiting thread spins before it sleeps: about 0.1 ms.
SPINS = 10_000


def wait_briefly() -> None:
    """Let waiting threads of this process sleep after a short time, so that the window goes first.

    By default OpenMP threads spin for up to milliseconds, on cores that the window needs. Without
    any spinning, a training step of many short operations takes 30 % longer (0.38 and 0.51 s on
    2 cores, two pairs of runs); with this number of iterations it does not. Must be called before
    torch is imported, which reads these variables once. Variables set by the user are kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # libgomp, which torch includes on Linux, prefers it over the policy.
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def step_back(niceness: int) -> None:
    """Lower the priority of this process to that niceness, whatever it was before.

    Has no effect on Windows.
    """
    with suppress(AttributeError, OSError):
        os.nice(max(0, niceness - os.nice(0)))
