"""One round from its inputs to its folder: set up, fit, judge, save."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import napari_scsam
from napari_scsam.core.errors import ModelError, ScsamError
from napari_scsam.core.settings import TrainSettings
from napari_scsam.models.adapters import AdapterInfo, attach, load_adapter, read_info, save_adapter
from napari_scsam.models.checkpoint import sha256_of_file
from napari_scsam.models.device import resolve_device
from napari_scsam.models.pair import (
    ADAPTER_FOLDER,
    CONFIG_FILE,
    MANIFEST_FILE,
    UNET_FILE,
    Pair,
    load_round,
)
from napari_scsam.models.sam import SamModel, decoder_copy, load_base
from napari_scsam.models.unet import UNet, build_network, rounded_size
from scsam_train.config import Inputs, read_inputs
from scsam_train.data import Split, TrainPlane, load_planes, split_planes
from scsam_train.decoding import Decoder
from scsam_train.judging import Judge, Scores, click_dice, empty_scores, follows_clicks
from scsam_train.log import Control, EventLog
from scsam_train.recipes.scsam import CoTraining, StepReport
from scsam_train.views import Embedder, Materials, build_canvases

# Of the time budget: at most so much for embedding, and so much is kept for judging.
EMBEDDING_SHARE = 0.35
JUDGING_SHARE = 0.12
EVENT_EVERY_S = 0.5
# Fractions of the round after which the held-out planes are looked at, for the curve.
LOOK_IN_AT = (0.25, 0.5, 0.75)
SPLIT_FILE = "split.json"
METRICS_FILE = "metrics.json"


class TrainingFailed(ScsamError):
    """The round can't go on: its numbers are no longer finite."""


@dataclass(eq=False)
class Session:
    """What a round works with.

    Attributes
    ----------
    info : AdapterInfo
        As it will be saved, but for `understands_points`.
    """

    folder: Path
    inputs: Inputs
    log: EventLog
    control: Control
    device: torch.device
    split: Split
    unlabelled: list[TrainPlane]
    unet: UNet
    sam: SamModel
    info: AdapterInfo
    started: float

    @property
    def settings(self) -> TrainSettings:
        """Of the round."""
        return self.inputs.settings

    def deadline(self, share: float) -> float:
        """When `share` of the time budget is spent, pauses not counted."""
        if self.settings.minutes is None:
            return math.inf
        return self.started + self.control.paused_s + share * 60 * self.settings.minutes


def run_round(folder: Path) -> Path:
    """Train the round of ``rounds/NNNN.partial`` and give the folder its final name.

    Returns
    -------
    Path
        ``rounds/NNNN``.

    Raises
    ------
    ScsamError
        If the inputs can't be used, or training diverges.
    Cancelled
        When the parent asked for it; the folder stays ``.partial``.
    """
    session = setup(folder)
    judge = Judge(session.split.held_out, session.inputs.class_names)
    steps, planes = fit(session, judge)
    metrics, shares = validate(session, judge, steps)
    metrics |= {"steps": steps, "seconds": round(time.monotonic() - session.started, 1), **planes}
    save(session, metrics, shares)
    session.control.check()
    final = folder.with_name(folder.name.removesuffix(".partial"))
    session.log.write("finished", metrics=metrics)
    if final != folder:
        folder.rename(final)
    return final


def setup(folder: Path) -> Session:
    """Read the inputs, load the planes and build both networks."""
    started = time.monotonic()
    inputs = read_inputs(folder)
    log = EventLog(folder)
    control = Control(folder, log)
    settings = inputs.settings
    torch.manual_seed(settings.seed)
    device = resolve_device(settings.device)
    wanted = settings.unlabelled_planes if settings.unlabelled_batch else 0
    labelled, unlabelled = load_planes(inputs.images, wanted, inputs.window)
    split = split_planes(labelled, settings.holdout, settings.seed)
    unet, sam, info = _build_models(inputs, device, log)
    log.write(
        "started",
        steps=settings.max_steps,
        device=device.type,
        labelled=len(split.train),
        held_out=len(split.held_out),
        unlabelled=len(unlabelled),
        sam=sam.name,
        gated=split.gated,
    )
    log.message(split.reason)
    control.check()
    return Session(
        folder, inputs, log, control, device, split, unlabelled, unet, sam, info, started
    )


