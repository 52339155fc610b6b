"""The two networks of a round: newly initialised, or those of the active round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from napari_scsam.core.errors import ModelError
from napari_scsam.core.round_contract import ADAPTER_FOLDER, UNET_FILE
from napari_scsam.models import (
    AdapterInfo,
    SamModel,
    SamWeights,
    UNet,
    attach,
    decoder_copy,
    kind_in,
    load_adapter,
    load_base,
    new_network,
    read_info,
    rounded_size,
)
from scsam_train.recipes import RECIPES

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from napari_scsam.core.settings import UNetKind
    from napari_scsam.models import Profile
    from scsam_train.config import Inputs
    from scsam_train.log import EventLog


@dataclass(eq=False)
class Networks:
    """Both networks of a round.

    Attributes
    ----------
    unet : UNet
    sam : SamModel
    info : AdapterInfo
        Saved with the adapter; `understands_points` is set by the final validation.
    fresh : bool
        Whether both are newly initialised instead of loaded from an earlier round.
    """

    unet: UNet
    sam: SamModel
    info: AdapterInfo
    fresh: bool = True


def build_networks(
    inputs: Inputs, device: torch.device, profile: Profile, log: EventLog
) -> Networks:
    """Build both networks, or load those of the active round if they fit.

    Parameters
    ----------
    inputs : Inputs
    device : torch.device
    profile : {'frozen-encoder', 'adapted-encoder'}
        Whether SAM's image encoder is trained.
    log : EventLog
        Gets a message for the user about where the weights come from.

    Raises
    ------
    ModelError
        If the base SAM or its checkpoint can't be loaded.
    """
    settings = inputs.settings
    base = load_base(settings.sam, settings.sam_checkpoint, settings.sam_size)
    bare = decoder_copy(base.module)
    size = rounded_size(settings.image_size)
    fresh = AdapterInfo(
        base.base_hash,
        base.entry.name,
        inputs.class_ids,
        rank=settings.lora_rank,
        base_parts=base.parts,
        profile=profile,
        method=settings.adapter,
        sam_size=settings.sam_size,
    )
    kind = _unet_kind(inputs, profile, log)
    continues = inputs.parent is not None and _continues(inputs.parent, fresh, kind, log)
    if inputs.parent is not None and continues:
        log.message("Starting from the weights of the active round.")
        module, info = load_adapter(
            base.module, inputs.parent / ADAPTER_FOLDER, base.base_hash, trainable=True
        )
        network = UNet.load(inputs.parent / UNET_FILE, trainable=True).network
        info = replace(info, understands_points=True)
    else:
        info = fresh
        module = attach(base.module, info, seed=settings.seed)
        joined = int(cast("Any", base.module).prompt_encoder.embed_dim) + len(inputs.class_ids)
        network = new_network(kind, len(inputs.class_ids) + 1, size, joined)
    unet = UNet(
        network,
        inputs.class_ids,
        size,
        device,
        context=settings.context,
        mirrored=settings.mirror,
        turned=settings.turn,
    )
    weights = SamWeights.of(replace(base, module=module), device, bare=bare)
    return Networks(unet, SamModel(weights, info), info, fresh=not continues)


def _unet_kind(inputs: Inputs, profile: Profile, log: EventLog) -> UNetKind:
    """Return the initialisation of the U-Net; log a message if it differs from the settings."""
    kind, recipe = inputs.settings.unet, inputs.settings.recipe
    if RECIPES[recipe].from_scratch and kind != "scratch":
        log.message(f"The recipe {recipe} trains its U-Net from scratch, as published.")
        return "scratch"
    if kind == "pretrained+sam" and profile == "adapted-encoder":
        log.message(
            "The U-Net learns from pixels alone: SAM's image encoder is trained, too, and what it "
            "sees changes in every step."
        )
        return "pretrained"
    return kind


def _continues(parent: Path, fresh: AdapterInfo, kind: UNetKind, log: EventLog) -> bool:
    """Whether the parent's weights fit: same base, classes, adapter and U-Net. Logs why not."""
    try:
        info = read_info(parent / ADAPTER_FOLDER)
    except ModelError as exc:
        log.message(f"Starting from scratch, not from the active round: {exc}")
        return False
    before = kind_in(parent / UNET_FILE)
    if replace(info, understands_points=False) == fresh and before == kind:
        return True
    if info.base != fresh.base:
        why = (
            f"its adapter belongs to another base SAM ({info.base_name}, SHA-256 "
            f"{info.base[:12]}…; this one is {fresh.base_name}, {fresh.base[:12]}…)"
        )
    elif info.class_ids != fresh.class_ids:
        why = f"it has the classes {list(info.class_ids)}, this one {list(fresh.class_ids)}"
    elif before != kind:
        why = f"its U-Net is of another kind ({before or 'unreadable'}, this one is {kind})"
    else:
        why = "its adapter is of another kind or size"
    log.message(f"Starting from scratch, not from the active round: {why}.")
    return False
