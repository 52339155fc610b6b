"""A round that saves its state after its first step, and not only after ten seconds."""

from __future__ import annotations

import sys

from scsam_train import checkpointing
from scsam_train.__main__ import main

if __name__ == "__main__":
    checkpointing.FIRST_S = 0.0
    sys.exit(main())
