"""A U-Net and a SAM that were trained apart: they tell co-training from ensembling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_scsam.models import Embedding, open_cache
from napari_scsam.models.pair import UNET_FILE, Pair, load_round
from napari_scsam.models.unet import UNet
from scsam_train.benchmark.embedded import CACHE_GB
from scsam_train.config import read_inputs
from scsam_train.data import load_planes
from scsam_train.judging import Judge, Marks, unet_share
from scsam_train.splitting import split_planes
from scsam_train.validation import Weighing


def independent_pair(unet_folder: Path, sam_folder: Path, cache: Path) -> tuple[Pair, Weighing]:
    """A pair of a ``supervised`` round's U-Net and a ``sam-only`` round's SAM.

    It is weighed as a round weighs its own (`validation`): by Dice on the planes that both
    held out.

    Parameters
    ----------
    unet_folder, sam_folder : Path
        Finished rounds from the same labels.
    cache : Path
        With the embeddings of their held-out planes.
    """
    unet, sam = UNet.load(unet_folder / UNET_FILE), load_round(sam_folder, device="cpu").sam
    base = getattr(sam, "shipped", None)
    inputs = read_inputs(unet_folder)
    labelled, _ = load_planes(inputs, 0, neighbours=unet.context)
    settings = inputs.settings
    split = split_planes(labelled, settings.holdout, settings.seed, inputs.held_out)
    store = open_cache(cache, memory_items=1, max_gb=CACHE_GB)

    def embed(sam: Any, pixels: NDArray[Any]) -> Embedding:
        return store.get_or_embed(sam, pixels)

    judge = Judge(split.held_out, inputs.class_names, embed)

    def pair(shares: Sequence[float] | None = None, guided: Sequence[bool] = ()) -> Pair:
        return Pair(unet, sam, shares, base=base, guided=guided)

    def mark(shares: Sequence[float] | None = None, guided: Sequence[bool] = ()) -> Marks:
        return judge.mark(pair(shares, guided), lambda: None)

    names = list(inputs.class_names.values())
    alone = mark().dice()
    shares = [unet_share(alone["unet"][name], alone["sam"][name]) for name in names]
    plain = mark(shares).dice()["pair"]
    again = mark(shares, [True] * len(names)).dice()["pair"]
    guided = [(again[name] or 0.0) > (plain[name] or 0.0) for name in names]
    return pair(shares, guided), Weighing(shares, guided)
