"""The engine's version stands for what a round reads, learns and answers: figures of all three.

After a change that is meant: raise ``ENGINE_VERSION`` and record anew with
``python tests/training/test_training_engine.py``.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from toy import SIDE, toy_context

from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings
from napari_scsam.core.volume import Volume
from napari_scsam.core.windows import AUTO, parse_window
from napari_scsam.models import Embedding
from napari_scsam.models.pair import Pair
from napari_scsam.models.preprocess import prepare
from napari_scsam.models.unet import UNet, new_network
from scsam_train.data import TrainPlane
from scsam_train.embedded_views import build_canvases
from scsam_train.engine import ENGINE_VERSION
from scsam_train.recipes import RECIPES

KEPT = Path(__file__).with_name("engine.json")
# Enough for SAM to learn from pseudo-labels in `scsam`, which it does in every eighth step.
STEPS = {"scsam": 9}
FEW_STEPS = 4
# Processors add in other orders, and Muon multiplies in bfloat16: with these rates what comes of
# that stays below a tenth of the tolerance, while any step is worth a hundred times as much.
RATES = {"unet_lr": 3e-5, "sam_lr": 1e-4}
TOLERANCE = 1e-4
# Recipes with the kinds of U-Net that change what they do.
RUNS = (
    *(f"{name}, scratch" for name in sorted(RECIPES)),
    "supervised, pretrained",
    "scsam, pretrained+sam",
)
RAISE = "raise ENGINE_VERSION and re-record (see the head of this file)"


def sums(values: Any) -> list[float]:
    """Mean, deviation, and a sum that another order of the same values changes."""
    values = np.asarray(values, np.float64)
    places = np.random.default_rng(0).standard_normal(values.shape)
    scattered = (values * places).sum() / np.sqrt(values.size)
    return [float(values.mean()), float(values.std()), float(scattered)]


def kit_of(recipe: str, kind: str, steps: int) -> Any:
    """The toy's, with another kind of U-Net."""
    real = {"grid": 64, "channels": None}
    context = toy_context(recipe=recipe, steps=steps, unet=kind, **real, **RATES)
    if kind == "scratch":
        return context
    with torch.random.fork_rng():
        torch.manual_seed(7)
        channels = context.materials.unlabelled_features[0].shape[1] + context.classes
        unet = UNet(new_network(kind, 1 + context.classes, SIDE, channels), (1,), SIDE)
    if unet.sees_sam:
        unet.prior = context.class_priors.named((1,))
    return replace(context, unet=unet)


def learned(name: str) -> dict[str, Any]:
    """Losses of a few steps, and what the toy's pair then answers."""
    name, _, kind = name.partition(", ")
    with ExitStack() as stack:
        for patched in (
            patch("napari_scsam.models.encoder.has_bfloat16", lambda: False),
            # In so few steps no teacher gets sure, nor is found reliable.
            patch("scsam_train.pseudo.CONFIDENT", 0.6),
            patch(
                "scsam_train.teacher_reliability.TeacherReliability.reliability",
                property(lambda exam: np.array([1.0])),
            ),
        ):
            stack.enter_context(patched)
        steps = STEPS.get(name, FEW_STEPS)
        context = kit_of(name, kind, steps)
        recipe = RECIPES[name](context)
        reports = [recipe.step(step / steps) for step in range(steps)]
        recipe.finish()
        pair = Pair(context.unet, context.sam, trained=recipe.members)
        picture = context.materials.images[0].permute(1, 2, 0).numpy()
        features = context.materials.views[0][0].features.float()
        embedding = Embedding(features, (SIDE, SIDE), picture.mean(2), "toy")
        answers = pair.members(picture, embedding)
    return {
        "losses": [[report.loss_unet, report.loss_sam] for report in reports],
        "answers": {member: sums(found[1:]) for member, found in sorted(answers.items())},
    }


def read() -> dict[str, Any]:
    """What is made of a few planes: windows, canvases, SAM's input."""
    rng = np.random.default_rng(3)
    rows, cols = np.mgrid[:48, :64]
    grey = (40 * np.sin(rows / 5) + cols + rng.normal(0, 5, (3, 48, 64))).astype(np.float32)
    colour = rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)
    label = ((rows - 20) ** 2 + (cols - 30) ** 2 < 150).astype(np.uint8)
    volume = Volume(grey)
    found = {}
    for name in (AUTO.name, "35/50"):
        window = parse_window(name).on(volume)
        shown = window.apply(volume.plane(Plane(0, 1)))
        around = window.around(volume, Plane(0, 1))
        plane = TrainPlane("a", "a", 1, shown, label, around=around)
        other = TrainPlane("b", "b", 0, colour, np.full((40, 56), 255, np.uint8))
        for context in (False, True):
            planes = [plane], [plane if context else other]
            made = build_canvases(*planes, (1,), SIDE, torch.device("cpu"), context=context)
            for part in ("images", "labels", "unlabelled_images", "unlabelled_valid"):
                found[f"{name}, context {context}, {part}"] = sums(getattr(made, part))
    for normalisation in ("sam", "unit"):
        found[f"SAM's input, {normalisation}"] = sums(prepare(colour, 64, normalisation).pixels)
    return found


def defaults() -> dict[str, Any]:
    """The settings that a key leaves out."""
    return TrainSettings().to_dict()


def record() -> dict[str, Any]:
    """All figures."""
    return {
        "engine": ENGINE_VERSION,
        "defaults": defaults(),
        "read": read(),
        "runs": {name: learned(name) for name in RUNS},
    }


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return json.loads(KEPT.read_text())


def differing(found: Any, kept: Any, path: str = "") -> list[str]:
    """Where figures are not those that were kept."""
    if isinstance(kept, dict | list) and type(found) is type(kept):
        if len(found) != len(kept) or (isinstance(kept, dict) and set(found) != set(kept)):
            return [path]
        keys = kept if isinstance(kept, dict) else range(len(kept))
        return [one for key in keys for one in differing(found[key], kept[key], f"{path}/{key}")]
    if isinstance(kept, float) and isinstance(found, float):
        return [] if abs(found - kept) <= TOLERANCE * max(1.0, abs(kept)) else [path]
    return [] if found == kept else [path]


def test_the_figures_are_of_this_engine(kept: dict[str, Any]) -> None:
    assert kept["engine"] == ENGINE_VERSION, RAISE
    assert set(kept["runs"]) == set(RUNS), RAISE


def test_what_is_read_is_what_this_engine_reads(kept: dict[str, Any]) -> None:
    assert not differing(read(), kept["read"]), RAISE


def test_no_default_has_changed(kept: dict[str, Any]) -> None:
    """A run's key leaves them out: a new setting is welcome, another default is another round."""
    now = defaults()
    assert {name: now.get(name, "gone") for name in kept["defaults"]} == kept["defaults"], RAISE


@pytest.mark.parametrize("name", RUNS)
def test_what_is_learned_and_answered_is_what_this_engine_learns(
    name: str, kept: dict[str, Any]
) -> None:
    assert not differing(learned(name), kept["runs"][name]), RAISE


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT
    target.write_text(json.dumps(record(), indent=1) + "\n")
