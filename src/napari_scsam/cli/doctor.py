"""The doctor command: what this machine can do, and what it will cost."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from napari_scsam.cli.options import Json
from napari_scsam.cli.report import Report
from napari_scsam.workflows.doctor import check_machine


def doctor(*, json: Json = False) -> Report:
    """Show what this machine can do and what it will cost; takes about half a minute.

    What it measures is kept for this machine: the time that a first round is announced with
    comes from it.
    Exit code 0 also when something optional is missing: the table says how to get it.
    """
    findings = check_machine(Path.cwd())
    table = Table("", "what", "found", "what to do")
    for finding in findings:
        table.add_row("✓" if finding.good else "✗", finding.what, finding.found, finding.advice)
    data = {
        "ok": all(f.good for f in findings),
        "findings": [
            {"what": f.what, "found": f.found, "good": f.good, "advice": f.advice} for f in findings
        ],
    }
    return Report(data, table, json)
