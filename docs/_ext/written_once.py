"""Writes the parts of the reference that the program itself knows: commands and settings.

They are made anew for each build, from what the command line and the dock read, too, so that
they can't fall behind.
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
    """Have the files written before anything is read."""
    app.connect("builder-inited", write_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_all(app: Sphinx) -> None:
    """Write ``commands.md`` and one file for each kind of settings."""
    folder = Path(app.srcdir, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "commands.md", commands())
    _write(folder / "train.md", settings_table(TrainSettings))
    _write(folder / "tune.md", settings_table(TuneSettings))


def commands() -> str:
    """Every command with its arguments, as Markdown."""
    # Its usage lines name the program that runs, which is Sphinx here.
    with mock.patch.object(sys, "argv", ["napari-scsam"]):
        whole = build_app().generate_docs()
    # Its own title and table of contents: the page has both.
    return whole[whole.index("## napari-scsam ") :]


def settings_table(kind: type) -> str:
    """The fields of a settings class as a Markdown table."""
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
    # Unchanged files keep their time, so that a second build has nothing to do.
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
