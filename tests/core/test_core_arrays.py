"""Types of arrays have one place."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALIAS = re.compile(r"^\w+(: TypeAlias)? = NDArray\[", re.MULTILINE)


def test_no_module_but_one_gives_an_array_type_a_name() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in ("src", "training")
        for path in (ROOT / folder).rglob("*.py")
        if ALIAS.search(path.read_text())
    }
    # A line on the canvas is one of its own, not an image.
    assert found == {"src/napari_scsam/core/arrays.py", "src/napari_scsam/_napari/lines.py"}
