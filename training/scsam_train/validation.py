"""What a finished round is worth: both members, the pair made of them, and clicks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import ModelError
from napari_scsam.core.round_contract import EventKind, Phase
from napari_scsam.models import Embedding, SamModel, load_round
from scsam_train.encoding import as_base
from scsam_train.validation_metrics import (
    Judge,
    Marks,
    best_member,
    click_dice,
    empty_scores,
    follows_clicks,
    forgetting,
)
from scsam_train.weighing import Weighed, Weighing, weigh

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scsam_train.session import Session


def validate(session: Session, judge: Judge, step: int) -> tuple[dict[str, Any], Weighing]:
    """Judge the pair, and its parent's, on the held-out planes.

    Returns
    -------
    metrics : dict
        For metrics.json, without the counts of the training.
    weighing : Weighing
    """
    split = session.split
    follow(session)
    clicked = _examine_clicks(session) if "sam" in session.trained else None
    session.control.check()
    understands = clicked is not None and follows_clicks(*clicked)
    if "sam" not in session.trained:  # its SAM still is what it was at the start
        understands = session.sam.entry.understands_points
    session.info = replace(session.info, understands_points=understands)
    session.sam = session.sam.with_adapter(session.info)
    weighing, figures = _held_out_figures(session, judge, step)
    metrics = {
        "recipe": session.settings.recipe,
        "gated": split.gated,
        "reason": split.reason,
        "best": best_member(figures["dice"]),
        **figures,
        "click_dice": None if clicked is None else clicked[0],
        "base_click_dice": None if clicked is None else clicked[1],
        "clicks": _clicks_reason(session, clicked),
        "unknown_classes": [session.inputs.class_names[i] for i in session.unknown],
        "validation": {"planes": len(judge.planes), "cases": judge.cases},
    }
    return metrics, weighing


def _examine_clicks(session: Session) -> tuple[float, float] | None:
    """Dice of one click by the round's SAM and by its base; None without a held-out object.

    On planes that it trained on a SAM follows any click.
    """
    planes = session.split.held_out
    if not planes:
        return None
    sam = session.sam.with_adapter(replace(session.info, understands_points=True))
    embedder = partial(embed, session)
    by_round = click_dice(sam, planes, embedder, named=True)
    if sam.shipped is not None:
        by_base = click_dice(sam.shipped, planes, embedder, named=False)
    else:
        with as_base(sam) as base:
            by_base = click_dice(base, planes, embedder, named=False)
    return None if by_round is None or by_base is None else (by_round, by_base)


def _clicks_reason(session: Session, clicked: tuple[float, float] | None) -> str:
    """Who answers clicks when the round is used, and why; one line for metrics.json."""
    if "sam" not in session.trained:
        return "The round trained no SAM: clicks are answered by the base."
    if clicked is None:
        return "Nothing to click on was held out, so clicks are left to the base."
    who = "the round's SAM" if follows_clicks(*clicked) else "the base"
    return f"Held-out objects were clicked on: clicks are answered by {who}."


def embed(session: Session, sam: SamModel, pixels: NDArray[Any]) -> Embedding:
    """From the cache, but for an encoder of the round's own: it would fill the disk."""
    return sam.embed(pixels) if sam.adapts_encoder else session.cache.get_or_embed(sam, pixels)


def _held_out_figures(session: Session, judge: Judge, step: int) -> tuple[Weighing, dict[str, Any]]:
    """How the pair is weighed, and what metrics.json says of the held-out planes."""
    names, parent = session.inputs.class_names, session.inputs.parent
    figures: dict[str, Any] = {"dice": empty_scores(names), "cases": {}}
    figures |= dict.fromkeys(("parent", "parent_cases", "forgetting", "weighing"))
    if not session.split.held_out:
        return Weighing.equal(len(names)), figures
    marks, weighed = _judge_pair(session, judge, step)
    weighing = Weighing.equal(len(names)) if weighed is None else weighed.weighing
    figures |= {"dice": marks.dice(), "cases": marks.cases()}
    if weighed is not None:
        figures["weighing"] = weighed.to_dict()
    # Where nothing could choose the new pair's weights the old one is not given its own either.
    equal = weighed is not None and not weighed.was_chosen
    before = None if parent is None else _judge_parent(session, judge, parent, equal=equal)
    if parent is not None and before is not None:
        figures |= {"parent": before.dice(), "parent_cases": before.cases()}
        figures["forgetting"] = forgetting(marks, before, parent)
    return weighing, figures


def _judge_pair(session: Session, judge: Judge, step: int) -> tuple[Marks, Weighed | None]:
    """Mark all members, and the pair as other planes weigh it; None where one was trained."""
    session.log.write(EventKind.PROGRESS, phase=Phase.VALIDATING, step=0, steps=1, eta_s=None)
    pair = session.pair()
    marks, weighed = judge.mark(pair, session.control.check), None
    if len(session.trained) > 1:
        weighed = weigh(judge, pair, marks, session.control.check)
        marks = weighed.marks
    session.log.write(EventKind.VALIDATION, step=step, fraction=1.0, dice=marks.dice())
    return marks, weighed


def _judge_parent(session: Session, judge: Judge, parent: Path, *, equal: bool) -> Marks | None:
    try:
        pair = load_round(parent, device=session.settings.device)
    except ModelError as exc:
        session.log.message(f"The active round can't be compared: {exc}")
        return None
    return judge.mark(pair.weighed() if equal else pair, session.control.check)


def follow(session: Session) -> None:
    """Have SAM embed with its image encoder as it is trained by now."""
    if session.sam.adapts_encoder:
        session.sam.follow_encoder()
