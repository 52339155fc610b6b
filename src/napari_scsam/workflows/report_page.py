"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections import defaultdict
from html import escape
from statistics import median
from typing import TYPE_CHECKING, Any

from napari_scsam.io.atomic import write_bytes
from napari_scsam.workflows import report_plots
from napari_scsam.workflows.effort import elapsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

# No script runs, and nothing is loaded, whatever a name in the project contains.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { border-bottom: 1px solid #ccc; padding: .2rem .8rem; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.note { border-left: 4px solid #D55E00; padding-left: .8rem; }
img { max-width: 100%; }
"""
TITLES = {
    "commits": "commits",
    "from_files": "from files",
    "slices": "slices labelled in the window",
    "actions_a_slice": "actions a slice",
    "seconds_a_slice": "seconds a slice (median)",
    "suggested": "with suggestions",
    "accepted": "accepted unedited",
}
SPREAD = ("median", "smallest", "largest")


def write_page(target: Path, report: Mapping[str, Any]) -> None:
    """Write a report as one HTML file, in place of what is there; see `as_html`."""
    page = as_html(report).encode("utf-8", "replace")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, page)


def as_html(report: Mapping[str, Any]) -> str:
    """Return a report of `collect_report` as HTML; all text of the project is escaped.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    name = escape(report["project"])
    parts = [
        f"<h1>{name}</h1>",
        *(f'<p class="note">{escape(note)}</p>' for note in report["notes"]),
        *_totals(report),
        *_effort(report),
        *_annotators(report["annotators"]),
        *_rounds(report["rounds"]),
        *_random_checks(report["random_checks"]),
        *_agreement(report["agreement"]),
        *_sizes(report["sizes"]),
        *_images(report["images"]),
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{name}: report</title><style>{STYLE}</style>"
    )
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _totals(report: Mapping[str, Any]) -> Iterable[str]:
    totals = report["totals"]
    yield (
        f"<p>{totals['labelled_images']} of {totals['images']} images have a label: "
        f"{totals['labelled_slices']} of {totals['slices']} slices. "
        f"{totals['skipped_slices']} slices are skipped.</p>"
    )
    if report["over_time"]:
        yield "<h2>Labelled over time</h2>"
        times = [moment["time"] for moment in report["over_time"]]
        slices = [moment["slices"] for moment in report["over_time"]]
        yield f"<p>From {escape(min(times)[:16])} to {escape(max(times)[:16])} (UTC).</p>"
        yield _image(report_plots.over_time(elapsed(times), slices), "Labelled slices over time")
    else:
        yield "<p>Nothing is labelled yet.</p>"


def _effort(report: Mapping[str, Any]) -> Iterable[str]:
    groups = report["effort"]
    if not groups:
        return
    yield f"<h2>Effort by {escape(report['by'])}</h2>"
    yield (
        "<p>An action is a point, a box, a stroke or a drawn area of a person. Slices that "
        "were committed together share their actions and time.</p>"
    )
    names = [group["group"] for group in groups]
    for key in ("actions_a_slice", "seconds_a_slice", "accepted"):
        values = [group[key] for group in groups]
        if any(value is not None for value in values):
            yield _image(report_plots.bars(names, values, TITLES[key]), TITLES[key])
    rows = [[group["group"], *(group[key] for key in TITLES)] for group in groups]
    yield _table([report["by"], *TITLES.values()], rows)


