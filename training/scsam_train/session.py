"""What a round works with: inputs, planes, both networks, and how it hears from its parent."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from napari_scsam.core.errors import Cancelled, ModelError
from napari_scsam.core.settings import TrainSettings
from napari_scsam.models import EmbeddingCache, open_cache
from napari_scsam.models.adapters import AdapterInfo, attach, load_adapter, read_info
from napari_scsam.models.device import resolve_device
from napari_scsam.models.pair import ADAPTER_FOLDER, UNET_FILE
from napari_scsam.models.sam import SamModel, decoder_copy, load_base
from napari_scsam.models.unet import UNet, build_network, rounded_size
from scsam_train.config import Inputs, read_inputs
from scsam_train.data import Split, TrainPlane, load_planes, split_planes
from scsam_train.kit import Recipe
from scsam_train.log import Control, EventLog, QuietLog
from scsam_train.recipes import RECIPES
from scsam_train.world import World


@dataclass(eq=False)
class Session:
    """What a round works with.

    Attributes
    ----------
    info : AdapterInfo
        As it will be saved, but for `understands_points`.
    fresh : bool
        Whether both networks start from nothing, and not from an earlier round.
    started : float
        Of `time.monotonic`; earlier by what a resumed round had spent before.
    """

    folder: Path
    inputs: Inputs
    log: EventLog
    control: Control
    world: World
    device: torch.device
    split: Split
    unlabelled: list[TrainPlane]
    unet: UNet
    sam: SamModel
    info: AdapterInfo
    cache: EmbeddingCache
    fresh: bool = True
    started: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> TrainSettings:
        """Of the round."""
        return self.inputs.settings

    @property
    def recipe(self) -> type[Recipe]:
        """The recipe's class."""
        return RECIPES[self.settings.recipe]

    @property
    def trained(self) -> tuple[str, ...]:
        """The members that the recipe trains."""
        return self.recipe.members

    def check(self) -> None:
        """Hold while the round is paused, in all processes.

        Raises
        ------
        Cancelled
            When the parent asked for it.
        """
        cancelled = 0.0
        if self.world.leads:
            try:
                self.control.check()
            except Cancelled:
                cancelled = 1.0
        if self.world.agreed(cancelled):
            raise Cancelled("The round was cancelled.")

    def deadline(self, share: float) -> float:
        """When `share` of the time budget is spent, pauses not counted."""
        if self.settings.minutes is None:
            return math.inf
        return self.started + self.control.paused_s + share * 60 * self.settings.minutes

    def spent(self) -> float:
        """Seconds since the start, pauses not counted."""
        return time.monotonic() - self.started - self.control.paused_s


def setup(folder: Path) -> Session:
    """Read the inputs, load the planes and build both networks."""
    started = time.monotonic()
    world = World()
    inputs = read_inputs(folder)
    log = EventLog(folder) if world.leads else QuietLog(folder)
    control = Control(folder, log)
    settings = inputs.settings
    torch.manual_seed(settings.seed)
    device = resolve_device(settings.device)
    recipe = RECIPES[settings.recipe]
    wanted = settings.unlabelled_planes
    if not (recipe.uses_unlabelled and settings.unlabelled_batch):
        wanted = 0
    labelled, unlabelled = load_planes(inputs.images, wanted, inputs.window)
    split = split_planes(labelled, settings.holdout, settings.seed)
    unet, sam, info, fresh = _build_models(inputs, device, log)
    session = Session(
        folder=folder,
        inputs=inputs,
        log=log,
        control=control,
        world=world,
        device=device,
        split=split,
        unlabelled=unlabelled,
        unet=unet,
        sam=sam,
        info=info,
        cache=open_cache(inputs.cache, memory_items=1, max_gb=inputs.cache_gb),
        fresh=fresh,
        started=started,
    )
    log.write(
        "started",
        recipe=settings.recipe,
        steps=settings.max_steps,
        device=device.type,
        labelled=len(split.train),
        held_out=len(split.held_out),
        unlabelled=len(unlabelled),
        sam=sam.name,
        gated=split.gated,
    )
    log.message(split.reason)
    session.check()
    return session


def _build_models(
    inputs: Inputs, device: torch.device, log: EventLog
) -> tuple[UNet, SamModel, AdapterInfo, bool]:
    settings = inputs.settings
    base = load_base(settings.sam, settings.sam_checkpoint)
    twin = decoder_copy(base.module)
    size = rounded_size(settings.image_size)
    fresh = AdapterInfo(
        base.base_hash,
        base.entry.name,
        inputs.class_ids,
        rank=settings.lora_rank,
        base_parts=base.parts,
    )
    continues = inputs.parent is not None and _continues(inputs.parent, fresh)
    if inputs.parent is not None and continues:
        log.message("Starting from the weights of the active round.")
        module, info = load_adapter(
            base.module, inputs.parent / ADAPTER_FOLDER, base.base_hash, trainable=True
        )
        network = UNet.load(inputs.parent / UNET_FILE).network
        info = replace(info, understands_points=True)
    else:
        info = fresh
        module = attach(base.module, info, seed=settings.seed)
        network = build_network(len(inputs.class_ids) + 1)
    unet = UNet(network, inputs.class_ids, size, device)
    sam = SamModel(module, base.entry, base.base_hash, device, adapter=info, shipped=twin)
    return unet, sam, info, not continues


def _continues(parent: Path, fresh: AdapterInfo) -> bool:
    """Whether the parent's weights fit: the same base, classes and adapter."""
    try:
        info = read_info(parent / ADAPTER_FOLDER)
    except ModelError:
        return False
    return replace(info, understands_points=False) == fresh
