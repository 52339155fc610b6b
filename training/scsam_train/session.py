"""State of a running round: inputs, planes, both networks, and the channel to the parent."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from napari_scsam.core.errors import Cancelled, ModelError
from napari_scsam.core.round_contract import UNET_FILE, EventKind
from napari_scsam.models import (
    EmbeddingCache,
    Pair,
    Partner,
    UNet,
    open_cache,
    resolve_device,
)
from scsam_train.config import Inputs, read_inputs
from scsam_train.cost_meter import CostMeter
from scsam_train.data import TrainPlane, all_alike, load_planes
from scsam_train.distributed import World
from scsam_train.encoding import choose_profile
from scsam_train.log import Control, EventLog, QuietLog
from scsam_train.networks import Networks, build_networks
from scsam_train.recipes import RECIPES
from scsam_train.splitting import EarlierSplit, Split, choose_unlabelled, split_planes

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.core.settings import TrainSettings
    from scsam_train.recipe_context import Recipe


@dataclass(eq=False)
class Session:
    """State of a running round.

    Attributes
    ----------
    networks : Networks
        The U-Net and SAM in training.
    started : float
        `time.monotonic` of the start, moved back by the time spent before a resume.
    """

    folder: Path
    inputs: Inputs
    log: EventLog
    control: Control
    world: World
    device: torch.device
    split: Split
    unlabelled: list[TrainPlane]
    networks: Networks
    cache: EmbeddingCache
    meter: CostMeter
    started: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> TrainSettings:
        """Settings of the round."""
        return self.inputs.settings

    @property
    def budget(self) -> int | None:
        """Pictures after which the round ends at the latest; None if steps are counted."""
        return self.settings.budget(len(self.split.train))

    @property
    def recipe(self) -> type[Recipe]:
        """Class of the recipe."""
        return RECIPES[self.settings.recipe]

    @property
    def trained(self) -> tuple[str, ...]:
        """Members of the pair that the recipe trains."""
        return self.recipe.members

    @property
    def embeds(self) -> bool:
        """Whether SAM embeddings are needed: SAM is trained, or they are an input of the U-Net."""
        return "sam" in self.trained or self.networks.unet.sees_sam

    @property
    def unknown(self) -> tuple[int, ...]:
        """Ids of the classes that were not judged on any training plane."""
        ids, train = self.inputs.class_ids, self.split.train
        return tuple(i for i in ids if not any(plane.knows(i) for plane in train))

    def pair(self) -> Pair:
        """Return both networks in their current state as a pair with equal weights."""
        return Pair(
            self.networks.unet,
            self.networks.sam,
            trained=self.trained,
            unknown=self.unknown,
            partner=self.partner,
        )

    @property
    def partner(self) -> Partner:
        """SAM output that is mixed with the U-Net's: prompted only if SAM was trained for it."""
        return "sam" if self.settings.without == "unet-to-sam" else self.recipe.partner

    def check(self) -> None:
        """Block while the round is paused, in all processes.

        Raises
        ------
        Cancelled
            If the parent asked for it.
        """
        cancelled = 0.0
        if self.world.is_main:
            try:
                self.control.check()
            except Cancelled:
                cancelled = 1.0
        if self.world.broadcast(cancelled):
            raise Cancelled("The round was cancelled.")

    def deadline(self, share: float) -> float:
        """Return the time at which `share` of the time budget is spent, pauses excluded."""
        if self.settings.minutes is None:
            return math.inf
        return self.started + self.control.paused_s + share * 60 * self.settings.minutes

    def spent(self) -> float:
        """Return the seconds since the start, pauses excluded."""
        return time.monotonic() - self.started - self.control.paused_s


def setup(folder: Path) -> Session:
    """Read the inputs, load the planes and build both networks."""
    started = time.monotonic()
    world = World()
    inputs = read_inputs(folder)
    log = EventLog(folder) if world.is_main else QuietLog(folder)
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
    networks = build_networks(inputs, device, profile, log)
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
        networks=networks,
        cache=open_cache(inputs.cache, memory_items=1, max_gb=inputs.cache_gb),
        meter=meter,
        started=started,
    )
    _announce(session, reason)
    session.check()
    return session


def _announce(session: Session, profile_reason: str) -> None:
    """Log what the round is going to do, and why."""
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
        sam=session.networks.sam.name,
        profile=session.networks.info.profile,
        profile_reason=profile_reason,
        adapter=settings.adapter,
        gated=split.gated,
    )
    session.log.message(profile_reason)
    session.log.message(split.reason)


def _planes(inputs: Inputs, wanted: int, log: EventLog) -> tuple[Split, list[TrainPlane]]:
    """Return the split labelled planes and `wanted` unlabelled ones."""
    settings = inputs.settings
    labelled, others = load_planes(inputs, wanted, neighbours=_neighbours_are_seen(inputs))
    if all_alike([*labelled, *others]):
        log.message(
            f"All {len(labelled) + len(others)} slices show the same pixels, so there is little to "
            "learn and the figures mean nothing: check whether the right files were added."
        )
    earlier = EarlierSplit.of_round(inputs.parent)
    split = split_planes(labelled, settings.holdout, settings.seed, inputs.held_out, earlier)
    return split, choose_unlabelled(others, split, wanted)


def _neighbours_are_seen(inputs: Inputs) -> bool:
    """Whether this round's U-Net, or that of the parent it is compared with, uses neighbours."""
    if inputs.settings.context or inputs.parent is None:
        return inputs.settings.context
    with suppress(ModelError):
        return UNet.load(inputs.parent / UNET_FILE).context
    return False
