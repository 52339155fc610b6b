"""Draw the imports between rooms (packages) as a graph, from the source code.

    python scripts/draw_rooms.py            writes docs/images/rooms.svg

A test fails if the drawing is out of date. The graph is transitively reduced: an arrow is left
out if a longer path connects the same rooms.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "napari_scsam"
TRAINING = "scsam_train"
DRAWING = ROOT / "docs" / "images" / "rooms.svg"

WIDTH, HEIGHT, COLUMN, ROW, MARGIN = 108, 34, 150, 62, 16
# Fill colours of the rooms that import torch, and of those that import Qt or napari.
HEAVY = {"torch": "#fbe6d2", "qtpy": "#dcecf7", "napari": "#dcecf7"}
PLAIN = "#f4f4f4"

Arrows = dict[str, frozenset[str]]


def main() -> None:
    """Write the drawing."""
    DRAWING.write_text(draw(), encoding="utf-8")


def draw() -> str:
    """Return the drawing as SVG."""
    arrows, colours = _read()
    return _svg(_without_shortcuts(arrows), _places(arrows), colours)


def _folders() -> dict[str, Path]:
    package = ROOT / "src" / PACKAGE
    rooms = {f.name: f for f in sorted(package.iterdir()) if (f / "__init__.py").is_file()}
    return {**rooms, TRAINING: ROOT / "training" / TRAINING}


def _read() -> tuple[Arrows, dict[str, str]]:
    """Return the rooms that each room imports, and each room's colour."""
    folders = _folders()
    arrows, colours = {}, {}
    for room, folder in folders.items():
        names = [name for file in sorted(folder.rglob("*.py")) for name in _imported(file)]
        found = {_room_of(name) for name in names} & set(folders) - {room}
        arrows[room] = frozenset(found)
        heavy = [c for name, c in HEAVY.items() if any(n.split(".")[0] == name for n in names)]
        colours[room] = heavy[0] if heavy else PLAIN
    return arrows, colours


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from napari_scsam import models` also imports a room.
            whole = node.module == PACKAGE
            yield from (
                [f"{PACKAGE}.{alias.name}" for alias in node.names] if whole else [node.module]
            )


def _room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else parts[0]


def _reach(arrows: Arrows) -> dict[str, int]:
    """Return the length of the longest path from each room to one that imports none."""

    @cache
    def length(room: str, before: tuple[str, ...] = ()) -> int:
        if room in before:
            raise SystemExit(f"Rooms import each other in a cycle: {' -> '.join(before)}.")
        return max((1 + length(other, (*before, room)) for other in arrows[room]), default=0)

    return {room: length(room) for room in arrows}


def _without_shortcuts(arrows: Arrows) -> Arrows:
    @cache
    def below(room: str) -> frozenset[str]:
        return arrows[room].union(*(below(other) for other in arrows[room]))

    return {
        room: frozenset(o for o in to if not any(o in below(p) for p in to if p != o))
        for room, to in arrows.items()
    }


def _places(arrows: Arrows) -> dict[str, tuple[float, float]]:
    """Return the top left corner of each room; rooms are left of those that they import."""
    reach = _reach(arrows)
    last = max(reach.values())
    columns: dict[int, list[str]] = {}
    for room in arrows.keys() - {TRAINING}:
        columns.setdefault(last - reach[room], []).append(room)
    tallest = max(map(len, columns.values()))
    places = {
        room: (column, row + (tallest - len(rooms)) / 2)
        for column, rooms in columns.items()
        for row, room in enumerate(sorted(rooms))
    }
    # The training room runs in a separate process, so it has its own row.
    places[TRAINING] = (last - reach[TRAINING], tallest)
    return {room: (MARGIN + x * COLUMN, MARGIN + y * ROW) for room, (x, y) in places.items()}


def _svg(arrows: Arrows, places: dict[str, tuple[float, float]], colours: dict[str, str]) -> str:
    width = max(x for x, _ in places.values()) + WIDTH + MARGIN
    height = max(y for _, y in places.values()) + HEIGHT + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        'font-family="sans-serif" font-size="14">',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#888"/></marker></defs>',
    ]
    for room, others in arrows.items():
        lines += [_arrow(places[room], places[other]) for other in sorted(others)]
    for room, (x, y) in sorted(places.items()):
        lines.append(
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
            f'fill="{colours[room]}" stroke="#555"/>'
        )
        middle, line = x + WIDTH / 2, y + HEIGHT / 2 + 5
        lines.append(
            f'<text x="{middle:g}" y="{line:g}" text-anchor="middle" fill="#111">{room}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return an arrow that bends into the row of its end before the next column."""
    x0, y0 = start[0] + WIDTH, start[1] + HEIGHT / 2
    x1, y1 = end[0], end[1] + HEIGHT / 2
    gap = COLUMN - WIDTH - 8
    x, bend = x0 + gap, x0 + gap / 2
    return (
        f'<path d="M{x0:g} {y0:g} C{bend:g} {y0:g} {bend:g} {y1:g} {x:g} {y1:g} H{x1:g}" '
        'fill="none" stroke="#888" stroke-width="1.5" marker-end="url(#tip)"/>'
    )


if __name__ == "__main__":
    main()
