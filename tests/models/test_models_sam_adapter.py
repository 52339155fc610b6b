"""A SAM with an adapter, through the front door."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_scsam import load_sam
from napari_scsam.core.errors import InputError, ModelError
from napari_scsam.core.prompts import Prompts
from napari_scsam.models.adapters import AdapterInfo, attach, save_adapter
from napari_scsam.models.base import load_base
from napari_scsam.models.decoder import for_best_dice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_scsam.models.sam import SamModel

IMAGE = np.random.default_rng(1).normal(size=(40, 60))
CLICK = Prompts([(10, 20)], [1])


@pytest.fixture
def adapted(thin_checkpoint: Path, tmp_path: Path, vit_b_is_thin: None) -> Callable[..., SamModel]:
    """Save a fresh adapter of the thin SAM and load it as a person does."""

    def build(**changes: Any) -> SamModel:
        base = load_base("vit_b", thin_checkpoint)
        info = AdapterInfo(base.base_hash, "vit_b", class_ids=(2, 5), rank=2)
        info = replace(info, **changes)
        save_adapter(attach(base.module, info), tmp_path / "adapter", info)
        return load_sam(
            "vit_b", device="cpu", checkpoint=thin_checkpoint, adapter=tmp_path / "adapter"
        )

    return build


def test_a_fresh_adapter_answers_prompts_as_its_base_does(
    adapted: Callable[..., SamModel], vit: SamModel
) -> None:
    sam = adapted(understands_points=True)
    embedding = sam.embed(IMAGE)
    ours, base = sam.decode(embedding, CLICK), vit.decode(embedding, CLICK)
    assert ours.iou == pytest.approx(base.iou, abs=1e-5)
    # Who learned by our losses has its mask drawn where its Dice is the best to be expected.
    moved = torch.from_numpy(base.logits)[None, None], torch.tensor([base.iou])
    assert ours.logits == pytest.approx(for_best_dice(*moved)[0, 0].numpy(), abs=1e-5)
    assert embedding.key == vit.embedding_key(IMAGE)


def test_a_class_with_tokens_may_be_asked_without_a_prompt(
    adapted: Callable[..., SamModel],
) -> None:
    sam = adapted()
    embedding = sam.embed(IMAGE)
    two, five = (sam.decode(embedding, Prompts(), class_id=i) for i in (2, 5))
    assert two.via == "class"
    assert not np.allclose(two.logits, five.logits)
    click, with_class = sam.decode(embedding, CLICK), sam.decode(embedding, CLICK, class_id=5)
    assert not np.allclose(click.logits, with_class.logits)
    with pytest.raises(InputError, match="nothing to segment"):
        sam.decode(embedding, Prompts(), class_id=3)


def test_an_adapted_encoder_has_keys_of_its_own(
    adapted: Callable[..., SamModel], vit: SamModel
) -> None:
    sam = adapted(profile="adapted-encoder")
    assert sam.embedding_key(IMAGE) != vit.embedding_key(IMAGE)


def test_an_adapter_may_teach_points(lite: SamModel, tmp_path: Path) -> None:
    base = load_base("lite-medsam-released")
    info = AdapterInfo(base.base_hash, "lite-medsam-released", class_ids=(1,), rank=2)
    info = replace(info, understands_points=True)
    save_adapter(attach(base.module, info), tmp_path, info)
    sam = load_sam("lite-medsam", device="cpu", adapter=tmp_path)
    assert (lite.understands_points, sam.understands_points) == (False, True)
    embedding = lite.embed(IMAGE)
    assert lite.decode(embedding, CLICK).via == "box from clicks"
    assert sam.decode(embedding, CLICK).via == "points"


def test_an_adapter_says_itself_whether_it_follows_points(
    adapted: Callable[..., SamModel], vit: SamModel
) -> None:
    assert (vit.understands_points, adapted().understands_points) == (True, False)


def test_without_its_adapter_a_sam_is_exactly_its_base(
    adapted: Callable[..., SamModel], vit: SamModel
) -> None:
    sam = adapted(understands_points=True)
    with torch.no_grad():
        for name, parameter in sam.module.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    embedding = sam.embed(IMAGE)
    base = vit.decode(embedding, CLICK).logits
    assert not np.allclose(sam.decode(embedding, CLICK).logits, base, atol=1e-3)
    assert np.array_equal(sam.shipped.decode(embedding, CLICK).logits, base)
    assert sam.shipped.understands_points and sam.shipped.shipped is None
    assert (vit.shipped, adapted(profile="adapted-encoder").shipped) == (None, None)


def test_an_adapter_of_another_base_is_refused(adapted: Callable[..., SamModel]) -> None:
    with pytest.raises(ModelError, match="trained on vit_b"):
        adapted(base="0" * 64)


def test_a_folder_that_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a SAM adapter"):
        load_sam("lite-medsam", device="cpu", adapter=tmp_path)
