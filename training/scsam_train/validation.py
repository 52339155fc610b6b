"""Validation of a finished round: both members, the pair, and single clicks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import ModelError
from napari_scsam.core.round_contract import EventKind, Phase
from napari_scsam.models import Embedding, SamModel, load_round
from scsam_train.encoding import as_base
from scsam_train.pair_weights import ChosenWeights, PairWeights, choose_weights
from scsam_train.parent_comparison import comparison, forgetting
from scsam_train.validation_metrics import (
    Clicked,
    Evaluation,
    Evaluator,
    best_member,
    click_dice,
    empty_scores,
    may_answer_clicks,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.models import Pair
    from scsam_train.session import Session


def validate(
    session: Session, evaluator: Evaluator, step: int
) -> tuple[dict[str, Any], PairWeights]:
    """Evaluate the pair and its parent's pair on the held-out planes.

    Returns
    -------
    metrics : dict
        For metrics.json, without the training counts.
    weights : PairWeights
    """
    split = session.split
    follow(session)
    clicked = _examine_clicks(session) if "sam" in session.trained else None
    session.control.check()
    understands = clicked is not None and may_answer_clicks(*clicked)
    if "sam" not in session.trained:  # its SAM is unchanged
        understands = session.networks.sam.entry.understands_points
    session.networks.info = replace(session.networks.info, understands_points=understands)
    session.networks.sam = session.networks.sam.with_adapter(session.networks.info)
    weights, figures = _held_out_figures(session, evaluator, step)
    metrics = {
        "recipe": session.settings.recipe,
        "gated": split.gated,
        "reason": split.reason,
        "best": best_member(figures["dice"]),
        **figures,
        **_click_figures(clicked),
        "clicks": _clicks_reason(session, clicked),
        "unknown_classes": [session.inputs.class_names[i] for i in session.unknown],
        "validation": {"planes": len(evaluator.planes), "cases": evaluator.cases},
    }
    return metrics, weights


def _click_figures(clicked: tuple[Clicked, Clicked] | None) -> dict[str, float | None]:
    """Return the figures of the clicks for metrics.json."""
    names = ("click_dice", "corrected_dice", "base_click_dice", "base_corrected_dice")
    if clicked is None:
        return dict.fromkeys(names)
    return dict(zip(names, (*clicked[0], *clicked[1]), strict=True))


def _examine_clicks(session: Session) -> tuple[Clicked, Clicked] | None:
    """Return the Dice after clicks of the round's SAM and its base; None without an object.

    Only held-out planes are used: on its training planes a SAM gets every click right.
    """
    planes = session.split.held_out
    if not planes:
        return None
    sam = session.networks.sam.with_adapter(replace(session.networks.info, understands_points=True))
    embedder = partial(embed, session)
    by_round = click_dice(sam, planes, embedder, named=True)
    if sam.shipped is not None:
        by_base = click_dice(sam.shipped, planes, embedder, named=False)
    else:
        with as_base(sam) as base:
            by_base = click_dice(base, planes, embedder, named=False)
    return None if by_round is None or by_base is None else (by_round, by_base)


def _clicks_reason(session: Session, clicked: tuple[Clicked, Clicked] | None) -> str:
    """Return one line for metrics.json: which SAM decodes clicks, and why."""
    if "sam" not in session.trained:
        return "The round trained no SAM: clicks are answered by the base."
    if clicked is None:
        return "Nothing to click on was held out, so clicks are left to the base."
    who = "the round's SAM" if may_answer_clicks(*clicked) else "the base"
    return f"Held-out objects were clicked on: clicks are answered by {who}."


def embed(session: Session, sam: SamModel, pixels: NDArray[Any]) -> Embedding:
    """Embed with the cache, except for a trained encoder: its embeddings would fill the disk."""
    return sam.embed(pixels) if sam.adapts_encoder else session.cache.get_or_embed(sam, pixels)


def _held_out_figures(
    session: Session, evaluator: Evaluator, step: int
) -> tuple[PairWeights, dict[str, Any]]:
    """Return the weights of the pair, and the figures of held-out planes for metrics.json."""
    names, parent = session.inputs.class_names, session.inputs.parent
    figures: dict[str, Any] = {"dice": empty_scores(names), "cases": {}}
    figures |= dict.fromkeys(("parent", "parent_cases", "comparison", "forgetting", "weighing"))
    if not session.split.held_out:
        return PairWeights.equal(len(names)), figures
    evaluation, weighed = _evaluate_pair(session, evaluator, step)
    weights = PairWeights.equal(len(names)) if weighed is None else weighed.weights
    figures |= {"dice": evaluation.dice(), "cases": evaluation.cases()}
    if weighed is not None:
        figures["weighing"] = weighed.to_dict()
    before = None if parent is None else _evaluate_parent(session, evaluator, parent)
    if parent is not None and before is not None:
        known = set(before.class_names) - set(session.unknown)
        shared = {i: name for i, name in names.items() if i in known}
        now, before = evaluation.of_classes(shared), before.of_classes(shared)
        figures |= {"parent": before.dice(), "parent_cases": before.cases()}
        figures["comparison"] = comparison(now, before)
        figures["forgetting"] = forgetting(now, before, parent)
    return weights, figures


def _evaluate_pair(
    session: Session, evaluator: Evaluator, step: int
) -> tuple[Evaluation, ChosenWeights | None]:
    session.log.write(EventKind.PROGRESS, phase=Phase.VALIDATING, step=0, steps=1, eta_s=None)
    evaluation, weighed = _cross_validate(session, evaluator, session.pair())
    session.log.write(EventKind.VALIDATION, step=step, fraction=1.0, dice=evaluation.dice())
    return evaluation, weighed


def _cross_validate(
    session: Session, evaluator: Evaluator, pair: Pair
) -> tuple[Evaluation, ChosenWeights | None]:
    """Evaluate all members and the weighted pair; no weights if one member was trained."""
    evaluation = evaluator.evaluate(pair, session.control.check)
    if len(pair.trained) == 1:
        return evaluation, None
    weighed = choose_weights(evaluator, pair, evaluation, session.control.check)
    return weighed.evaluation, weighed


def _evaluate_parent(session: Session, evaluator: Evaluator, parent: Path) -> Evaluation | None:
    """Evaluate the classes that the parent has learned.

    The weights that it kept were chosen on these planes, too, so they are not used.
    """
    try:
        pair = load_round(parent, device=session.settings.device)
    except ModelError as exc:
        session.log.message(f"The active round can't be compared: {exc}")
        return None
    names = session.inputs.class_names
    own = evaluator.of_classes({i: names.get(i, f"class {i}") for i in pair.class_ids})
    learned = {i: name for i, name in own.class_names.items() if i not in pair.unknown}
    return _cross_validate(session, own, pair)[0].of_classes(learned)


def follow(session: Session) -> None:
    """Reset SAM's embeddings if its image encoder is being trained."""
    if session.networks.sam.adapts_encoder:
        session.networks.sam.follow_encoder()
