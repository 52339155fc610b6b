"""A small project with a volume and a picture, and a finished round as training writes one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest

from napari_scsam.project import Project

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


@pytest.fixture
def finish_round() -> Callable[..., Path]:
    """Write what the training process leaves behind, and give the folder its final name."""

    def finish(
        partial: Path, pair: float, parent: float | None, *, gated: bool = True, cases: int = 6
    ) -> Path:
        metrics = {
            "gated": gated,
            "reason": "" if gated else "there is one labelled case",
            "dice": {"pair": {"prostate": pair, "mean": pair}},
            "parent": None if parent is None else {"pair": {"mean": parent}},
            "validation": {"planes": 9, "cases": cases},
        }
        (partial / "metrics.json").write_text(json.dumps(metrics))
        (partial / "unet.safetensors").write_bytes(b"weights")
        manifest = {
            "files": {n: _sha256(partial / n) for n in ("metrics.json", "unet.safetensors")},
            "data": _sha256(partial / "inputs.json"),
            "code": "0.1.0",
        }
        (partial / "manifest.json").write_text(json.dumps(manifest))
        return partial.rename(partial.with_suffix(""))

    return finish


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
