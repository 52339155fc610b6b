"""A U-Net that sees the slices before and after, and everything that has to hand them on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_scsam import models
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import Prompts, PromptSet
from napari_scsam.core.volume import Volume
from napari_scsam.core.windows import AUTO, PRESETS
from napari_scsam.inference.messages import Question
from napari_scsam.inference.segmenter import Segmenter
from napari_scsam.models import Decoded, Embedding, propose
from napari_scsam.models.pair import Pair
from napari_scsam.models.preprocess import prepare, with_neighbours
from napari_scsam.models.scratch_unet import build_network
from napari_scsam.models.unet import UNet
from napari_scsam.workflows.prediction import predict_volume

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.core.arrays import Pixels
    from napari_scsam.core.jobs import CancelToken

SIDE = 64


class Rise(torch.nn.Module):
    """Marks where the slice after is brighter than the one before."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rise = x[:, 2:] - x[:, :1]
        return torch.cat([0.2 - rise, rise - 0.2], 1) * 40


class Sam:
    """Knows nothing but the map that it is told: what the pair says is the U-Net's."""

    understands_points = False
    device = "cpu"

    def embedding_key(self, image: Pixels) -> str:
        return "k"

    def embed(self, image: Pixels, cancel: CancelToken | None = None) -> Embedding:
        return Embedding(None, image.shape[:2], np.eye(2, dtype=np.float32), "k")

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        logits = np.zeros(embedding.shape, np.float32)
        if prompts.mask is not None:
            logits = np.asarray(prompts.mask, np.float32)
        return Decoded(logits > 0, logits, 0.5)


def pair(context: bool = True) -> Pair:
    return Pair(UNet(Rise(), (1,), SIDE, context=context), Sam(), [1.0])


@pytest.fixture
def wedge() -> Volume:
    """(slices, rows, cols): a bright block that grows to the right by 8 columns a slice."""
    data = np.full((5, SIDE, SIDE), 10, np.int16)
    for index in range(5):
        data[index, 20:44, 4 : 12 + 8 * index] = 200
    return Volume.from_array(data)


def grown(index: int, last: int = 4) -> np.ndarray:
    """What slice `index` of the wedge gains from the one before it to the one after."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20:44, 12 + 8 * max(index - 1, 0) : 12 + 8 * min(index + 1, last)] = True
    return mask


def test_the_three_channels_are_the_slices_before_here_and_after() -> None:
    rng = np.random.default_rng(0)
    before, here, after = rng.random((3, 40, 40))
    seen = prepare(with_neighbours(here, (before, after)), 40, "unit").pixels.numpy()
    for channel, plane in zip(seen, (before, here, after), strict=True):
        assert np.corrcoef(channel.ravel(), plane.ravel())[0, 1] > 0.999
    colours = rng.random((40, 40, 3))
    assert with_neighbours(colours, (colours, colours)) is colours
    assert with_neighbours(here, None) is here


def test_only_a_unet_with_context_looks_at_the_neighbours(wedge: Volume) -> None:
    place = Plane(0, 2)
    here, around = wedge.plane(place), AUTO.around(wedge, place)
    torch.manual_seed(0)
    for context in (True, False):
        unet = UNet(build_network(2), (1,), SIDE, context=context)
        alone, along = unet.probabilities(here), unet.probabilities(here, around)
        assert np.array_equal(alone, along) is not context
        # Where the neighbours are not known, the plane itself takes their place.
        np.testing.assert_allclose(alone, unet.probabilities(here, (here, here)), atol=1e-5)
    colours = np.random.default_rng(0).random((SIDE, SIDE, 3))
    unet = UNet(build_network(2), (1,), SIDE, context=True)
    np.testing.assert_array_equal(
        unet.probabilities(colours), unet.probabilities(colours, (colours, colours))
    )


def test_a_saved_unet_remembers_its_context_and_an_old_one_has_none(tmp_path: Path) -> None:
    path, old = tmp_path / "unet.safetensors", tmp_path / "old.safetensors"
    UNet(build_network(2), (1,), SIDE, context=True).save(path)
    assert UNet.load(path).context
    with safe_open(path, framework="pt") as stream:
        about = json.loads(stream.metadata()["scsam"])
    assert about.pop("context") is True
    save_file(load_file(path), old, metadata={"scsam": json.dumps(about)})
    assert not UNet.load(old).context


@pytest.mark.parametrize("window", [AUTO, PRESETS["soft-tissue"]])
@pytest.mark.parametrize("which", ["unet", "pair"])
def test_a_volume_is_predicted_with_each_slice_s_neighbours(
    wedge: Volume, window: Any, which: str
) -> None:
    found = predict_volume(pair(), wedge, which, window=window)
    for index in range(5):
        np.testing.assert_array_equal(found[index] == 1, grown(index))
    assert not predict_volume(pair(context=False), wedge, which, window=window).any()


def test_suggestions_and_clicks_are_told_of_the_neighbours(wedge: Volume) -> None:
    place, models = Plane(0, 2), pair()
    here, around = wedge.plane(place), AUTO.around(wedge, place)
    embedding = models.sam.embed(here)
    assert propose(models, here, embedding, 1) == []
    (confirmed, *_) = propose(models, here, embedding, 1, around)
    assert grown(2)[int(confirmed.row), int(confirmed.col)]
    inside = Prompts([(30, 24)], [1])
    # The same slice between other neighbours is another question.
    for about, expected in ((around, grown(2)), ((here, here), np.zeros_like(grown(2)))):
        assert models.decode(here, embedding, inside, 1, about).mask.sum() == expected.sum()


@pytest.mark.parametrize("window", [AUTO, PRESETS["soft-tissue"]])
def test_the_dock_s_question_brings_the_neighbours(
    wedge: Volume, window: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "load_round", lambda folder: pair())
    segmenter, place = Segmenter(load_sam=Sam), Plane(0, 2)
    asked = Question(
        key=("wedge", place),
        pixels=wedge.plane(place),
        prompts=PromptSet(),
        round_folder=tmp_path,
        window=window,
        around=AUTO.around(wedge, place),
    )
    found = segmenter.suggest(asked, [1])
    np.testing.assert_array_equal(found.preview == 1, grown(2))
    alone = replace(asked, key=("alone", place), around=None)
    assert segmenter.suggest(alone, [1]).prompts.is_empty
