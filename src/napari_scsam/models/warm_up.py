"""Merging the shipped point warm-up into the SAM weights that it was trained on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from napari_scsam.core.errors import ModelError
from napari_scsam.models.checkpoint import sha256_of_file

if TYPE_CHECKING:
    from collections.abc import Sequence

WEIGHTS = Path(__file__).parent / "weights"
# peft's names.
_ADAPTER, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@torch.no_grad()
def merge_warm_up(sam: nn.Module, folder: Path, base_hash: str) -> str:
    """Merge an adapter into a SAM, in place.

    This works without peft, whose import takes seconds: LoRA adds ``alpha / r * B @ A`` to a weight
    (Hu et al., ICLR 2022, equation 3), and fully trained parts replace the original weights.

    Parameters
    ----------
    sam : nn.Module
        The released SAM; changed in place.
    folder : Path
        An adapter without classes, in peft's format, with a frozen image encoder.
    base_hash : str
        SHA-256 of the released weights.

    Returns
    -------
    str
        SHA-256 of the adapter's weights.

    Raises
    ------
    ModelError
        If the adapter is missing or damaged, or belongs to other weights.
    """
    try:
        config = json.loads((folder / _CONFIG).read_text())
        info = json.loads((folder / "scsam.json").read_text())
        tensors = load_file(folder / _ADAPTER)
    except (OSError, ValueError, SafetensorError) as exc:
        raise ModelError(
            f"The warm-up in {folder} is missing or damaged: reinstall napari-scsam."
        ) from exc
    if info["base"] != base_hash:
        raise ModelError(f"The warm-up in {folder} belongs to other weights than {base_hash[:12]}.")
    own = dict(sam.state_dict(keep_vars=True))
    named = {name.removeprefix(_PREFIX): value.float() for name, value in tensors.items()}
    scale = config["lora_alpha"] / config["r"]
    for name, value in named.items():
        if name.endswith(_UP):
            weight = own[name.removesuffix(_UP) + ".weight"]
            weight.add_(scale * value @ named[name.removesuffix(_UP) + _DOWN])
        elif not name.endswith(_DOWN) and name in own:
            own[name].copy_(value)
    return sha256_of_file(folder / _ADAPTER)


def hash_of_parts(parts: Sequence[str]) -> str:
    """Return the identifier of weights made from parts with these hashes; a single one is kept."""
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()
