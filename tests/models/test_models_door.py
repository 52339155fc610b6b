"""`models/__init__.pyi` lists what other rooms use, and no one goes in by another door."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from napari_scsam import models

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DOOR = "napari_scsam.models"
INSIDE = ROOT / "src/napari_scsam/models"
OUTSIDE = [
    path
    for folder in ("src", "training", "benchmarks", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not path.is_relative_to(INSIDE)
]


def listed() -> dict[str, str]:
    """Where each name of the door is; the modules that it shows themselves are in no module."""
    stub = ast.parse((INSIDE / "__init__.pyi").read_text())
    lines = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: line.module or "" for line in lines for alias in line.names}


def imports(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Modules that are imported, each with the names that are taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or "", tuple(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)


def used(tree: ast.AST) -> set[str]:
    """Names of the door that a module takes."""
    found = {name for module, names in imports(tree) if module == DOOR for name in names}
    if ("napari_scsam", ("models",)) in set(imports(tree)):
        found |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "models"
        }
    return found


def test_other_rooms_come_in_by_the_door() -> None:
    beside = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in OUTSIDE
        for module, _ in imports(ast.parse(path.read_text()))
        if module.startswith(f"{DOOR}.")
    }
    assert not beside


def test_the_list_is_what_they_use() -> None:
    taken = set().union(*(used(ast.parse(path.read_text())) for path in OUTSIDE))
    assert taken == set(listed()) == set(models.__all__)


def test_every_name_is_what_its_module_has() -> None:
    pytest.importorskip("torch")
    for name, module in listed().items():
        if module:
            assert getattr(models, name) is getattr(import_module(f"{DOOR}.{module}"), name), name
        else:
            assert getattr(models, name) is import_module(f"{DOOR}.{name}")
    with pytest.raises(AttributeError):
        _ = models.nothing_of_that_name
