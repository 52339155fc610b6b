"""One tuning, from the inputs in its folder to its report and adapter."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import napari_scsam
from napari_scsam.core.round_contract import ADAPTER_FOLDER, PARTIAL, REPORT_FILE, EventKind
from napari_scsam.models import (
    PRIOR_FILE,
    load_base,
    open_cache,
    resolve_device,
    save_adapter,
    sha256_of_file,
)
from scsam_train.log import EventLog
from scsam_train.tuning.inputs import committed_planes, read_inputs
from scsam_train.tuning.tune import TuningResult, tune

if TYPE_CHECKING:
    from pathlib import Path


def run_tuning(folder: Path) -> Path:
    """Run the tuning of ``tuned/NNNN.partial`` and give the folder its final name.

    A refused copy leaves the decoder as it is shipped, with the class prior for suggestions.

    Returns
    -------
    Path
        ``tuned/NNNN``.

    Raises
    ------
    ScsamError
        If the inputs can't be used, or tuning diverges.
    """
    inputs = read_inputs(folder)
    log = EventLog(folder)
    settings = inputs.settings
    planes = committed_planes(inputs.images, inputs.window)
    device = resolve_device(settings.device)
    base = load_base(settings.sam, settings.sam_checkpoint)
    cache = open_cache(inputs.cache, memory_items=1)
    done = tune(base, planes, settings, device, cache, on_message=log.message)
    _save(folder, done, inputs.sha256, settings.to_dict() | {"device": device.type})
    log.write(EventKind.FINISHED, report=done.report)
    final = folder.with_name(folder.name.removesuffix(PARTIAL))
    if final != folder:
        folder.rename(final)
    return final


def _save(folder: Path, done: TuningResult, data: str, settings: dict[str, object]) -> None:
    """Write the adapter with the class prior, and the report, which lists them, last."""
    adapter = folder / ADAPTER_FOLDER
    shutil.rmtree(adapter, ignore_errors=True)
    save_adapter(done.model, adapter, done.info)
    done.prior.save(adapter / PRIOR_FILE)
    files = {
        f"{ADAPTER_FOLDER}/{path.name}": sha256_of_file(path) for path in sorted(adapter.iterdir())
    }
    report = {
        **done.report,
        "settings": settings,
        "data": data,
        "code": napari_scsam.__version__,
        "files": files,
    }
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n")