def fit(session: Session, judge: Judge) -> tuple[int, dict[str, int]]:
    """Embed the planes and train; the judge looks in a few times on the way.

    Returns
    -------
    steps : int
        How many were taken.
    planes : dict
        ``labelled_planes`` and ``unlabelled_planes`` that were learned from.
    """
    materials = _embed(session)
    recipe = CoTraining(session.unet, session.sam, materials, session.settings)
    clock = _Clock(session)
    looks = list(LOOK_IN_AT) if judge.planes else []
    step = 0
    while step < session.settings.max_steps and clock.fraction(step) < 1:
        session.control.check()
        report = recipe.step(clock.fraction(step))
        step += 1
        _check_finite(report, step)
        clock.report(step, report)
        if looks and clock.fraction(step) >= looks[0]:
            looks.pop(0)
            with recipe.teachers_in_place():
                pair = Pair(session.unet, session.sam)
                scores = judge.score(pair, session.control.check)
            session.log.write("validation", step=step, dice=scores)
    recipe.finish()
    return step, {
        "labelled_planes": len(materials.views),
        "unlabelled_planes": len(materials.other_views),
    }


def validate(session: Session, judge: Judge, step: int) -> tuple[dict[str, Any], list[float]]:
    """Judge the pair, and its parent's, on the held-out planes.

    Returns
    -------
    metrics : dict
        For metrics.json, without the counts of the training.
    unet_shares : list of float
        The U-Net's share in the pair, for each class.
    """
    split, names = session.split, session.inputs.class_names
    clicked = _examine_clicks(session)
    session.control.check()
    understands = clicked is not None and follows_clicks(*clicked)
    session.info = replace(session.info, understands_points=understands)
    session.sam = _with_points(session, understands)
    shares, scores, parent = [0.5] * len(names), empty_scores(names), None
    if split.held_out:
        shares, scores = _judge_pair(session, judge, step)
        parent = _judge_parent(session, judge)
    metrics = {
        "gated": split.gated,
        "reason": split.reason,
        "best": _best(scores),
        "dice": scores,
        "parent": parent,
        "click_dice": None if clicked is None else clicked[0],
        "base_click_dice": None if clicked is None else clicked[1],
        "validation": {"planes": len(judge.planes), "cases": judge.cases},
    }
    return metrics, shares


def save(session: Session, metrics: dict[str, Any], unet_shares: list[float]) -> None:
    """Write everything that a finished round holds, the manifest last."""
    folder = session.folder
    session.unet.save(folder / UNET_FILE)
    save_adapter(session.sam.module, folder / ADAPTER_FOLDER, session.info)
    config = {
        "settings": session.settings.to_dict(),
        "window": session.inputs.window.name,
        "device": session.device.type,
        "unet_shares": unet_shares,
        "torch": torch.__version__,
    }
    _write_json(folder / CONFIG_FILE, config)
    _write_json(folder / SPLIT_FILE, session.split.to_dict())
    _write_json(folder / METRICS_FILE, metrics)
    names = [UNET_FILE, CONFIG_FILE, SPLIT_FILE, METRICS_FILE]
    names += [f"{ADAPTER_FOLDER}/{path.name}" for path in (folder / ADAPTER_FOLDER).iterdir()]
    manifest = {
        "files": {name: sha256_of_file(folder / name) for name in sorted(names)},
        "base": {"name": session.sam.name, "sha256": session.sam.base_hash},
        "data": session.inputs.sha256,
        "code": napari_scsam.__version__,
    }
    _write_json(folder / MANIFEST_FILE, manifest)


