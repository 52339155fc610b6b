"""Lazy imports of modules that need optional packages."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from napari_scsam.core.errors import MissingDependencyError

if TYPE_CHECKING:
    from types import ModuleType


def imported(name: str) -> ModuleType:
    """Import a module of this package.

    Raises
    ------
    MissingDependencyError
        If a package that it needs is not installed, with the command to install it.
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
