"""Interactive SC-SAM segmentation: suggest prompts, correct, commit, co-train.

The names below are imported on first use, so that ``import napari_scsam`` loads neither torch, Qt
nor napari.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from napari_scsam.core.errors import ScsamError as ScsamError
    from napari_scsam.core.prompts import Prompts as Prompts
    from napari_scsam.io import read_volume as read_volume
    from napari_scsam.models import evaluate as evaluate
    from napari_scsam.models import load_sam as load_sam
    from napari_scsam.project import Project as Project

_HOMES = {
    "Project": "napari_scsam.project",
    "Prompts": "napari_scsam.core.prompts",
    "ScsamError": "napari_scsam.core.errors",
    "evaluate": "napari_scsam.models",
    "load_sam": "napari_scsam.models",
    "read_volume": "napari_scsam.io",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
