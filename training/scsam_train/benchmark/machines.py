"""The machine that a figure was measured on, and how to measure as on an ordinary one."""

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

# What keeps torch and oneDNN from instructions that most laptops lack: AVX-512, AMX, bfloat16.
# Both are read once, when torch is imported.
ORDINARY = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def is_ordinary() -> bool:
    """Whether this process, and those that it starts, compute as an ordinary processor does."""
    return all(os.environ.get(name) == value for name, value in ORDINARY.items())


def run_as_ordinary(arguments: Sequence[str]) -> int:
    """Run the same benchmark in a process that computes as an ordinary processor does.

    Its rounds, embeddings and answers all follow, since they inherit its environment.

    Parameters
    ----------
    arguments : sequence of str
        Of the command line.

    Returns
    -------
    int
        The exit code.
    """
    command = [sys.executable, "-P", "-m", "scsam_train.benchmark", *arguments]
    return subprocess.run(command, env={**os.environ, **ORDINARY}, check=False).returncode


def in_this_mode(stem: str) -> str:
    """A name for what ordinary processors make differently, such as bfloat16's embeddings."""
    return f"{stem}-ordinary" if is_ordinary() else stem


def machine() -> dict[str, Any]:
    """What the time of a run in this process depends on.

    Returns
    -------
    dict
        ``processor`` (its name), ``cores``, ``isa`` (what torch's own code uses) and
        ``onednn_max_isa`` (None where nothing limits it), ``amx``, ``bfloat16`` (whether products
        are taken in it), ``ordinary``, ``threads`` and ``torch``.
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
