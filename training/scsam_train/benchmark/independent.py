"""A U-Net and a SAM trained separately: the baseline that separates co-training from ensembling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_scsam.core.round_contract import UNET_FILE
from napari_scsam.models import Embedding, Pair, UNet, load_round, open_cache
from scsam_train.benchmark.embedded import CACHE_GB
from scsam_train.config import read_inputs
from scsam_train.data import load_planes
from scsam_train.pair_weights import PairWeights, choose_weights
from scsam_train.splitting import split_planes
from scsam_train.validation_metrics import Evaluator

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def independent_pair(unet_folder: Path, sam_folder: Path, cache: Path) -> tuple[Pair, PairWeights]:
    """Pair the U-Net of a ``supervised`` round with the SAM of a ``sam-only`` round.

    The weights are chosen as in a round (`pair_weights`), on the planes that both held out.

    Parameters
    ----------
    unet_folder, sam_folder : Path
        Finished rounds from the same labels.
    cache : Path
        Cache with the embeddings of their held-out planes.
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

    evaluator = Evaluator(split.held_out, inputs.class_names, embed)
    pair = Pair(unet, sam, base=base)
    weights = choose_weights(evaluator, pair, evaluator.evaluate(pair, _go_on), _go_on).weights
    return pair.weighed(weights.unet_shares, weights.guided), weights


def _go_on() -> None:
    """Do nothing: a benchmark can't be cancelled."""