class _Clock:
    """Fraction of the round that is done, by steps or by time, and its events."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._began = time.monotonic() - session.control.paused_s
        self._last_event = 0.0

    def fraction(self, step: int) -> float:
        by_steps = step / self._session.settings.max_steps
        end = self._session.deadline(1 - JUDGING_SHARE)
        if math.isinf(end):
            return by_steps
        return max(by_steps, self._spent() / max(end - self._began - self._paused(), 1e-3))

    def report(self, step: int, report: StepReport) -> None:
        now = time.monotonic()
        last = step == self._session.settings.max_steps
        if now - self._last_event < EVENT_EVERY_S and not last:
            return
        self._last_event = now
        fraction = self.fraction(step)
        spent = self._spent()
        self._session.log.write(
            "progress",
            phase="training",
            step=step,
            steps=self._session.settings.steps or max(step, round(step / fraction)),
            fraction=min(fraction, 1.0),
            loss_unet=report.loss_unet,
            loss_sam=report.loss_sam,
            agreement=report.agreement,
            eta_s=round(spent * (1 - fraction) / fraction, 1) if 0 < fraction < 1 else 0.0,
        )

    def _paused(self) -> float:
        return self._session.control.paused_s

    def _spent(self) -> float:
        return time.monotonic() - self._began - self._paused()


def _build_models(
    inputs: Inputs, device: torch.device, log: EventLog
) -> tuple[UNet, SamModel, AdapterInfo]:
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
    if inputs.parent is not None and _continues(inputs.parent, fresh):
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
    return unet, sam, info


def _continues(parent: Path, fresh: AdapterInfo) -> bool:
    """Whether the parent's weights fit: the same base, classes and adapter."""
    try:
        info = read_info(parent / ADAPTER_FOLDER)
    except ModelError:
        return False
    return replace(info, understands_points=False) == fresh


def _with_points(session: Session, understands: bool) -> SamModel:
    return session.sam.described_by(replace(session.info, understands_points=understands))


def _examine_clicks(session: Session) -> tuple[float, float] | None:
    """Dice of one click by the round's SAM and by its base; None without an object."""
    sam = _with_points(session, True)
    split = session.split
    found = click_dice([sam, sam.shipped or sam], split.held_out or split.train)
    return (found[0], found[1]) if found else None


def _embed(session: Session) -> Materials:
    generator = torch.Generator().manual_seed(session.settings.seed)
    train, ids = session.split.train, session.inputs.class_ids
    materials = build_canvases(
        train, session.unlabelled, ids, session.unet.image_size, session.device
    )
    side = Decoder(session.sam.module).side
    embedder = Embedder(session.sam, ids, side, generator, mirror=session.settings.mirror)
    embedder.fill(
        materials,
        train,
        session.unlabelled,
        _embedding_progress(session),
        session.deadline(EMBEDDING_SHARE),
    )
    return materials


def _embedding_progress(session: Session) -> Callable[[int, int], None]:
    began = time.monotonic()

    def on_step(done: int, total: int) -> None:
        session.control.check()
        eta = (time.monotonic() - began) * (total - done) / done
        session.log.write(
            "progress", phase="embedding", step=done, steps=total, eta_s=round(eta, 1)
        )

    return on_step


def _judge_pair(session: Session, judge: Judge, step: int) -> tuple[list[float], Scores]:
    """Score both members, weigh them, and score the weighted pair."""
    session.log.write("progress", phase="validating", step=0, steps=1, eta_s=None)
    scores = judge.score(Pair(session.unet, session.sam), session.control.check)
    names = session.inputs.class_names.values()
    shares = [_share(scores["unet"][name], scores["sam"][name]) for name in names]
    pair = Pair(session.unet, session.sam, shares)
    scores = judge.score(pair, session.control.check)
    session.log.write("validation", step=step, dice=scores)
    return shares, scores


def _judge_parent(session: Session, judge: Judge) -> Scores | None:
    parent = session.inputs.parent
    if parent is None:
        return None
    try:
        pair = load_round(parent, device=session.settings.device)
    except ModelError as exc:
        session.log.message(f"The active round can't be compared: {exc}")
        return None
    same_encoder = pair.sam.base_hash == session.sam.base_hash
    return judge.score(pair, session.control.check, share=same_encoder)


def _share(unet: float | None, sam: float | None) -> float:
    """The U-Net's share by inverse error, as two measurements of one thing are averaged."""
    if unet is None or sam is None:
        return 0.5
    errors = (1 - unet) ** 2 + 1e-4, (1 - sam) ** 2 + 1e-4
    return errors[1] / sum(errors)


def _best(scores: Scores) -> str:
    means = {member: scores[member]["mean"] for member in ("pair", "unet", "sam")}
    return max(means, key=lambda member: -1.0 if means[member] is None else means[member] or 0.0)


def _check_finite(report: StepReport, step: int) -> None:
    losses = [loss for loss in (report.loss_unet, report.loss_sam) if loss is not None]
    if not all(math.isfinite(loss) for loss in losses):
        raise TrainingFailed(
            f"Training diverged at step {step}: the loss is no longer a number. "
            "Lower the learning rates and train again; nothing you made is lost."
        )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
