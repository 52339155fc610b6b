"""The files of committed labels: write-once, verified when they are read."""

from __future__ import annotations

import hashlib
import re
from math import prod
from typing import TYPE_CHECKING

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.project_layout import LABELS_FOLDER
from napari_scsam.io import nifti
from napari_scsam.io.bounds import refuse_too_large
from napari_scsam.io.grid import SliceGrid
from napari_scsam.io.label_parts import LabelPart, compose
from napari_scsam.io.real_files import make_real_folder, read_real, real_folder
from napari_scsam.project.own_files import sweep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.project.schema import ImageRecord

_NAME = re.compile(r"(\d{6,})(?:\.plane-\d{4,})?\.nii\.gz")
_ADVICE = "restore it from your backup, or undo to an earlier version"


class LabelFiles:
    """The files in the ``labels`` folder of a project.

    Parameters
    ----------
    folder : Path
        The project folder.
    """

    def __init__(self, folder: Path) -> None:
        self._project = folder
        self._folder = folder / LABELS_FOLDER

    def path(self, image_id: str, version: int, plane: int | None = None) -> Path:
        """The file of a version: of the whole label, or of one slice of it."""
        suffix = "" if plane is None else f".plane-{plane:04d}"
        return self._folder / image_id / f"{version:06d}{suffix}.nii.gz"

    def encode(
        self, image: ImageRecord, version: int, label: LabelArray, plane: int | None = None
    ) -> tuple[LabelPart, bytes]:
        """The file of a version and its content, which the caller writes.

        `label` is the whole label, or the slice `plane` of it. The folder is created.
        """
        if plane is None:
            content = nifti.encode_label(label, image)
        else:
            content = nifti.encode_label(label[None], SliceGrid.of(image, plane))
        make_real_folder(self._project, LABELS_FOLDER, image.id)
        path = self.path(image.id, version, plane)
        return LabelPart(plane, path, hashlib.sha256(content).hexdigest()), content

    def read(self, image: ImageRecord, parts: Sequence[LabelPart]) -> LabelArray:
        """Read a label from its files.

        Raises
        ------
        ProjectError
            If a file is missing, its hash is not that of the commit, or it doesn't fit the image.
        InputError
            If the label needs more memory than this machine has.
        """
        real_folder(self._project, LABELS_FOLDER, image.id)
        if len(parts) > 1 or any(part.plane is not None for part in parts):
            refuse_too_large(parts[0].path, prod(image.shape))
        try:
            label: LabelArray = compose(image.shape, parts, _read_part)
        except InputError as exc:
            raise ProjectError(f"{exc} {_ADVICE.capitalize()}.") from exc
        return label

    def last_version(self, image_id: str) -> int:
        """The highest version of an image's files, including orphans; 0 without any."""
        folder = real_folder(self._project, LABELS_FOLDER, image_id)
        sweep(folder)
        names = [_NAME.fullmatch(p.name) for p in folder.iterdir()] if folder.is_dir() else []
        return max([0, *(int(m[1]) for m in names if m)])


def _read_part(part: LabelPart) -> LabelArray:
    try:
        content = read_real(part.path)
    except OSError as exc:
        raise ProjectError(
            f"The committed label {part.path} can't be read ({exc.strerror or exc}): {_ADVICE}."
        ) from exc
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise ProjectError(
            f"The committed label {part.path} is not what was saved (its hash differs): {_ADVICE}."
        )
    return nifti.decode_label(content, part.path)
