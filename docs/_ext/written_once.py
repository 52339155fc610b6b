"""Generate the pages of the reference that list commands and settings.

They are generated for each build from the definitions that the command line and the dock use,
so that they are never out of date.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints
from unittest import mock

from napari_scsam.cli.app import build_app
from napari_scsam.core.settings import TrainSettings, TuneSettings

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FOLDER = "reference/_generated"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register `write_all` to run before Sphinx reads the sources."""
    app.connect("builder-inited", write_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_all(app: Sphinx) -> None:
    """Write ``commands.md`` and one file for each settings class."""
    folder = Path(app.srcdir, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "commands.md", commands())
    _write(folder / "train.md", settings_table(TrainSettings))
    _write(folder / "tune.md", settings_table(TuneSettings))


def commands() -> str:
    """Return every command with its arguments, as Markdown."""
    # The usage lines contain the name of the running program, which is Sphinx here.
    with mock.patch.object(sys, "argv", ["napari-scsam"]):
        whole = build_app().generate_docs()
    # Leave out the title and the table of contents, which the page has already.
    return whole[whole.index("## napari-scsam ") :]


def settings_table(kind: type) -> str:
    """Return the fields of a settings class as a Markdown table."""
    hints = get_type_hints(kind)
    rows = ["| setting | default | takes | what it is |", "|---|---|---|---|"]
    for field in fields(kind):
        meta = field.metadata
        name = f"`{field.name}`" + (f" (*{meta['title']}*)" if meta.get("title") else "")
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| {name} | {default} | {_takes(hints[field.name], meta)} | {meta['help']} |")
    return "\n".join(rows) + "\n"


def _takes(hint: Any, meta: Any) -> str:
    kinds = get_args(hint)
    if kinds and all(isinstance(kind, str) for kind in kinds):
        return ", ".join(f"`{kind}`" for kind in kinds)
    if hint is bool:
        return "yes or no"
    if meta["low"] is None:
        return "text"
    unit = f" {meta['unit']}" if meta["unit"] else ""
    return f"{meta['low']:,} to {meta['high']:,}{unit}"


def _write(path: Path, text: str) -> None:
    # Unchanged files keep their modification time, so that Sphinx does not build them again.
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
