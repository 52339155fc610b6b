"""One round from its inputs to its folder: fit, judge, save."""

from __future__ import annotations

import errno
import json
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

import napari_scsam
from napari_scsam.core.errors import ScsamError
from napari_scsam.core.round_contract import (
    ADAPTER_FOLDER,
    CONFIG_FILE,
    EMBEDDING_SHARE,
    MANIFEST_FILE,
    MAX_VIEWS,
    METRICS_FILE,
    PARTIAL,
    SPLIT_FILE,
    UNET_FILE,
    EventKind,
    Phase,
)
from napari_scsam.models import NO_PRIOR, PRIOR_FILE, save_adapter, sha256_of_file
from scsam_train.augment import Augmenter
from scsam_train.checkpointing import Checkpointer, Saved
from scsam_train.clock import Clock, Ending
from scsam_train.decoding import Decoder
from scsam_train.early_stopping import EarlyStopping
from scsam_train.embedded_views import VIEWS_STREAM, Embedder, Materials, build_canvases
from scsam_train.recipe_context import Diverged, Recipe, RecipeContext
from scsam_train.session import Session, setup
from scsam_train.validation import embed, follow, validate
from scsam_train.validation_metrics import (
    Judge,
    Scores,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scsam_train.weighing import Weighing

# Fractions of the round after which the held-out planes are looked at, for the curve.
LOOK_IN_AT = (0.25, 0.4, 0.55, 0.7, 0.85)
# Held-out planes that such a look marks, evenly spaced: each took .7 s in a first round of two
# classes, its embedding included (two cores, AVX2 only).
LOOKED_AT = 12


class TrainingFailed(ScsamError):
    """The round can't go on."""


def run_round(folder: Path) -> Path:
    """Train the round of ``rounds/NNNN.partial`` and give the folder its final name.

    A folder that holds ``resume.pt`` is gone on with from there. Under ``accelerate launch``
    all processes train, and the first one judges and saves.

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
    final = folder.with_name(folder.name.removesuffix(PARTIAL))
    judge = Judge(session.split.held_out, session.inputs.class_names, partial(embed, session))
    trained = fit(session, judge)
    if not session.world.leads:
        return final
    with session.meter.timing("judging"):
        metrics, weighing = validate(session, judge, trained["steps"])
    metrics |= trained | {"seconds": round(session.spent(), 1)}
    metrics["rates"] = session.meter.rates(session.device.type, trained["pictures"])
    save(session, metrics, weighing)
    session.control.check()
    session.log.write(EventKind.FINISHED, metrics=metrics)
    if final != folder:
        folder.rename(final)
    return final


@dataclass
class _Run:
    """A recipe at work, and how far it has come."""

    context: RecipeContext
    recipe: Recipe
    clock: Clock
    step: int = 0
    pictures: int = 0
    stopping: EarlyStopping = field(default_factory=EarlyStopping)

    @property
    def done(self) -> float:
        """How much of the round is done, 0..1."""
        return self.clock.fraction(self.step, self.pictures)

    def saved(self, session: Session) -> Saved:
        embedded = len(self.context.materials.unlabelled_features)
        trained_s = self.clock.trained_s()
        spent, state = session.spent(), self.recipe.state()
        ending = self.clock.ending
        stopping = {
            "stopping": self.stopping.state(),
            "ending": None if ending is None else asdict(ending),
        }
        return Saved(self.step, self.pictures, spent, trained_s, embedded, stopping, state)


def fit(session: Session, judge: Judge) -> dict[str, int]:
    """Embed the planes and train; the judge looks in a few times on the way.

    Returns
    -------
    dict
        ``steps`` that were taken, ``pictures`` that were learned from, and the planes that they
        came from, ``labelled_planes`` and ``unlabelled_planes``.
    """
    # Another version may keep its state in another way: the round then starts anew.
    keeper = Checkpointer(session.folder, f"{session.inputs.sha256} {napari_scsam.__version__}")
    run = _begin(session, keeper.load())
    looks = list(LOOK_IN_AT) if judge.planes else []
    few = judge.on(LOOKED_AT)
    done = run.done
    looks = [look for look in looks if look > done]
    while run.step < session.settings.max_steps and done < 1:
        session.check()
        _take_step(session, run, keeper, done)
        done = run.done
        if keeper.due and session.world.leads:
            _save_state(keeper, run.saved(session))
            session.log.write(EventKind.KEPT, step=run.step)
        if looks and done >= looks[0]:
            looks = [look for look in looks if look > done]
            _look_in(session, few, run, done)
            done = run.done
    run.recipe.finish()
    if session.world.leads:
        keeper.forget()
    data = run.context.materials
    others = len(data.unlabelled_features) if session.embeds else len(data.unlabelled_images)
    return {
        "steps": run.step,
        "pictures": run.pictures,
        "labelled_planes": len(data.images),
        "unlabelled_planes": others,
    }


def _begin(session: Session, saved: Saved | None) -> _Run:
    if saved is not None:
        session.started = time.monotonic() - saved.spent_s
        session.log.message(f"Going on from step {saved.step}.")
    materials = _gather(session, saved)
    context = RecipeContext(
        session.unet, session.sam, materials, session.settings, session.world, session.fresh
    )
    if session.unet.sees_sam:
        ids = session.inputs.class_ids
        session.unet.prior = NO_PRIOR if context.looks is None else context.looks.named(ids)
    recipe = session.recipe(context)
    if saved is None:
        return _Run(context, recipe, Clock(session))
    recipe.restore(saved.recipe)
    ending = saved.stopping["ending"]
    clock = Clock(session, saved.trained_s, None if ending is None else Ending(**ending))
    run = _Run(context, recipe, clock, saved.step, saved.pictures)
    run.stopping.restore(saved.stopping["stopping"])
    return run


def _take_step(session: Session, run: _Run, keeper: Checkpointer, done: float) -> None:
    """Take one step, with smaller batches where memory runs out."""
    try:
        with session.meter.timing("step"):
            report = run.recipe.step(done)
    except Diverged as exc:
        _save_state(keeper, run.saved(session))
        raise TrainingFailed(
            f"Training diverged at step {run.step + 1}: {exc}. Lower the learning rates, or look "
            f"at these images, and train again; nothing you made is lost."
        ) from exc
    except (MemoryError, RuntimeError) as exc:
        if not _out_of_memory(exc):
            raise
        _halve(session, run, exc)
        return
    run.step += 1
    run.pictures += report.pictures
    run.clock.report(run.step, run.pictures, run.done, report)
    run.clock.estimate(run.pictures, run.done, session.meter.seconds("step"))


def _out_of_memory(exc: BaseException) -> bool:
    text = str(exc).lower()
    return isinstance(exc, MemoryError | torch.OutOfMemoryError) or any(
        words in text for words in ("out of memory", "not enough memory", "can't allocate memory")
    )


def _halve(session: Session, run: _Run, exc: BaseException) -> None:
    """Go on with half the batch, from the weights as they are."""
    old = run.context.settings
    if old.labelled_batch == 1 and old.unlabelled_batch <= 1 and old.sam_batch == 1:
        raise TrainingFailed(
            "There is not enough memory, even for one image in a step. Close other programs, "
            "or lower image_size."
        ) from exc
    smaller = replace(
        old,
        labelled_batch=max(1, old.labelled_batch // 2),
        unlabelled_batch=max(min(1, old.unlabelled_batch), old.unlabelled_batch // 2),
        sam_batch=max(1, old.sam_batch // 2),
    )
    state = run.recipe.state()
    run.context = replace(run.context, settings=smaller)
    run.recipe = session.recipe(run.context)
    run.recipe.restore(state)
    if session.device.type == "cuda":
        torch.cuda.empty_cache()
    session.log.message(
        f"Out of memory at step {run.step + 1}: going on with half the batch "
        f"({smaller.labelled_batch} + {smaller.unlabelled_batch} images)."
    )


def _save_state(keeper: Checkpointer, saved: Saved) -> None:
    try:
        keeper.save(saved)
    except (OSError, RuntimeError) as exc:
        # torch reports a full disk as a RuntimeError of its writer.
        if isinstance(exc, OSError) and exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingFailed(
            "The disk is full, so the round can't be kept. Free some space and train again; "
            "nothing you made is lost."
        ) from exc


def _look_in(session: Session, judge: Judge, run: _Run, done: float) -> None:
    """Mark the pair on some held-out planes, and end a round that has learned.

    In all processes alike: what they learn next depends on it.
    """
    with session.meter.timing("looking"):
        dice = _marked(session, judge, run)
    run.context.scores.update(dice)
    session.log.write(EventKind.VALIDATION, step=run.step, fraction=done, dice=dice)
    has_learned = run.stopping.has_learned(dice["pair"]["mean"], run.pictures)
    if has_learned and (ending := run.clock.end_early(run.pictures, done)):
        best = run.stopping.best_pictures
        session.log.write(EventKind.EARLY_STOP, pictures=ending.last, best_pictures=best)


def _marked(session: Session, judge: Judge, run: _Run) -> Scores:
    with run.recipe.teachers_in_place():
        follow(session)
        pair = session.pair()
        return judge.mark(pair, session.control.check).dice()


def save(session: Session, metrics: dict[str, Any], weighing: Weighing) -> None:
    """Write everything that a finished round holds, the manifest last."""
    folder = session.folder
    session.unet.save(folder / UNET_FILE)
    save_adapter(session.sam.module, folder / ADAPTER_FOLDER, session.info)
    if session.sam.prior is not None:
        session.sam.prior.save(folder / ADAPTER_FOLDER / PRIOR_FILE)
    config = {
        "settings": session.settings.to_dict(),
        "window": session.inputs.window.name,
        "device": session.device.type,
        "unet_shares": weighing.unet_shares,
        "guided": weighing.guided,
        "partner": session.partner,
        "trained": list(session.trained),
        "unknown_classes": list(session.unknown),
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


def _gather(session: Session, saved: Saved | None) -> Materials:
    """Canvases for the U-Net, and embeddings where SAM learns; as many as were `saved`."""
    train, ids, unlabelled = session.split.train, session.inputs.class_ids, session.unlabelled
    deadline = session.deadline(EMBEDDING_SHARE)
    if saved is not None and session.embeds:
        unlabelled, deadline = unlabelled[: saved.embedded], float("inf")
    unet, device = session.unet, session.device
    with session.meter.timing("loading"):
        materials = build_canvases(
            train, unlabelled, ids, unet.image_size, device, context=unet.context
        )
    if not session.embeds:
        return materials
    side = Decoder(session.sam.module).side
    augmenter = Augmenter(session.settings, VIEWS_STREAM)
    cache = session.meter.counting(session.cache)
    most = MAX_VIEWS if "sam" in session.trained else 1
    embedder = Embedder(session.sam, cache, ids, side, augmenter, most)
    embedder.fill(materials, train, unlabelled, _embedding_progress(session), deadline)
    return materials


def _embedding_progress(session: Session) -> Callable[[int, int], None]:
    began = time.monotonic()

    def on_step(done: int, total: int) -> None:
        session.meter.lap()
        session.check()
        eta = (time.monotonic() - began) * (total - done) / done
        session.log.write(
            EventKind.PROGRESS, phase=Phase.EMBEDDING, step=done, steps=total, eta_s=round(eta, 1)
        )

    return on_step


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
