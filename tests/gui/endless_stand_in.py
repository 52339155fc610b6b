"""A round without models or end: it reports progress, and obeys, by the real round's own means."""

from __future__ import annotations

import sys
import time
from itertools import count
from typing import TYPE_CHECKING

from napari_scsam.core.round_contract import EventKind, Phase
from napari_scsam.core.threads import TRAINING
from scsam_train.child import run_child
from scsam_train.log import Control, EventLog

if TYPE_CHECKING:
    from pathlib import Path

STEP_S = 0.2
STEPS = 100_000


def train(folder: Path) -> None:
    """Report one step after the other until the round is cancelled."""
    log = EventLog(folder)
    control = Control(folder, log)
    for step in count(1):
        control.check()
        losses = {"loss_unet": 1 / step, "loss_sam": None}
        log.write(
            EventKind.PROGRESS, phase=Phase.TRAINING, step=step, steps=STEPS, eta_s=9.0, **losses
        )
        time.sleep(STEP_S)


if __name__ == "__main__":
    sys.exit(run_child(None, train, job="Training", niceness=TRAINING))
