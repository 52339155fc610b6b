"""Modules whose packages not everyone installs, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from napari_scsam.core.errors import MissingDependencyError

if TYPE_CHECKING:
    from types import ModuleType


def imported(name: str) -> ModuleType:
    """Import a module of ours.

    Raises
    ------
    MissingDependencyError
        If a package that it needs is not installed; says what to install.
    """
    try:
        return import_module(name)
    except ImportError as exc:
        if (exc.name or "").startswith("napari_scsam"):
            raise
        raise MissingDependencyError(
            f"The package {exc.name!r} is not installed. "
            'Install the models with: pip install "napari-scsam[all]"',
            name=exc.name,
        ) from exc
