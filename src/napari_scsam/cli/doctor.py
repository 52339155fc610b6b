"""The command doctor: capabilities of this machine and expected costs."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from napari_scsam.cli.options import Json
from napari_scsam.cli.report import Report
from napari_scsam.workflows.doctor import check_machine


def doctor(*, json: Json = False) -> Report:
    """Show the capabilities of this machine and the expected costs; takes about half a minute.

    The measured speed is stored for this machine, to estimate the duration of a first round.
    The exit code is 0 even if something optional is missing: the table shows how to install it.
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
