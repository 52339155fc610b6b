"""How the controllers and what stands on them are put together, read from their source."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import napari_scsam

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(napari_scsam.__file__).parent
ROOMS = ("annotation", "_napari")


def classes(folder: Path) -> Iterator[ast.ClassDef]:
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield node


def bases(made: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).rsplit(".", 1)[-1] for base in made.bases}


def public_members(made: ast.ClassDef) -> list[str]:
    return [
        node.name
        for node in made.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


def attributes(made: ast.ClassDef) -> set[str]:
    own = {n.target.id for n in made.body if isinstance(n, ast.AnnAssign)}  # type: ignore[union-attr]
    for node in ast.walk(made):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            own |= {node.attr} if ast.unparse(node.value) == "self" else set()
    return own


def test_no_controller_inherits_from_another() -> None:
    controllers = {made.name for made in classes(SOURCE) if made.name.endswith("Controller")}
    assert {"AnnotationController", "RoundsController", "TuningController"} <= controllers
    heirs = {made.name for made in classes(SOURCE) if bases(made) & controllers}
    assert not heirs


def test_what_is_put_together_inherits_from_nothing_but_its_port() -> None:
    for room in ROOMS:
        for made in classes(SOURCE / room):
            assert bases(made) <= {"ABC", "Canvas"}, made.name


def test_parts_are_small() -> None:
    for room in ROOMS:
        for made in classes(SOURCE / room):
            frozen = any("frozen=True" in ast.unparse(d) for d in made.decorator_list)
            assert len(public_members(made)) <= 20, made.name
            assert frozen or len(attributes(made)) <= 12, made.name
        for path in (SOURCE / room).glob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path.name


def test_nobody_is_called_by_a_name_in_a_string() -> None:
    for room in ROOMS:
        for path in (SOURCE / room).glob("*.py"):
            assert "getattr(" not in path.read_text(encoding="utf-8"), path.name
