"""Import of masks from files as labels of an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_scsam.core.labels import NOT_ANNOTATED, as_label_array
from napari_scsam.io import Placing, place, read_label_volume
from napari_scsam.project.files import hash_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.io.placing import How
    from napari_scsam.project.schema import CommitRecord
    from napari_scsam.project.store import Project


def commit_mask(
    project: Project,
    image: str | Path,
    path: str | Path,
    *,
    mapping: Mapping[int, int] | None = None,
    placing: Placing | None = None,
) -> tuple[CommitRecord, How]:
    """Commit a mask from a file as an image's label, aligned in world coordinates.

    Beside the commit, an event of kind ``mask`` is recorded, with the file, its hash, and how it
    was brought onto the image's grid.

    Parameters
    ----------
    project : Project
        Open for writing.
    image : str or path
        Id or path of an image of the project.
    path : path
        NIfTI, TIFF or PNG; 0 background, class ids, 255 not annotated.
    mapping : mapping of int to int, optional
        Values to replace first, such as ``{255: 1}``.
    placing : Placing, optional
        What to do with a mask on another grid; by default it is refused.

    Returns
    -------
    tuple of CommitRecord and str
        The commit, and how the mask was brought onto the grid: 'same', 'reoriented',
        'resampled' or 'same-grid'.

    Raises
    ------
    InputError
        If the mask can't be read, has other values, or is on another grid.
    ReadOnlyError
        If the project is open read-only.
    ProjectError
        If the disk is full or can't be written; the earlier label is unchanged.
    """
    path = Path(path)
    record = project.image(image)
    mask = read_label_volume(path)
    # Values are mapped first, since pixels outside the mask become 255, not annotated.
    label = as_label_array(mask.data, mask.shape, project.classes, mapping)
    name = f"the image {record.path.name}"
    placed = place(replace(mask, data=label), record, (path, name), placing or Placing())
    origin = {"file": str(path.absolute()), "sha256": hash_file(path), "grid": placed.how}
    unchanged = {NOT_ANNOTATED: NOT_ANNOTATED}
    commit = project.commit(record.id, placed.data, mapping=unchanged, source=("mask", origin))
    return commit, placed.how
