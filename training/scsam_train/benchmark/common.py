"""What the benchmarks share: writing a report, and running a round in its own process."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from napari_scsam.core.errors import ScsamError


def write_report(folder: Path, stem: str, report: Mapping[str, Any], table: str) -> None:
    """Write ``<stem>.json`` and, with the table in Markdown, ``<stem>.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.json").write_text(json.dumps(report, indent=2) + "\n")
    (folder / f"{stem}.md").write_text(table)


def run_round(partial: Path, threads: int | None) -> None:
    """Train the round of ``NNNN.partial`` as the plugin does, with so many of torch's threads.

    Raises
    ------
    ScsamError
        If it fails.
    """
    limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "scsam_train", str(partial)],
        env={**os.environ, **limits},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not partial.with_suffix("").is_dir():
        raise ScsamError(f"The round in {partial} failed: {done.stderr.strip()[-500:]}")


def machine() -> dict[str, Any]:
    """What a run's time depends on."""
    kind = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kind = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), kind)
    return {
        "processor": kind,
        "amx": torch.cpu._is_amx_tile_supported(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }
