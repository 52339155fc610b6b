"""What an import may bring with it (docs/explanation/architecture.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

HEAVY = ("torch", "napari", "qtpy", "PyQt6", "magicgui", "superqt", "monai", "peft")
LOW_ROOMS = (
    "napari_scsam",
    "napari_scsam.cli.__main__",
    "napari_scsam.annotation.controller",
    "napari_scsam.workflows.prediction",
    "napari_scsam.rounds.running_round",
    "napari_scsam.core.prompts",
    "napari_scsam.io",
    "napari_scsam.models",
    "napari_scsam.project",
)


ONE_BY_ONE = f"""
import importlib, json, sys
found = {{}}
for room in {LOW_ROOMS!r}:
    importlib.import_module(room)
    found[room] = sorted(sys.modules)
print(json.dumps(found))
"""


def said_by(code: str) -> Any:
    """What a process of its own writes as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def modules_after(statement: str) -> set[str]:
    return set(said_by(f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"))


@pytest.fixture(scope="module")
def after_each() -> dict[str, list[str]]:
    """What one process has imported after each low room, one after the other."""
    found: dict[str, list[str]] = said_by(ONE_BY_ONE)
    return found


@pytest.mark.parametrize("module", LOW_ROOMS)
def test_a_low_room_brings_neither_qt_nor_napari_nor_torch(
    module: str, after_each: dict[str, list[str]]
) -> None:
    assert module in after_each[module]
    assert set(after_each[module]).isdisjoint(HEAVY)


def test_reading_the_plugins_manifest_imports_neither_qt_nor_torch() -> None:
    found = modules_after(
        "from npe2 import PluginManager\n"
        "manager = PluginManager()\n"
        "manager.discover(include_npe1=False)\n"
        "assert manager.get_manifest('napari-scsam').contributions.widgets"
    )
    assert found.isdisjoint({"torch", "qtpy", "PyQt6", "napari"})


def test_the_public_names_are_there() -> None:
    found = modules_after(
        "import napari_scsam as s; s.Project, s.Prompts, s.load_sam, s.evaluate, s.read_volume"
    )
    assert "torch" not in found
