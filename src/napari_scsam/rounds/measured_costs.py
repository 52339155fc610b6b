"""Measured speed of this machine, stored for all projects in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import platformdirs

from napari_scsam.core.errors import INVALID
from napari_scsam.core.settings import TrainSettings
from napari_scsam.io.atomic import write_bytes
from napari_scsam.rounds.assumed_costs import Past, Planes

# Environment variable for another folder, for example on a cluster with a read-only home.
FOLDER_VARIABLE = "NAPARI_SCSAM_CACHE"
# Figures that depend on the size of a round, not on the machine.
OF_ITS_SIZE = ("seconds_judging", "embeddings", "pictures")


def remember(past: Past) -> None:
    """Store the rates of a small round, replacing earlier ones.

    Raises
    ------
    ProjectError
        If the folder can't be written.
    """
    rates = {name: value for name, value in past.rates.items() if name not in OF_ITS_SIZE}
    content = {
        "machine": _machine(),
        "settings": past.settings.to_dict(),
        "planes": asdict(past.planes),
        "rates": rates,
    }
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, json.dumps(content, indent=1).encode())


def recall() -> Past | None:
    """Return the stored rates of this machine with the same versions; None if there are none."""
    try:
        kept = json.loads(_path().read_bytes())
        if kept["machine"] != _machine():
            return None
        rates = {str(name): _rate(value) for name, value in kept["rates"].items()}
        planes = Planes(**{str(name): int(value) for name, value in kept["planes"].items()})
        return Past(None, TrainSettings.from_dict(kept["settings"]), planes, rates)
    except (OSError, *INVALID):
        return None


def _rate(value: Any) -> Any:
    """Return a number, or a string such as the device's name."""
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError(f"no rate: {value}")
    return number


def _path() -> Path:
    folder = os.environ.get(FOLDER_VARIABLE) or platformdirs.user_cache_path("napari-scsam")
    digest = hashlib.sha256(json.dumps(_machine()).encode()).hexdigest()
    return Path(folder) / f"speed-{digest[:12]}.json"


def _machine() -> dict[str, str]:
    """Describe what the rates are valid for: machine, processor mode, and package versions."""
    return {
        "node": platform.node(),
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "capability": os.environ.get("ATEN_CPU_CAPABILITY", ""),
        "torch": _version("torch"),
        "napari-scsam": _version("napari-scsam"),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
