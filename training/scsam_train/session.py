"""What a round works with: inputs, planes, both networks, and how it hears from its parent."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import torch

from napari_scsam.core.errors import Cancelled, ModelError
from napari_scsam.core.round_contract import ADAPTER_FOLDER, UNET_FILE, EventKind
from napari_scsam.models import (
    AdapterInfo,
    EmbeddingCache,
    Pair,
    Partner,
    Profile,
    SamModel,
    SamWeights,
    UNet,
    attach,
    decoder_copy,
    kind_in,
    load_adapter,
    load_base,
    new_network,
    open_cache,
    read_info,
    resolve_device,
    rounded_size,
)
from scsam_train.config import Inputs, read_inputs
from scsam_train.cost_meter import CostMeter
from scsam_train.data import TrainPlane, all_alike, load_planes
from scsam_train.distributed import World
from scsam_train.encoding import choose_profile
from scsam_train.log import Control, EventLog, QuietLog
from scsam_train.recipes import RECIPES
from scsam_train.splitting import Split, choose_unlabelled, split_planes

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.core.settings import TrainSettings, UNetKind
    from scsam_train.recipe_context import Recipe


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
    meter: CostMeter
    fresh: bool = True
    started: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> TrainSettings:
        """Of the round."""
        return self.inputs.settings

    @property
    def budget(self) -> int | None:
        """Pictures after which it ends in any case; None where its steps are counted."""
        return self.settings.budget(len(self.split.train))

    @property
    def recipe(self) -> type[Recipe]:
        """The recipe's class."""
        return RECIPES[self.settings.recipe]

    @property
    def trained(self) -> tuple[str, ...]:
        """The members that the recipe trains."""
        return self.recipe.members

    @property
    def embeds(self) -> bool:
        """Whether the round needs SAM's embeddings: SAM learns, or the U-Net sees them."""
        return "sam" in self.trained or self.unet.sees_sam

    @property
    def unknown(self) -> tuple[int, ...]:
        """Ids of the classes that no plane which teaches was judged for."""
        ids, train = self.inputs.class_ids, self.split.train
        return tuple(i for i in ids if not any(plane.knows(i) for plane in train))

    def pair(self) -> Pair:
        """Both networks as they are now, answering together with equal shares."""
        return Pair(
            self.unet,
            self.sam,
            trained=self.trained,
            unknown=self.unknown,
            partner=self.partner,
        )

    @property
    def partner(self) -> Partner:
        """Which of SAM's answers the U-Net's is mixed with: prompted only if it learned that."""
        return "sam" if self.settings.without == "unet-to-sam" else self.recipe.partner

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
    split, unlabelled = _planes(inputs, wanted, log)
    profile, reason = choose_profile(
        settings.profile, device.type, trains_sam="sam" in recipe.members
    )
    unet, sam, info, fresh = _build_models(inputs, device, profile, log)
    meter = CostMeter(lambda: time.monotonic() - control.paused_s)
    meter.add("loading", time.monotonic() - started)
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
        meter=meter,
        fresh=fresh,
        started=started,
    )
    _announce(session, reason)
    session.check()
    return session


def _announce(session: Session, profile_reason: str) -> None:
    """Tell the parent what is about to be done, and why so."""
    settings, split = session.settings, session.split
    session.log.write(
        EventKind.STARTED,
        recipe=settings.recipe,
        steps=settings.max_steps,
        pictures=session.budget,
        device=session.device.type,
        labelled=len(split.train),
        held_out=len(split.held_out),
        unlabelled=len(session.unlabelled),
        sam=session.sam.name,
        profile=session.info.profile,
        profile_reason=profile_reason,
        adapter=settings.adapter,
        gated=split.gated,
    )
    session.log.message(profile_reason)
    session.log.message(split.reason)


def _planes(inputs: Inputs, wanted: int, log: EventLog) -> tuple[Split, list[TrainPlane]]:
    """The labelled planes, split, and `wanted` unlabelled ones."""
    settings = inputs.settings
    labelled, others = load_planes(inputs, wanted, neighbours=_neighbours_are_seen(inputs))
    if all_alike([*labelled, *others]):
        log.message(
            f"All {len(labelled) + len(others)} slices show the same pixels, so there is little to "
            "learn and the figures say nothing: look whether the right files were added."
        )
    split = split_planes(labelled, settings.holdout, settings.seed, inputs.held_out)
    return split, choose_unlabelled(others, split, wanted)


def _neighbours_are_seen(inputs: Inputs) -> bool:
    """Whether the U-Net sees neighbouring slices, or its parent's, which it is compared with."""
    if inputs.settings.context or inputs.parent is None:
        return inputs.settings.context
    with suppress(ModelError):
        return UNet.load(inputs.parent / UNET_FILE).context
    return False


def _build_models(
    inputs: Inputs, device: torch.device, profile: Profile, log: EventLog
) -> tuple[UNet, SamModel, AdapterInfo, bool]:
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
    return unet, SamModel(weights, info), info, not continues


def _unet_kind(inputs: Inputs, profile: Profile, log: EventLog) -> UNetKind:
    """What the round's U-Net starts from; says so where it is not what the settings ask for."""
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
    """Whether the parent's weights fit: the same base, classes, adapter and U-Net; says why not."""
    try:
        info = read_info(parent / ADAPTER_FOLDER)
    except ModelError as exc:
        log.message(f"Starting from nothing, not from the active round: {exc}")
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
        why = f"it knows the classes {list(info.class_ids)}, this one {list(fresh.class_ids)}"
    elif before != kind:
        why = f"its U-Net is of another kind ({before or 'unreadable'}, this one is {kind})"
    else:
        why = "its adapter is of another kind or size"
    log.message(f"Starting from nothing, not from the active round: {why}.")
    return False
