"""The machine that a figure was measured on, and the mode that imitates an ordinary processor."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_scsam.models import encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

# Keeps torch and oneDNN from instructions that most laptops lack: AVX-512, AMX, bfloat16. Both are
# read once, when torch is imported.
ORDINARY = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def is_ordinary() -> bool:
    """Whether this process and its children are limited to an ordinary processor's instructions."""
    return all(os.environ.get(name) == value for name, value in ORDINARY.items())


def run_as_ordinary(arguments: Sequence[str]) -> int:
    """Run the same benchmark in a process limited to an ordinary processor's instructions.

    Its child processes inherit the environment and so the limit.

    Parameters
    ----------
    arguments : sequence of str
        Arguments of the command line.

    Returns
    -------
    int
        The exit code.
    """
    command = [sys.executable, "-P", "-m", "scsam_train.benchmark", *arguments]
    return subprocess.run(command, env={**os.environ, **ORDINARY}, check=False).returncode


def in_this_mode(stem: str) -> str:
    """Return a name for files that differ between modes, such as embeddings in bfloat16."""
    return f"{stem}-ordinary" if is_ordinary() else stem


def machine() -> dict[str, Any]:
    """Describe everything that the duration of a run in this process depends on.

    Returns
    -------
    dict
        ``processor`` (its name), ``cores``, ``isa`` (used by torch's own kernels),
        ``onednn_max_isa`` (None if unlimited), ``amx``, ``bfloat16`` (whether products use it),
        ``ordinary``, ``threads`` and ``torch``.
    """
    kind = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kind = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), kind)
    return {
        "processor": kind,
        "cores": os.cpu_count(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "onednn_max_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        "amx": torch.cpu._is_amx_tile_supported(),
        "bfloat16": encoder.has_bfloat16(),
        "ordinary": is_ordinary(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
