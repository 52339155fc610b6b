"""Shared by all benchmarks: writing a report, and running a round in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import InputError, ScsamError
from napari_scsam.io import check_outputs
from napari_scsam.io.atomic import write_bytes
from napari_scsam.io.real_files import read_json
from scsam_train.benchmark.machines import machine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Marks a folder whose content a benchmark wrote, and may remove.
MADE_HERE = ".scsam-benchmark"


def write_report(folder: Path, stem: str, report: Mapping[str, Any], table: str | None) -> None:
    """Write ``<stem>.json``, which names the machine, and the table in Markdown, ``<stem>.md``.

    There is no table while the report is not whole. An earlier report is replaced; InputError where
    another file stands there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = {"machine": machine(), **report}
    found = folder / f"{stem}.json"
    if not found.exists() or not _is_report(found):  # an earlier report is replaced
        check_outputs([found, folder / f"{stem}.md"], [])
    write_bytes(found, f"{json.dumps(named, indent=2)}\n".encode())
    if table is not None:
        write_bytes(folder / f"{stem}.md", table.encode())


def own_folder(folder: Path) -> Path:
    """Make a folder that a benchmark may empty and fill, or find the one that it made before.

    Raises
    ------
    InputError
        If something else is in it.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MADE_HERE).is_file():
        raise InputError(
            f"{folder} holds files that this benchmark did not write: choose another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MADE_HERE).touch()
    return folder


def _is_report(path: Path) -> bool:
    """Whether a benchmark wrote it; those of tunings did not always name the machine."""
    try:
        return bool({"machine", "plan"} & set(read_json(path)))
    except (OSError, ValueError, TypeError):
        return False


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
