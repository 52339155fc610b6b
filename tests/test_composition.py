"""How the controllers and what stands on them are put together, read from their source."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import napari_scsam
import scsam_train

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(napari_scsam.__file__).parent
TRAINING = Path(scsam_train.__file__).parent
ROOMS = ("annotation", "_napari")
# `Project` keeps the names that scripts use.
MANY_METHODS = {"store.py: Project"}
# Of torch, skimage.data and pathlib: functions that not every version has, and sample images.
LIBRARIES = {"torch.cpu", "data", "path"}


def sources() -> list[Path]:
    """Every module of the plugin and of the training."""
    return [path for folder in (SOURCE, TRAINING) for path in sorted(folder.rglob("*.py"))]


def classes(place: Path) -> Iterator[ast.ClassDef]:
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield node


def bases(made: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).rsplit(".", 1)[-1] for base in made.bases}


def is_frozen(made: ast.ClassDef) -> bool:
    return any("frozen=True" in ast.unparse(d) for d in made.decorator_list)


def is_command(function: ast.FunctionDef) -> bool:
    return not function.name.startswith("_")


def is_getattr(function: ast.expr) -> bool:
    """Return whether a called object comes from ``getattr`` on anything but a library."""
    if not isinstance(function, ast.Call) or ast.unparse(function.func) != "getattr":
        return False
    return ast.unparse(function.args[0]) not in LIBRARIES


def parameters(function: ast.FunctionDef) -> list[str]:
    given = function.args
    found = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return [one.arg for one in found if one.arg not in ("self", "cls")]


def public_members(made: ast.ClassDef) -> list[str]:
    return [
        node.name
        for node in made.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


def attributes(made: ast.ClassDef) -> set[str]:
    """What an instance holds; a constant of the class (``ClassVar``) is no state."""
    own = {
        node.target.id  # type: ignore[union-attr]
        for node in made.body
        if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)
    }
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
    for path in sources():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, path.name
        for made in classes(path):
            name = f"{path.name}: {made.name}"
            assert len(public_members(made)) <= 20 or name in MANY_METHODS, name
            if not is_frozen(made):
                assert len(attributes(made)) <= 12, name


def test_no_function_has_many_parameters() -> None:
    """Commands are exempt, since each parameter is an option with a name."""
    for path in sources():
        commands = path.parent.name == "cli"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and not (commands and is_command(node)):
                assert len(parameters(node)) <= 8, f"{path.name}: {node.name}"


def test_every_exempt_class_exists() -> None:
    names = {f"{path.name}: {made.name}" for path in sources() for made in classes(path)}
    assert names >= MANY_METHODS


def is_number(value: ast.AST | None) -> bool:
    """Return whether an expression is a number, or a calculation or collection of numbers."""
    parts = [value] if value is not None else []
    if isinstance(value, ast.Constant):
        return isinstance(value.value, int | float) and not isinstance(value.value, bool)
    if isinstance(value, ast.UnaryOp):
        parts = [value.operand]
    elif isinstance(value, ast.BinOp):
        parts = [value.left, value.right]
    elif isinstance(value, ast.Tuple | ast.List | ast.Set):
        parts = list(value.elts)
    elif isinstance(value, ast.Dict):
        parts = list(value.values)
    else:
        return False
    return any(is_number(part) for part in parts)


def unsourced_numbers(source: str) -> list[str]:
    """Return the module-level numbers without a comment or docstring on or directly above them."""
    lines, body = source.splitlines(), ast.parse(source).body
    missing = []
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not is_number(node.value):
            continue
        own = lines[node.lineno - 1 : node.end_lineno]
        above = lines[node.lineno - 2].startswith("#") if node.lineno > 1 else False
        described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if not (above or described or any("#" in line for line in own)):
            missing.append(ast.unparse(node))
    return missing


def test_every_number_of_a_module_says_where_it_comes_from() -> None:
    for path in sources():
        assert not unsourced_numbers(path.read_text(encoding="utf-8")), path


def test_a_number_without_its_source_is_found() -> None:
    good = (
        "# Arbitrary.\nA = 1\nB = -2  # arbitrary\nC = (3, 4)\n'A docstring.'\nD = 'x'\nE = True\n"
    )
    bad = "# Arbitrary.\nA = 1\nB = 2 * 3\n\nC: dict[str, float] = {'x': 0.5}\n"
    assert not unsourced_numbers(good)
    assert unsourced_numbers(bad) == ["B = 2 * 3", "C: dict[str, float] = {'x': 0.5}"]


def test_nobody_is_called_by_a_name_in_a_string() -> None:
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not any(is_getattr(call.func) for call in calls), path.name
        assert not any(ast.unparse(call.func).endswith("methodcaller") for call in calls), path.name
    for room in ROOMS:
        for path in (SOURCE / room).glob("*.py"):
            assert "getattr(" not in path.read_text(encoding="utf-8"), path.name