def _annotators(groups: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if groups:
        yield "<h2>Who labelled with which round</h2>"
        rows = [
            [
                one["annotator"] or "nobody named",
                "none" if one["round"] is None else one["round"],
                *(one[key] for key in TITLES),
            ]
            for one in groups
        ]
        yield _table(["annotator", "round", *TITLES.values()], rows)


def _rounds(rounds: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if rounds:
        yield "<h2>Rounds</h2>"
        rows = [[r["number"], "yes" if r["active"] else "", r["dice"], r["reason"]] for r in rounds]
        yield _table(["round", "active", "Dice on held-out slices", "why"], rows)


def _random_checks(checks: Mapping[str, Any]) -> Iterable[str]:
    if not checks["text"]:
        return
    yield "<h2>Random slices</h2>"
    yield f"<p>{escape(checks['text'])}</p>"
    yield (
        "<p>Drawn at random, whatever the models say of them. The suggestion was stored before it "
        "was shown, and is compared with the label that is current now. The interval (95 %) is "
        "a bootstrap over images. Slices without a structure, suggested or labelled, are not in "
        "the Dice. A structure that was only asked about counts as 0; the last two columns are of "
        "the slices on which something was outlined.</p>"
    )
    titles = ["", "slices", "rightly empty", "Dice", "from", "to", "outlined", "Dice of these"]
    groups = [("all rounds", checks["all"])]
    groups += [(_made_by(one["round"]), one) for one in checks["rounds"]]
    groups += [(one["class"], one) for one in checks["classes"]]
    keys = ("slices", "empty", "dice", "low", "high", "outlined", "dice_outlined")
    yield _table(titles, [[name, *(one[key] for key in keys)] for name, one in groups])
    yield (
        f"<p>{checks['without_suggestion']} more were committed without a suggestion, and "
        f"{checks['not_labelled']} were shown and not committed.</p>"
    )


def _agreement(pairs: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if not pairs:
        return
    yield "<h2>Agreement between annotators</h2>"
    yield (
        "<p>Dice of slices that both labelled without seeing the other's label. The label that was "
        "made first is current, and the other one is kept as a version.</p>"
    )
    rows = [
        [" and ".join(pair["annotators"]), one["class"], one["slices"], one["dice"]]
        for pair in pairs
        for one in pair["classes"]
    ]
    yield _table(["annotators", "class", "slices", "Dice"], rows)


def _made_by(round: int | None) -> str:
    return "from outlines, without a round" if round is None else f"round {round}"


def _sizes(sizes: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    whole = [one for one in sizes if one["whole"]]
    if sizes:
        yield "<h2>Sizes of the structures</h2>"
    partial = {one["image"] for one in sizes if not one["whole"]}
    if partial:
        yield f"<p>Images that are labelled only in part, and left out here: {len(partial)}.</p>"
    by_unit: dict[str, dict[str, list[tuple[float, bool]]]] = defaultdict(lambda: defaultdict(list))
    for one in whole:
        by_unit[one["unit"]][one["class"]].append((one["size"], one["outlier"]))
    for unit, groups in by_unit.items():
        yield _image(report_plots.spread(groups, unit), f"Sizes in {unit}")
        rows = [[name, *_spread([size for size, _ in own])] for name, own in groups.items()]
        yield _table(["class", "images", *(f"{what} ({unit})" for what in SPREAD)], rows)
    outliers = [one for one in whole if one["outlier"]]
    if outliers:
        yield "<p>Unlike the others, and worth a check:</p>"
        rows = [[one["name"], one["class"], one["size"], one["unit"]] for one in outliers]
        yield _table(["image", "class", "size", "unit"], rows)


def _spread(values: Sequence[float]) -> tuple[int, float, float, float]:
    """Return the number of values, and what `SPREAD` names."""
    return len(values), median(values), min(values), max(values)


def _images(images: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if images:
        yield "<h2>Images</h2>"
        rows = [
            [
                one["name"],
                ", ".join(one["annotators"]),
                ", ".join(map(str, one["rounds"])),
                *(one[key] for key in TITLES),
            ]
            for one in images
        ]
        yield _table(["image", "by", "with rounds", *TITLES.values()], rows)


def _table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _cell(value: object) -> str:
    if value is None:
        return '<td class="number">-</td>'
    if isinstance(value, float):
        return f'<td class="number">{value:,.2f}</td>'
    if isinstance(value, int):
        return f'<td class="number">{value}</td>'
    return f"<td>{escape(str(value))}</td>"


def _image(svg: str, text: str) -> str:
    content = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(text)}" src="data:image/svg+xml;base64,{content}">'
