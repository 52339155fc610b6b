"""Loading a SAM that was tuned on committed labels from the folder of its tuning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from napari_scsam.core.errors import INVALID, ModelError
from napari_scsam.core.round_contract import ADAPTER_FOLDER, REPORT_FILE
from napari_scsam.models.checkpoint import sha256_of_file
from napari_scsam.models.sam import SamModel, load_sam

if TYPE_CHECKING:
    from napari_scsam.core.settings import Device


def load_tuned(folder: str | Path, *, device: Device = "auto") -> SamModel:
    """Load the SAM of a finished tuning; see `napari_scsam.models.load_tuned`."""
    folder = Path(folder)
    try:
        report = json.loads((folder / REPORT_FILE).read_bytes())
        settings, files = report["settings"], dict(report["files"])
        name, checkpoint = settings["sam"], settings["sam_checkpoint"]
        if not isinstance(name, str) or not isinstance(checkpoint, str | None):
            raise TypeError(name)
    except (OSError, *INVALID) as exc:
        raise ModelError(f"{folder} is not a finished tuning: no valid {REPORT_FILE}.") from exc
    if not files:
        raise ModelError(f"The tuning in {folder} has no model: it was refused by an old version.")
    for file, sha256 in files.items():
        if sha256_of_file(folder / file) != sha256:
            raise ModelError(
                f"{folder / file} is not the file that the tuning wrote: it was changed or "
                "damaged. Clicks are answered by the model as shipped."
            )
    return load_sam(name, device=device, checkpoint=checkpoint, adapter=folder / ADAPTER_FOLDER)


def outlines_of(folder: str | Path) -> int:
    """Return the number of committed planes that a finished tuning learned from.

    Raises
    ------
    ModelError
        If its report can't be read.
    """
    return int(_stated(folder, "planes"))


def answers_clicks(folder: str | Path) -> bool:
    """Return whether a finished tuning answers clicks; if it was refused, it only suggests.

    Raises
    ------
    ModelError
        If its report can't be read.
    """
    return bool(_stated(folder, "kept"))


def _stated(folder: str | Path, name: str) -> int:
    path = Path(folder) / REPORT_FILE
    try:
        return int(json.loads(path.read_bytes())[name])
    except (OSError, *INVALID) as exc:
        raise ModelError(f"{path} is not the report of a finished tuning.") from exc
