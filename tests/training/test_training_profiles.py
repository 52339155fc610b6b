"""Whole rounds that train SAM's image encoder, too: saved, loaded, answering, gone on from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import segment_anything
import torch
from test_training_round import events, make_round, phantom
from thin import thin_vit

from napari_scsam.models import load_round
from napari_scsam.models.adapters import read_info
from napari_scsam.models.base import load_base
from napari_scsam.models.preprocess import prepare
from napari_scsam.models.sam import SamModel, SamWeights
from scsam_train.__main__ import main
from scsam_train.loop import fit
from scsam_train.session import setup
from scsam_train.validation import validate
from scsam_train.validation_metrics import Evaluator

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.core.arrays import Pixels
    from napari_scsam.core.jobs import CancelToken

ADAPTED = {"profile": "adapted-encoder", "sam_batch": 2, "lora_rank": 2}


@pytest.fixture
def thin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of a round on a ViT-B that is thin and sees 64 pixels."""
    monkeypatch.setitem(segment_anything.sam_model_registry, "vit_b", thin_vit)
    path = tmp_path / "thin.pth"
    torch.save(thin_vit().state_dict(), path)
    return {**ADAPTED, "sam": "vit_b", "sam_checkpoint": str(path), "sam_size": 64}


def finished(folder: Path) -> Path:
    assert main([str(folder)]) == 0, events(folder)[-1]
    return folder.with_name(folder.name.removesuffix(".partial"))


@pytest.mark.parametrize("method", ["lora", pytest.param("dora", marks=pytest.mark.exhaustive)])
def test_an_adapted_round_loads_answers_and_is_gone_on_from(
    thin: Any, tmp_path: Path, method: str
) -> None:
    thin |= {"adapter": method}
    first = finished(make_round(tmp_path / "rounds/0001.partial", 3, 1, **thin, steps=16))
    info = read_info(first / "sam_adapter")
    assert (info.profile, info.method, info.sam_size) == ("adapted-encoder", method, 64)
    metrics = json.loads((first / "metrics.json").read_text())
    assert 0 <= metrics["click_dice"] <= 1 and 0 <= metrics["base_click_dice"] <= 1
    image = phantom(9)[0]
    pair = load_round(first, device="cpu")
    base = load_base("vit_b", thin["sam_checkpoint"], 64)
    bare = SamModel(SamWeights.of(base, torch.device("cpu")))
    own, plain = pair.sam.embed(image), bare.embed(image)
    assert own.key != plain.key
    assert (own.features - plain.features).abs().max() > 1e-3
    found = pair.probabilities(image, own)
    assert found.shape == (2, *image.shape) and np.isfinite(found).all()
    parent = {"number": 1, "folder": str(first)}
    thin |= {"recipe": "sam-only"}  # scsam would begin with the U-Net, now that SAM knows
    second = finished(make_round(tmp_path / "next/0002.partial", 3, 0, parent, **thin, steps=2))
    texts = [event.get("text", "") for event in events(second)]
    assert any("Starting from the weights of the active round" in text for text in texts)
    again = load_round(second, device="cpu").sam.embed(image)
    step = (again.features - own.features).norm()
    assert step > 1e-3
    # Its parent is judged with its own embeddings.
    judged = json.loads((second / "metrics.json").read_text())["parent"]
    assert judged["sam"] == pytest.approx(metrics["dice"]["sam"])


def test_the_judge_never_sees_an_embedding_of_an_older_encoder(
    thin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thin |= {"recipe": "sam-only", "steps": 8}
    session = setup(make_round(tmp_path / "0001.partial", 3, **thin))
    held_out = session.split.held_out[0].pixels
    keys = []
    embed = SamModel.embed

    def watched(sam: Any, image: Pixels, cancel: CancelToken | None = None) -> Any:
        found = embed(sam, image, cancel)
        if image is held_out:
            keys.append(found.key)
        with torch.no_grad():  # whatever is looked at is of the weights as they are
            now = sam.module.image_encoder(prepare(image, 64, "sam").pixels[None])
        torch.testing.assert_close(found.features, now)
        return found

    monkeypatch.setattr(SamModel, "embed", watched)
    judge = Evaluator([session.split.held_out[0]], session.inputs.class_names)
    fit(session, judge)
    looked = list(keys)
    assert len(looked) == len(set(looked)) == 5
    validate(session, judge, 8)
    assert len(set(keys)) == 7  # the last one, and the base's for its clicks


def test_a_round_says_which_profile_it_chose_and_why(thin: Any, tmp_path: Path) -> None:
    folder = make_round(tmp_path / "a/0001.partial", 1, **{**thin, "profile": "auto"}, steps=1)
    told = events(finished(folder))
    started = next(event for event in told if event["event"] == "started")
    assert started["profile"] == "frozen-encoder" and started["adapter"] == "lora"
    assert "this is a CPU" in started["profile_reason"]
    assert started["profile_reason"] in [event.get("text") for event in told]
    folder = make_round(tmp_path / "b/0001.partial", 1, **thin, recipe="supervised", steps=1)
    started = next(e for e in events(finished(folder)) if e["event"] == "started")
    assert started["profile"] == "frozen-encoder"
    assert "does not train SAM" in started["profile_reason"]


def test_litemedsams_encoder_is_trained_too(tmp_path: Path) -> None:
    settings = {**ADAPTED, "sam_batch": 1, "recipe": "sam-only", "steps": 1}
    folder = finished(make_round(tmp_path / "0001.partial", 1, **settings))
    pair = load_round(folder, device="cpu")
    image = phantom(9)[0]
    shipped = load_base("lite-medsam")
    bare = SamModel(SamWeights.of(shipped, torch.device("cpu")))
    embedding = pair.sam.embed(image)
    assert embedding.key != bare.embedding_key(image)
    assert pair.probabilities(image, embedding, "sam").shape == (2, *image.shape)


def test_a_size_that_a_sam_does_not_take_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_round(tmp_path / "0001.partial", 1, **ADAPTED, sam_size=128)
    assert main([str(folder)]) == 1
    assert "sees 256 pixels, not 128" in capsys.readouterr().err
