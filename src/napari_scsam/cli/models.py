"""Commands that use the models: suggest, predict, segment, evaluate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from napari_scsam.cli.options import (
    Json,
    Many,
    Mapping,
    Overwrite,
    Resample,
    SameGrid,
    parse_mapping,
    parse_prompts,
    split_names,
)
from napari_scsam.cli.report import Report, StderrProgress
from napari_scsam.cli.signals import terminated
from napari_scsam.core.jobs import CancelToken
from napari_scsam.core.labels import BACKGROUND
from napari_scsam.core.settings import Device
from napari_scsam.io import Placing
from napari_scsam.workflows import prediction
from napari_scsam.workflows.predicted_files import PredictOptions, predict_files
from napari_scsam.workflows.segment_file import Outlined, OutlineOptions, segment_file

OUTLINE_DEFAULTS = OutlineOptions()
PREDICT_DEFAULTS = PredictOptions()


def suggest(
    folder: Path,
    image: str,
    /,
    *,
    plane: int | None = None,
    device: Device = "auto",
    json: Json = False,
) -> Report:
    """Propose point prompts on one slice with the active round.

    Parameters
    ----------
    folder
        The project folder.
    image
        ID, name or path of an image of the project.
    plane
        Slice number from 0; the middle one by default.
    device
        Where to run the models.
    """
    found = prediction.suggest_on(folder, image, plane=plane, device=device)
    table = Table("class", "row", "col", "sign", "kind", "confidence")
    for p in found.proposals:
        sign = "+" if p.positive else "-"
        place = (f"{p.row:.1f}", f"{p.col:.1f}")
        table.add_row(escape(found.names[p.class_id]), *place, sign, p.kind, f"{p.confidence:.2f}")
    data = {
        "image": found.image,
        "plane": found.plane,
        "round": found.round,
        "proposals": [asdict(p) | {"class": found.names[p.class_id]} for p in found.proposals],
    }
    nothing = f"Nothing suggested on slice {found.plane}."
    return Report(data, table if found.proposals else nothing, json)


def predict(
    source: Path,
    images: Annotated[list[str], Many],
    /,
    *,
    out: Path,
    options: Annotated[PredictOptions, Parameter(name="*")] = PREDICT_DEFAULTS,
    overwrite: Overwrite = False,
    json: Json = False,
) -> Report:
    """Segment whole images with a round's models, in the project or outside it; Ctrl+C cancels.

    Each file is written as soon as it is predicted.

    Parameters
    ----------
    source
        A project folder (with an active round) or the folder of a round.
    images
        Image files, or IDs of the project's images.
    out
        Folder for the files <stem>.<ext>.
    """
    stop = CancelToken()
    with StderrProgress() as progress, terminated(stop):
        paths = predict_files(
            source, images, out, options, overwrite=overwrite, progress=progress, cancel=stop
        )
    return Report({"predictions": paths}, "\n".join(f"Wrote {p}" for p in paths), json)


def segment(
    image: Path,
    /,
    *,
    point: Annotated[list[str] | None, Many] = None,
    box: str | None = None,
    options: Annotated[OutlineOptions, Parameter(name="*")] = OUTLINE_DEFAULTS,
    out: Path,
    overwrite: Overwrite = False,
    json: Json = False,
) -> Report:
    """Segment one object by clicks or a box, without a project.

    Parameters
    ----------
    image
        An image file.
    point
        R,C,+ inside or R,C,- outside, in pixels from 0; may be given several times.
    box
        R0,C0,R1,C1, top left and bottom right.
    out
        Mask file to write; the name ends in .nii.gz, .tif or .png.
    """
    prompts = parse_prompts(point, box)
    with StderrProgress() as progress:
        found = segment_file(image, prompts, out, options, overwrite=overwrite, progress=progress)
    return _outlined(out, found, json, carried=options.propagate)


def _outlined(out: Path, found: Outlined, json: bool, *, carried: bool) -> Report:
    data = {
        "out": found.files,
        "pixels": found.pixels,
        "iou": round(found.iou, 4),
        "via": found.via,
    }
    flags = sorted(found.flags.items())
    if carried:
        data["flags"] = {str(index): why for index, why in flags}
    doubtful = [f"Check slice {index}: {why}." for index, why in flags]
    written = f"Wrote {out}: {found.pixels} pixels, by {found.via}."
    return Report(data, "\n".join([written, *doubtful]), json)


def evaluate(
    prediction: Path,
    truth: Path,
    /,
    *,
    classes: Annotated[list[str] | None, Many] = None,
    map_: Mapping = None,
    resample: Resample = False,
    same_grid: SameGrid = False,
    json: Json = False,
) -> Report:
    """Compute Dice, IoU, HD95 and ASSD of a mask, or of a folder of masks, against the truth.

    The two are compared where they lie: a mask that is stored flipped or with its axes in
    another order is reoriented onto the truth, and one that lies elsewhere is refused.

    Parameters
    ----------
    prediction
        A mask file, or a folder of them.
    truth
        A mask file, or a folder with the same file names.
    classes
        Names of the values 1, 2, ..., separated by commas.
    """
    from napari_scsam.workflows.evaluation import evaluate_cases

    names = split_names(classes) if classes else None
    placing = Placing(resample, same_grid, outside=BACKGROUND)
    cases = evaluate_cases(
        prediction, truth, names=names, mapping=parse_mapping(map_), placing=placing
    )
    table = Table("case", "class", "Dice", "IoU", "HD95", "ASSD", "unit")
    for case, result in cases.items():
        for row in result.classes:
            figures = [f"{v:.3f}" for v in (row.dice, row.iou, row.hd95, row.assd)]
            table.add_row(escape(case), escape(row.name), *figures, result.unit)
    data = {"cases": {case: result.to_dict() for case, result in cases.items()}}
    return Report(data, table, json)
