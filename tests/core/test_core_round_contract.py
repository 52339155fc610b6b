"""What a round and its parent tell each other stands in one module."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from napari_scsam.core import round_contract

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    value
    for name, value in vars(round_contract).items()
    if name.endswith(("_FILE", "_FOLDER")) and isinstance(value, str)
}


def strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_other_module_spells_a_file_of_a_round() -> None:
    assert {"inputs.json", "events.jsonl", "control.json", "sam_adapter"} <= FILES
    found = {
        path.stem
        for folder in ("src", "training")
        for path in (ROOT / folder).rglob("*.py")
        if FILES & set(strings(path))
    }
    assert found == {"round_contract"}
