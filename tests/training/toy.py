"""A small context for recipes: made-up embeddings or a thin ViT, everything else real."""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from thin import thin_base

from napari_scsam.core.settings import TrainSettings
from napari_scsam.models.adapters import AdapterInfo, attach
from napari_scsam.models.base import load_base
from napari_scsam.models.preprocess import prepare
from napari_scsam.models.sam import SamModel, SamWeights
from napari_scsam.models.scratch_unet import build_network
from napari_scsam.models.unet import UNet
from scsam_train.distributed import World
from scsam_train.embedded_views import Materials, SamView
from scsam_train.recipe_context import Recipe, RecipeContext

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE = 32
# Of SAM's embeddings: LiteMedSAM's own is 64. Its decoder takes any, and a step of 16 is quick.
GRID = 16
# Channels of a U-Net with a sixteenth of the real one's weights.
NARROW = (8, 8, 16, 32, 64, 8)


# Of LiteMedSAM's embeddings.
REAL_GRID = 64


@contextmanager
def one_view_each() -> Iterator[None]:
    """Have rounds in this process embed each labelled plane once, inside the block.

    An embedding takes about a second. That a round embeds further views is tested in
    `test_training_round`.
    """
    with patch("scsam_train.embedded_views.MAX_VIEWS", 1):
        yield


@cache
def _decoding_base() -> Any:
    """LiteMedSAM with its decoder's weights; nothing is encoded with it."""
    base = load_base("lite-medsam")
    base.module.image_encoder = torch.nn.Linear(4, 4)
    return base


def coarse_base(grid: Any) -> Any:
    """LiteMedSAM with its weights, for embeddings of `grid` x `grid`.

    Its image encoder is there only where it fits such embeddings: to read and to convert it takes
    half a second.
    """
    if grid == REAL_GRID:
        return load_base("lite-medsam")
    base = _decoding_base()
    base = replace(base, module=deepcopy(base.module))
    side, prompts = 4 * grid, base.module.prompt_encoder
    prompts.image_embedding_size = (grid, grid)
    prompts.input_image_size = prompts.mask_input_size = (side, side)
    return replace(base, entry=replace(base.entry, input_size=side, embedding_size=grid))


def toy_context(
    unlabelled: Any = 3,
    world: Any = None,
    classes: Any = 1,
    grid: Any = GRID,
    channels: Any = NARROW,
    **settings: Any,
) -> Any:
    """Two labelled planes and some others, each with a bright rectangle of its own.

    The rectangles are of class 1; of any other of the `classes` there is no label.

    With ``profile="adapted-encoder"`` a thin ViT takes LiteMedSAM's place, and has its own `grid`.
    The real networks, at several times the cost, are those of ``grid=64, channels=None``.
    """
    torch.manual_seed(0)
    class_ids = tuple(range(1, 1 + classes))
    small = {
        "steps": 12,
        "unet": "scratch",
        "image_size": SIDE,
        "labelled_batch": 2,
        "unlabelled_batch": 2,
    }
    chosen = TrainSettings(**{**small, "sam_batch": 2, **settings})
    adapted = chosen.profile == "adapted-encoder"
    base = thin_base() if adapted else coarse_base(grid)
    info = AdapterInfo(
        base.base_hash,
        base.entry.name,
        class_ids,
        understands_points=True,
        rank=2,
        profile="adapted-encoder" if adapted else "frozen-encoder",
        method=chosen.adapter,
    )
    module = attach(base.module, info, seed=0)
    sam = SamModel(SamWeights.of(replace(base, module=module), torch.device("cpu")), info)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        unet = UNet(build_network(1 + classes, features=channels), class_ids, SIDE)
    generator = torch.Generator().manual_seed(5)
    count = 2 + unlabelled
    label = torch.zeros((count, SIDE, SIDE), dtype=torch.uint8)
    for at in range(count):
        label[at, 6 + at : 18 + at, 8 : 24 - at] = 1
    images = 0.3 * torch.rand((count, 3, SIDE, SIDE), generator=generator) + 0.6 * label[:, None]
    if adapted:
        on_grid = label[:, ::2, ::2]
        pictures = [image.permute(1, 2, 0).numpy() for image in images]
        features = [prepare(p, 64, "sam").pixels[None].half() for p in pictures]
    else:
        times = 4 * grid // SIDE
        on_grid = label.repeat_interleave(times, 1).repeat_interleave(times, 2)
        shape = (1, 256, grid, grid)
        features = [torch.randn(shape, generator=generator).half() for _ in range(count)]
    materials = Materials(
        images=images[:2],
        labels=label[:2],
        cases=["a", "b"],
        names=["a:0", "b:0"],
        unlabelled_images=images[2:],
        unlabelled_valid=torch.ones((unlabelled, SIDE, SIDE), dtype=torch.bool),
        unlabelled_names=[f"u{i}:0" for i in range(unlabelled)],
        judged=torch.ones((2, classes), dtype=torch.bool),
        views=[[SamView(features[i], on_grid[i])] for i in range(2)],
        unlabelled_features=features[2:],
    )
    return RecipeContext(unet, sam, materials, chosen, world or World())


def weights_of(context: Any) -> dict[str, torch.Tensor]:
    """All weights of both networks."""
    found = {**context.unet.network.state_dict(), **context.sam.module.state_dict()}
    return {name: value.clone() for name, value in found.items()}


def run(recipe: Recipe, start: int, end: int, steps: int) -> list[Any]:
    """Take the steps `start` to `end` of `steps`; the reports."""
    return [recipe.step(step / steps) for step in range(start, end)]
