"""Commands that use the models: suggest, predict, segment, evaluate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from napari_scsam.cli.options import Json, Many, Mapping, parse_mapping, parse_prompts, split_names
from napari_scsam.cli.report import Report, StderrProgress
from napari_scsam.core.settings import Device, ExportFormat, PredictWith, SamName
from napari_scsam.core.windows import parse_window
from napari_scsam.io import format_of, write_labels
from napari_scsam.workflows import prediction, segment_file


def suggest(
    folder: Path,
    image: str,
    /,
    *,
    plane: int | None = None,
    device: Device = "auto",
    json: Json = False,
) -> Report:
    """Point prompts that the active round proposes on one slice.

    Parameters
    ----------
    folder
        The project folder.
    image
        ID or path of an image of the project.
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
        table.add_row(found.names[p.class_id], *place, sign, p.kind, f"{p.confidence:.2f}")
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
    format: ExportFormat = "nifti",
    with_: PredictWith = "pair",
    device: Device = "auto",
    json: Json = False,
) -> Report:
    """Label whole images with a round's models, in the project or outside it.

    Parameters
    ----------
    source
        A project folder (its active round) or a round's folder.
    images
        Image files, or IDs of the project's images.
    out
        Folder to write OUT/<stem>.<ext> to.
    format
        nifti keeps the source's affine; tiff carries its spacing; png is one file a slice.
    with_
        The U-Net alone, SAM alone, or the two together.
    device
        Where to run the models.
    """
    with StderrProgress() as progress:
        paths = prediction.predict_files(
            source, images, out, format=format, which=with_, device=device, progress=progress
        )
    return Report({"predictions": paths}, "\n".join(f"Wrote {p}" for p in paths), json)


def segment(
    image: Path,
    /,
    *,
    point: Annotated[list[str] | None, Many] = None,
    box: str | None = None,
    axis: int = 0,
    plane: int | None = None,
    window: str = "auto",
    propagate: Annotated[bool, Parameter(negative="")] = False,
    model: SamName = "lite-medsam",
    checkpoint: Path | None = None,
    device: Device = "auto",
    out: Path,
    json: Json = False,
) -> Report:
    """Outline one object by clicks or a box, without a project.

    Parameters
    ----------
    image
        An image file.
    point
        R,C,+ inside or R,C,- outside, in pixels from 0; several may follow.
    box
        R0,C0,R1,C1, top left and bottom right.
    axis
        Of a volume: the axis that the slice is perpendicular to, 0 being the slice axis.
    plane
        Of a volume: the slice number from 0.
    window
        What SAM sees of the values: auto (each slice by itself), volume, soft-tissue, lung,
        bone, brain, liver, or LEVEL/WIDTH such as 40/400.
    propagate
        Of a volume: carry the outline through the other slices along the axis, both ways,
        until it can't be followed.
    model
        The two lite-medsam bring their weights; the others need --checkpoint.
    checkpoint
        The model's published weights.
    device
        Where to run the model.
    out
        Mask file to write: .nii.gz, .tif or .png by its name.
    """
    prompts, wanted, format = parse_prompts(point, box), parse_window(window), format_of(out)
    with StderrProgress() as progress:
        found = segment_file.outline_file(
            image,
            prompts,
            axis=axis,
            plane=plane,
            window=wanted,
            carried=propagate,
            sam=segment_file.SamChoice(model, checkpoint, device),
            progress=progress,
        )
    written = write_labels(out, found.mask, found.volume, format)
    area = int(found.mask.sum())
    data = {"out": written, "pixels": area, "iou": round(found.iou, 4), "via": found.via}
    flags = sorted(found.flags.items())
    if propagate:
        data["flags"] = {str(index): why for index, why in flags}
    looks = [f"Slice {index} wants a look: {why}." for index, why in flags]
    return Report(data, "\n".join([f"Wrote {out}: {area} pixels, by {found.via}.", *looks]), json)


def evaluate(
    prediction: Path,
    truth: Path,
    /,
    *,
    classes: Annotated[list[str] | None, Many] = None,
    map_: Mapping = None,
    json: Json = False,
) -> Report:
    """Dice, IoU, HD95 and ASSD of a mask, or of a folder of masks, against the truth.

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
    cases = evaluate_cases(prediction, truth, names=names, mapping=parse_mapping(map_))
    table = Table("case", "class", "Dice", "IoU", "HD95", "ASSD", "unit")
    for case, result in cases.items():
        for row in result.classes:
            figures = [f"{v:.3f}" for v in (row.dice, row.iou, row.hd95, row.assd)]
            table.add_row(case, row.name, *figures, result.unit)
    data = {"cases": {case: result.to_dict() for case, result in cases.items()}}
    return Report(data, table, json)
