"""The warm-up in the package: merged as peft would, refused elsewhere, and answering points."""

from __future__ import annotations

import shutil
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_scsam.core.errors import ModelError
from napari_scsam.core.prompts import Prompts
from napari_scsam.models.adapters import (
    AdapterInfo,
    attach,
    read_info,
    save_adapter,
    trainable_parameters,
)
from napari_scsam.models.base import load_base
from napari_scsam.models.sam import SamModel, load_sam
from napari_scsam.models.warm_up import WEIGHTS, merge_warm_up

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = WEIGHTS / "lite-medsam-points"
IMAGE = np.random.default_rng(0).random((90, 120)).astype(np.float32)
CLICK = Prompts([(40, 50)], [1])


def test_merging_gives_what_peft_gives(tmp_path: Path) -> None:
    base = load_base("lite-medsam-released")
    info = AdapterInfo(base.base_hash, "lite-medsam-released", (), understands_points=True, rank=4)
    model = attach(base.module, info)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    save_adapter(model, tmp_path, info)
    by_peft = load_sam("lite-medsam-released", device="cpu", adapter=tmp_path)
    merged = load_base("lite-medsam-released")
    digest = merge_warm_up(merged.module, tmp_path, merged.base_hash)
    assert digest == sha256((tmp_path / "adapter_model.safetensors").read_bytes()).hexdigest()
    own = load_sam("lite-medsam", device="cpu")
    own.module.load_state_dict(merged.module.state_dict())
    embedding = own.embed(IMAGE)
    expected, got = by_peft.decode(embedding, CLICK), own.decode(embedding, CLICK)
    assert np.abs(expected.logits).max() > 1
    assert got.logits == pytest.approx(expected.logits, abs=1e-3)


def test_the_warm_up_leaves_the_encoder_and_names_itself(lite: SamModel) -> None:
    shipped = load_sam("lite-medsam", device="cpu")
    assert (shipped.name, shipped.understands_points) == ("lite-medsam", True)
    assert (lite.name, lite.understands_points) == ("lite-medsam-released", False)
    assert shipped.base_hash != lite.base_hash
    assert torch.equal(shipped.embed(IMAGE).features, lite.embed(IMAGE).features)
    assert shipped.decode(shipped.embed(IMAGE), CLICK).via == "points"


def test_the_warm_up_is_small_and_refused_when_damaged_or_elsewhere(tmp_path: Path) -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2e6
    base = load_base("lite-medsam-released")
    with pytest.raises(ModelError, match="other weights"):
        merge_warm_up(base.module, FOLDER, "0" * 64)
    broken = tmp_path / "broken"
    shutil.copytree(FOLDER, broken)
    (broken / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match="damaged"):
        merge_warm_up(base.module, broken, base.base_hash)


def test_the_first_click_finds_a_plain_object() -> None:
    rows, cols = np.mgrid[:150, :240]
    truth = (rows - 70) ** 2 / 30**2 + (cols - 100) ** 2 / 45**2 < 1
    noise = np.random.default_rng(0).normal(0, 0.05, truth.shape)
    sam = load_sam("lite-medsam", device="cpu")
    mask = sam.decode(sam.embed(0.3 + 0.4 * truth + noise), Prompts([(70, 100)], [1])).mask
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.85


def test_an_adapter_names_the_released_weights_and_the_warm_up(tmp_path: Path) -> None:
    base = load_base("lite-medsam")
    released = load_base("lite-medsam-released")
    assert base.parts == (
        released.base_hash,
        sha256((FOLDER / "adapter_model.safetensors").read_bytes()).hexdigest(),
    )
    info = AdapterInfo(base.base_hash, "lite-medsam", (), rank=2, base_parts=base.parts)
    save_adapter(attach(base.module, info), tmp_path, info)
    assert read_info(tmp_path) == info
    with pytest.raises(ModelError, match="lite-medsam"):
        load_sam("lite-medsam-released", device="cpu", adapter=tmp_path)
