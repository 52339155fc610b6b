"""The command demo: the whole workflow on sample scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from napari_scsam.cli.options import Json
from napari_scsam.cli.report import Report, StderrProgress
from napari_scsam.cli.window import open_window
from napari_scsam.core.settings import Device
from napari_scsam.workflows.demo import SUGGESTED_SLICES, DemoResult, demo_settings, run_demo


def demo(
    *,
    dir: Path = Path("napari-scsam-demo"),
    headless: Annotated[bool, Parameter(negative="")] = False,
    seed: int = 0,
    device: Device = "auto",
    json: Json = False,
) -> Report:
    """Run the whole workflow on a sample scan, then open it in napari.

    Parameters
    ----------
    dir
        Folder to create; if it is not empty, the next free name is used.
    headless
        Don't open a window at the end.
    seed
        Seed of the training round.
    device
        Where to run the models.
    """
    folder = _free_folder(dir)
    with StderrProgress() as progress:
        result = run_demo(folder, demo_settings(seed=seed, device=device), progress)
    report = Report(_data(result), _text(result), json)
    if headless:
        return report
    report.show()
    open_window(result.project)
    return Report({}, "", False)


def _free_folder(folder: Path) -> Path:
    # An earlier demo may contain a person's work: it is never overwritten.
    candidates = [folder, *(folder.with_name(f"{folder.name}-{n}") for n in range(2, 1000))]
    return next(c for c in candidates if not c.exists() or (c.is_dir() and not any(c.iterdir())))


def _data(result: DemoResult) -> dict[str, object]:
    return {
        "project": result.project,
        "labelled": result.labelled,
        "unlabelled": result.unlabelled,
        "round": result.round,
        "dice": result.dice["ours"],
        "baselines": {k: v for k, v in result.dice.items() if k != "ours"},
        "suggested_dice": result.suggested_dice,
        "proposals": result.proposals,
        "exports": result.exports,
        "seconds": round(result.seconds, 1),
    }


def _text(result: DemoResult) -> Group:
    names = list(result.dice["ours"])
    table = Table("Dice", "measured on", *names)
    unseen = f"{result.unlabelled} unseen slices"
    titles = {
        "ours": "U-Net of round 1",
        "threshold": "a threshold",
        "nearest slice": "the nearest labelled slice",
    }
    for method, dice in result.dice.items():
        table.add_row(titles[method], unseen, *(f"{dice[name]:.3f}" for name in names))
    suggested = (f"{result.suggested_dice[name]:.3f}" for name in names)
    some = f"{len(SUGGESTED_SLICES)} unseen slices"
    table.add_row("suggested points, nothing corrected", some, *suggested)
    return Group(
        f"{result.labelled} slices committed, {result.unlabelled} unlabelled, one round, "
        f"{result.seconds / 60:.1f} minutes; {result.proposals} points suggested, "
        f"{result.decode_seconds * 1000:.0f} ms a decode.",
        table,
        *(escape(f"Wrote {path}") for path in result.exports),
        "",
        escape(f"Next: napari-scsam {result.project}"),
        f"Go to slice {SUGGESTED_SLICES[3]}, press G to suggest, check the outline, press J "
        "to accept and go on; click to correct, Shift+click for outside.",
    )
