"""Plots of the report, as SVG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Inches. Arbitrary.
SIZE = (7.0, 2.6)
# Okabe and Ito's blue and vermilion, which colour-blind people tell apart.
BLUE, VERMILION = "#0072B2", "#D55E00"
# Seconds of an hour and of a day.
HOUR_S, DAY_S = 3600.0, 86400.0
# Groups that a plot has room for; the tables have all. Arbitrary.
MOST_GROUPS = 12


def over_time(seconds: Sequence[float], slices: Sequence[int]) -> str:
    """Draw the number of labelled slices against the time since the first commit."""
    figure, axes = _figure()
    unit, length = ("days", DAY_S) if seconds[-1] > 2 * DAY_S else ("hours", HOUR_S)
    axes.step([passed / length for passed in seconds], slices, where="post", color=BLUE)
    axes.set_xlabel(f"{unit} since the first commit")
    axes.set_ylabel("labelled slices")
    axes.set_ylim(bottom=0)
    return _svg(figure)


def bars(groups: Sequence[str], values: Sequence[float | None], label: str) -> str:
    """Draw one bar a group; a group without a value has none."""
    figure, axes = _figure()
    shown = list(zip(groups, values, strict=True))[-MOST_GROUPS:]
    places = range(len(shown))
    axes.bar(places, [value or 0.0 for _, value in shown], color=BLUE, width=0.6)
    axes.set_xticks(places)
    axes.set_xticklabels([group for group, _ in shown], parse_math=False)
    axes.set_ylabel(label)
    return _svg(figure)


def spread(groups: Mapping[str, Sequence[tuple[float, bool]]], label: str) -> str:
    """Draw the values of each group on a logarithmic axis; outliers are crosses."""
    figure, axes = _figure()
    shown = list(groups.items())[:MOST_GROUPS]
    for place, (_, values) in enumerate(shown):
        for outlier, marker, colour in ((False, "o", BLUE), (True, "x", VERMILION)):
            own = [value for value, is_outlier in values if is_outlier is outlier]
            axes.plot([place] * len(own), own, marker, color=colour, alpha=0.6)
    axes.set_yscale("log")
    axes.set_xticks(range(len(shown)))
    axes.set_xticklabels([name for name, _ in shown], parse_math=False)
    axes.set_xlim(-0.5, len(shown) - 0.5)
    axes.set_ylabel(label)
    return _svg(figure)


def _figure() -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise MissingDependencyError(
            f"The report's plots need matplotlib ({exc.name!r} is missing). Install it with: "
            'pip install "napari-scsam[report]"; --json works without.',
            name=exc.name,
        ) from exc
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    """Return a figure as SVG, in which all text is outlines."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
