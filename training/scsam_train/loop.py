"""One round from its inputs to its folder: train, validate, save."""

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
from scsam_train.checkpointing import Checkpoint, Checkpointer
from scsam_train.clock import Clock, Ending
from scsam_train.decoding import Decoder
from scsam_train.early_stopping import EarlyStopping
from scsam_train.embedded_views import VIEWS_STREAM, Embedder, Materials, build_canvases
from scsam_train.recipe_context import Diverged, Recipe, RecipeContext
from scsam_train.session import Session, setup
from scsam_train.validation import embed, follow, validate
from scsam_train.validation_metrics import (
    Evaluator,
    Scores,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scsam_train.pair_weights import PairWeights

# Fractions of the round at which the held-out planes are evaluated for the learning curve.
EVALUATE_AT = (0.25, 0.4, 0.55, 0.7, 0.85)
# Held-out planes of such an evaluation, evenly spaced. Each took 0.7 s in a first round of two
# classes, including its embedding (two cores, AVX2 only).
EVALUATED_PLANES = 12


class TrainingFailed(ScsamError):
    """Training can't continue."""


def run_round(folder: Path) -> Path:
    """Train the round of ``rounds/NNNN.partial`` and give the folder its final name.

    A folder that contains ``resume.pt`` is resumed from there. Under ``accelerate launch`` all
    processes train, and the main process validates and saves.

    Returns
    -------
    Path
        ``rounds/NNNN``.

    Raises
    ------
    ScsamError
        If the inputs can't be used, or training diverges.
    Cancelled
        If the parent asked for it; the folder stays ``.partial``.
    """
    session = setup(folder)
    final = folder.with_name(folder.name.removesuffix(PARTIAL))
    evaluator = Evaluator(
        session.split.held_out, session.inputs.class_names, partial(embed, session)
    )
    trained = fit(session, evaluator)
    if not session.world.is_main:
        return final
    with session.meter.timing("validation"):
        metrics, weights = validate(session, evaluator, trained["steps"])
    metrics |= trained | {"seconds": round(session.spent(), 1)}
    metrics["rates"] = session.meter.rates(session.device.type, trained["pictures"])
    save(session, metrics, weights)
    session.control.check()
    session.log.write(EventKind.FINISHED, metrics=metrics)
    if final != folder:
        folder.rename(final)
    return final


@dataclass
class _Run:
    """A recipe in training, and its progress."""

    context: RecipeContext
    recipe: Recipe
    clock: Clock
    step: int = 0
    pictures: int = 0
    stopping: EarlyStopping = field(default_factory=EarlyStopping)

    @property
    def done(self) -> float:
        """Completed fraction of the round, 0..1."""
        return self.clock.fraction(self.step, self.pictures)

    def checkpoint(self, session: Session) -> Checkpoint:
        embedded = len(self.context.materials.unlabelled_features)
        trained_s = self.clock.trained_s()
        spent, state = session.spent(), self.recipe.state()
        ending = self.clock.ending
        stopping = {
            "stopping": self.stopping.state(),
            "ending": None if ending is None else asdict(ending),
        }
        return Checkpoint(self.step, self.pictures, spent, trained_s, embedded, stopping, state)


def fit(session: Session, evaluator: Evaluator) -> dict[str, Any]:
    """Embed the planes and train; evaluate on held-out planes a few times on the way.

    Returns
    -------
    dict
        ``steps``: steps taken. ``pictures``: training samples seen. ``labelled_planes`` and
        ``unlabelled_planes``: the number of planes they were drawn from. ``interim``: what the
        held-out planes decided on the way.
    """
    # Another version may store a different state: the round then starts over.
    checkpointer = Checkpointer(
        session.folder, f"{session.inputs.sha256} {napari_scsam.__version__}"
    )
    run = _begin(session, checkpointer.load())
    due = list(EVALUATE_AT) if evaluator.planes else []
    few_planes = evaluator.subset(EVALUATED_PLANES)
    done = run.done
    due = [at for at in due if at > done]
    while run.step < session.settings.max_steps and done < 1:
        session.check()
        _train_step(session, run, checkpointer, done)
        done = run.done
        if checkpointer.due and session.world.is_main:
            _save_state(checkpointer, run.checkpoint(session))
            session.log.write(EventKind.KEPT, step=run.step)
        if due and done >= due[0]:
            due = [at for at in due if at > done]
            _evaluate_interim(session, few_planes, run, done)
            done = run.done
    run.recipe.finish()
    if session.world.is_main:
        checkpointer.remove()
    data = run.context.materials
    unlabelled = len(data.unlabelled_features) if session.embeds else len(data.unlabelled_images)
    return {
        "steps": run.step,
        "pictures": run.pictures,
        "labelled_planes": len(data.images),
        "unlabelled_planes": unlabelled,
        "interim": _interim_use(session, few_planes),
    }


def _interim_use(session: Session, evaluator: Evaluator) -> dict[str, Any] | None:
    """Return the entry for metrics.json: the planes of the interim evaluations, and their use."""
    if not evaluator.planes:
        return None
    return {
        "planes": [plane.name for plane in evaluator.planes],
        "may_end_early": session.budget is not None,
        "unet_may_teach_sam": session.partner == "prompted" and bool(session.unlabelled),
    }


def _begin(session: Session, saved: Checkpoint | None) -> _Run:
    if saved is not None:
        session.started = time.monotonic() - saved.spent_s
        session.log.message(f"Resuming from step {saved.step}.")
    materials = _prepare_materials(session, saved)
    context = RecipeContext(
        session.networks.unet,
        session.networks.sam,
        materials,
        session.settings,
        session.world,
        session.networks.fresh,
    )
    if session.networks.unet.sees_sam:
        ids = session.inputs.class_ids
        session.networks.unet.prior = (
            NO_PRIOR if context.class_priors is None else context.class_priors.named(ids)
        )
    recipe = session.recipe(context)
    if saved is None:
        return _Run(context, recipe, Clock(session))
    recipe.restore(saved.recipe)
    ending = saved.stopping["ending"]
    clock = Clock(session, saved.trained_s, None if ending is None else Ending(**ending))
    run = _Run(context, recipe, clock, saved.step, saved.pictures)
    run.stopping.restore(saved.stopping["stopping"])
    return run


def _train_step(session: Session, run: _Run, checkpointer: Checkpointer, done: float) -> None:
    """Take one step; halve the batch if memory runs out."""
    try:
        with session.meter.timing("step"):
            report = run.recipe.step(done)
    except Diverged as exc:
        _save_state(checkpointer, run.checkpoint(session))
        raise TrainingFailed(
            f"Training diverged at step {run.step + 1}: {exc}. Lower the learning rates, or check "
            f"these images, and train again; nothing you made is lost."
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
    """Continue from the current weights with half the batch."""
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
        f"Out of memory at step {run.step + 1}: continuing with half the batch "
        f"({smaller.labelled_batch} + {smaller.unlabelled_batch} images)."
    )


def _save_state(checkpointer: Checkpointer, saved: Checkpoint) -> None:
    try:
        checkpointer.save(saved)
    except (OSError, RuntimeError) as exc:
        # torch reports a full disk as a RuntimeError of its writer.
        if isinstance(exc, OSError) and exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingFailed(
            "The disk is full, so the round can't be kept. Free some space and train again; "
            "nothing you made is lost."
        ) from exc


def _evaluate_interim(session: Session, evaluator: Evaluator, run: _Run, done: float) -> None:
    """Evaluate the pair on some held-out planes, and end a round that no longer improves.

    Runs in all processes, because the result decides what they train next.
    """
    with session.meter.timing("interim evaluation"):
        dice = _teacher_scores(session, evaluator, run)
    run.context.scores.update(dice)
    session.log.write(EventKind.VALIDATION, step=run.step, fraction=done, dice=dice)
    should_stop = run.stopping.should_stop(dice["pair"]["mean"], run.pictures)
    if should_stop and (ending := run.clock.end_early(run.pictures, done)):
        best = run.stopping.best_pictures
        session.log.write(EventKind.EARLY_STOP, pictures=ending.last, best_pictures=best)


def _teacher_scores(session: Session, evaluator: Evaluator, run: _Run) -> Scores:
    with run.recipe.teachers_in_place():
        follow(session)
        pair = session.pair()
        return evaluator.evaluate(pair, session.control.check).dice()


def save(session: Session, metrics: dict[str, Any], weights: PairWeights) -> None:
    """Write all files of a finished round, the manifest last."""
    folder = session.folder
    session.networks.unet.save(folder / UNET_FILE)
    save_adapter(session.networks.sam.module, folder / ADAPTER_FOLDER, session.networks.info)
    if session.networks.sam.prior is not None:
        session.networks.sam.prior.save(folder / ADAPTER_FOLDER / PRIOR_FILE)
    config = {
        "settings": session.settings.to_dict(),
        "window": session.inputs.window.name,
        "device": session.device.type,
        "unet_shares": weights.unet_shares,
        "guided": weights.guided,
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
        "base": {"name": session.networks.sam.name, "sha256": session.networks.sam.base_hash},
        "data": session.inputs.sha256,
        "code": napari_scsam.__version__,
    }
    _write_json(folder / MANIFEST_FILE, manifest)


def _prepare_materials(session: Session, saved: Checkpoint | None) -> Materials:
    """Return canvases for the U-Net, and embeddings if SAM needs them; `saved` fixes how many."""
    train, ids, unlabelled = session.split.train, session.inputs.class_ids, session.unlabelled
    deadline = session.deadline(EMBEDDING_SHARE)
    if saved is not None and session.embeds:
        unlabelled, deadline = unlabelled[: saved.embedded], float("inf")
    unet, device = session.networks.unet, session.device
    with session.meter.timing("loading"):
        materials = build_canvases(
            train, unlabelled, ids, unet.image_size, device, context=unet.context
        )
    if not session.embeds:
        return materials
    side = Decoder(session.networks.sam.module).side
    augmenter = Augmenter(session.settings, VIEWS_STREAM)
    cache = session.meter.counting(session.cache)
    most = MAX_VIEWS if "sam" in session.trained else 1
    embedder = Embedder(session.networks.sam, cache, ids, side, augmenter, most)
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
