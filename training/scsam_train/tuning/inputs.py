"""The inputs of one tuning: ``inputs.json``, read and validated, and the committed planes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import INVALID, InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.round_contract import INPUTS_FILE, TUNE_SCHEMA
from napari_scsam.core.settings import TuneSettings
from napari_scsam.core.volume import Volume, take_plane
from napari_scsam.core.windows import AUTO, Window, parse_window
from scsam_train.config import ImageInput, image_input
from scsam_train.data import TrainPlane, read_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_scsam.core.arrays import LabelArray

# A plane along axis 0 is used if this share of it is annotated. Along the other axes only a fully
# annotated one is: each crosses every plane that was committed along axis 0. Arbitrary.
ANNOTATED = 0.5


@dataclass(frozen=True)
class TuneInputs:
    """Everything that a tuning may read.

    Attributes
    ----------
    images : tuple of ImageInput
        Labelled images.
    window : Window
        Intensity window, applied to every plane before it goes to SAM.
    cache : Path or None
        Folder of the embedding cache, shared with the annotation window.
    settings : TuneSettings
    sha256 : str
        Hash of inputs.json itself.
    """

    images: tuple[ImageInput, ...]
    window: Window
    cache: Path | None
    settings: TuneSettings
    sha256: str


def read_inputs(folder: Path) -> TuneInputs:
    """Read ``inputs.json`` from the folder of a tuning.

    Raises
    ------
    InputError
        If it is missing or damaged, or has another schema.
    """
    path = folder / INPUTS_FILE
    try:
        raw = path.read_bytes()
        content: dict[str, Any] = json.loads(raw)
        schema = content["schema"]
        if schema != TUNE_SCHEMA:
            raise InputError(
                f"{path} has schema {schema}, this version reads {TUNE_SCHEMA}: update it."
            )
        cache = content["cache"]
        return TuneInputs(
            images=tuple(image_input(item) for item in content["images"]),
            window=parse_window(str(content.get("window", AUTO.name))),
            cache=None if cache is None else Path(cache),
            settings=TuneSettings.from_dict(content["settings"]),
            sha256=hashlib.sha256(raw).hexdigest(),
        )
    except InputError:
        raise
    except (OSError, *INVALID) as exc:
        raise InputError(
            f"{folder} is not the folder of a tuning: no valid {INPUTS_FILE}."
        ) from exc


def committed_planes(images: Iterable[ImageInput], window: Window) -> list[TrainPlane]:
    """Return all committed planes, along every axis, as input for SAM.

    Constant planes are left out. Unannotated pixels stay 255.

    Raises
    ------
    InputError
        If a file is missing or changed, or a label does not fit its image.
    """
    found = []
    for image in images:
        volume, label = read_image(image)
        if label is None:
            continue
        on_volume = window.on(volume)
        for plane, own in _annotated(volume, label):
            pixels = np.array(on_volume.apply(volume.plane(plane)))
            if pixels.min() < pixels.max():
                judged = None if image.judged is None else image.judged.on(plane.index, plane.axis)
                known = TrainPlane(image.id, image.case, plane.index, pixels, own, plane.axis)
                found.append(replace(known, judged=judged))
    return found


def _annotated(volume: Volume, label: LabelArray) -> Iterator[tuple[Plane, LabelArray]]:
    along_first = 0
    for axis in range(3 if volume.ndim == 3 else 1):
        if axis and along_first == volume.plane_count():
            return  # every plane of the volume is already included
        for index in range(volume.plane_count(axis)):
            own = take_plane(label, Plane(axis, index), volume.ndim)
            share = float((own != NOT_ANNOTATED).mean())
            if share >= ANNOTATED if axis == 0 else share == 1:
                along_first += axis == 0
                yield Plane(axis, index), np.array(own, np.uint8)
