"""A click, end to end: trained on a toy, saved, loaded, and asked in (row, col)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_scsam.core.prompts import Prompts
from napari_scsam.models import load_sam
from napari_scsam.models.adapters import AdapterInfo, attach, save_adapter, trainable_parameters
from napari_scsam.models.base import load_base
from napari_scsam.models.preprocess import Frame
from scsam_train.decoding import Decoder, PromptBatch
from scsam_train.losses import mask_loss

if TYPE_CHECKING:
    from pathlib import Path

ROWS, COLS = 120, 200


def ellipse(row: float, col: float, height: float, width: float) -> np.ndarray:
    rows, cols = np.mgrid[:ROWS, :COLS]
    return ((rows - row) / height) ** 2 + ((cols - col) / width) ** 2 < 1


def toy(
    seed: int, place: tuple[float, float], other: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Two like objects on a dark ground; the mask of the one at `place`."""
    rng = np.random.default_rng(seed)
    wanted, distractor = ellipse(*place, 14, 18), ellipse(*other, 14, 18)
    image = 40 + 120 * (wanted | distractor) + rng.normal(0, 6, (ROWS, COLS))
    return image.astype(np.float32), wanted


@pytest.mark.slow
def test_after_a_toy_fit_a_click_finds_its_object_and_not_the_transposed_one(
    tmp_path: Path,
) -> None:
    sam, base = load_sam("lite-medsam", device="cpu"), load_base("lite-medsam")
    info = AdapterInfo(base.base_hash, "lite-medsam", (1,), understands_points=True)
    model = attach(base.module, info)
    decoder, frame = Decoder(model), Frame((ROWS, COLS), 256)
    places = [(30, 100), (100, 30), (60, 160), (25, 40)]
    features, targets, clicks = [], [], []
    for seed, place in enumerate(places):
        other = places[(seed + 1) % len(places)]
        image, wanted = toy(seed, place, other)
        features.append(sam.embed(image).features.float())
        canvas = frame.mask_to_input(wanted, decoder.side)[0, 0] > 0
        targets.append(canvas.to(torch.uint8)[None])
        (x, y) = frame.to_xy([place])[0]
        clicks.append([(float(y), float(x), 1)])
    batch, target, weight = torch.cat(features), torch.stack(targets), torch.ones(len(places))
    optimiser = torch.optim.AdamW(trainable_parameters(model).values(), lr=1e-3)
    for _ in range(12):
        loss = mask_loss(decoder(batch, PromptBatch(clicks=clicks))[0], target, weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    save_adapter(model, tmp_path / "adapter", info)

    taught = load_sam("lite-medsam", device="cpu", adapter=tmp_path / "adapter")
    place, transposed = (45, 110), (110, 45)  # far off the diagonal, at places never trained on
    image, wanted = toy(99, place, transposed)
    answer = taught.decode(taught.embed(image), Prompts([place], [1]))
    assert answer.via == "points"
    dice = 2 * (answer.mask & wanted).sum() / (answer.mask.sum() + wanted.sum())
    assert dice > 0.7
    assert not answer.mask[100:118, 35:55].any()
