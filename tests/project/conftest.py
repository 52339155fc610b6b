"""A small project with a volume and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest

from napari_scsam.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AFFINE = np.array([[0, -0.5, 0, 3], [0.6, 0, 0, -40], [0, 0, 3, 5], [0, 0, 0, 1]], float)


@pytest.fixture
def scans(tmp_path: Path) -> list[Path]:
    """A volume of (slices, rows, cols) = (5, 7, 9) and a colour picture of (6, 8)."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "scans"
    folder.mkdir()
    volume, picture = folder / "volume.nii.gz", folder / "picture.png"
    nib.save(nib.Nifti1Image(rng.integers(0, 900, (9, 7, 5)).astype(np.int16), AFFINE), volume)
    iio.imwrite(picture, rng.integers(0, 255, (6, 8, 3)).astype(np.uint8))
    return [volume, picture]


@pytest.fixture
def project(tmp_path: Path, scans: list[Path]) -> Iterator[Project]:
    with Project.create(tmp_path / "trial", ["prostate", "tumour"], modality="mr") as made:
        made.add_images(scans)
        yield made
