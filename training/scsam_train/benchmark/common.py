"""Shared by all benchmarks: writing a report, and running a round in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import ScsamError
from scsam_train.benchmark.machines import machine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_report(folder: Path, stem: str, report: Mapping[str, Any], table: str) -> None:
    """Write ``<stem>.json``, including the machine, and the Markdown table ``<stem>.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {"machine": machine(), **report}
    (folder / f"{stem}.json").write_text(json.dumps(named, indent=2) + "\n")
    (folder / f"{stem}.md").write_text(table)


def run_round(partial: Path, threads: int | None) -> None:
    """Train the round of ``NNNN.partial`` as the plugin does, with this number of torch threads.

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
