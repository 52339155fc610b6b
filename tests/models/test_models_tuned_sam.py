"""A tuned SAM from its folder: loaded with its base, refused when it is not what was written."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_scsam import models
from napari_scsam.core.errors import ModelError
from napari_scsam.core.prompts import Prompts
from napari_scsam.models.adapters import AdapterInfo, attach, save_adapter, trainable_parameters
from napari_scsam.models.base import load_base

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.models.sam import SamModel

IMAGE = np.random.default_rng(1).normal(size=(40, 60))
CLICK = Prompts([(10, 20)], [1])


@pytest.fixture
def tuning(thin_checkpoint: Path, tmp_path: Path, vit_b_is_thin: None) -> Path:
    """The folder of a tuning that changed every trained weight a little."""
    base = load_base("vit_b", thin_checkpoint)
    info = AdapterInfo(base.base_hash, "vit_b", (), understands_points=True, rank=2)
    model = attach(base.module, info)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path / "0001"
    save_adapter(model, folder / "sam_adapter", info)
    files = {
        f"sam_adapter/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (folder / "sam_adapter").iterdir()
    }
    settings = {"sam": "vit_b", "sam_checkpoint": str(thin_checkpoint)}
    (folder / "report.json").write_text(json.dumps({"files": files, "settings": settings}))
    return folder


def test_it_answers_on_its_bases_embeddings_and_leaves_the_base_bit_by_bit(
    tuning: Path, vit: SamModel
) -> None:
    embedding = vit.embed(IMAGE)
    before = vit.decode(embedding, CLICK).logits
    tuned = models.load_tuned(tuning, device="cpu")
    assert (tuned.base_hash, tuned.understands_points) == (vit.base_hash, True)
    assert tuned.embedding_key(IMAGE) == embedding.key
    assert np.abs(tuned.decode(embedding, CLICK).logits - before).max() > 0.01
    assert np.array_equal(vit.decode(embedding, CLICK).logits, before)
    assert np.array_equal(tuned.shipped.decode(embedding, CLICK).logits, before)


def test_what_is_no_tuning_or_was_changed_is_refused(tuning: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a finished tuning"):
        models.load_tuned(tmp_path, device="cpu")
    (tuning / "sam_adapter" / "scsam.json").write_text("{}")
    with pytest.raises(ModelError, match="not the file that the tuning wrote"):
        models.load_tuned(tuning, device="cpu")
    report = json.loads((tuning / "report.json").read_text()) | {"files": {}}
    (tuning / "report.json").write_text(json.dumps(report))
    with pytest.raises(ModelError, match="has no model"):
        models.load_tuned(tuning, device="cpu")


@pytest.mark.parametrize("planes", ["1e999", "NaN", "null", "[]", '"x"'])
def test_a_report_with_a_number_that_is_none_is_said(planes: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(f'{{"planes": {planes}}}')
    with pytest.raises(ModelError, match="is not the report of a finished tuning"):
        models.outlines_of(tmp_path)
