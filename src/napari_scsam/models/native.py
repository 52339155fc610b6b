"""Loads native libraries in a way that a process with an open window survives."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module


def load_triton_apart() -> None:
    """Import triton so that its own LLVM does not mix with the graphics driver's.

    Once a window is open, Mesa's LLVM is in the process. triton carries another LLVM,
    whose symbols would bind to Mesa's: a segmentation fault on import, seen with
    Mesa 22 and triton 3 whichever thread imports it. torch and peft import triton on
    their way where it is installed, so this comes before them. Harmless elsewhere.
    """
    deep_bind = getattr(os, "RTLD_DEEPBIND", None)
    if deep_bind is None or "triton" in sys.modules:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | deep_bind)
    try:
        with suppress(ImportError):
            import_module("triton")
    finally:
        sys.setdlopenflags(flags)
