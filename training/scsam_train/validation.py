"""What a finished round is worth: both members, the pair made of them, and clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_scsam.core.errors import ModelError
from napari_scsam.models import Embedding
from napari_scsam.models.pair import Pair, load_round
from napari_scsam.models.sam import SamModel
from scsam_train.encoding import as_base
from scsam_train.judging import (
    Judge,
    Marks,
    best_member,
    click_dice,
    empty_scores,
    follows_clicks,
    forgetting,
    unet_share,
)
from scsam_train.session import Session


@dataclass(frozen=True)
class Weighing:
    """How the pair's answer is made of its members', for each class.

    Attributes
    ----------
    unet_shares : list of float
    guided : list of bool
        As for `Pair`.
    """

    unet_shares: list[float]
    guided: list[bool]


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
    session.sam = session.sam.described_by(session.info)
    weighing, figures = _held_out_figures(session, judge, step)
    metrics = {
        "recipe": session.settings.recipe,
        "gated": split.gated,
        "reason": split.reason,
        "best": best_member(figures["dice"]),
        **figures,
        "click_dice": None if clicked is None else clicked[0],
        "base_click_dice": None if clicked is None else clicked[1],
        "validation": {"planes": len(judge.planes), "cases": judge.cases},
    }
    return metrics, weighing


def _examine_clicks(session: Session) -> tuple[float, float] | None:
    """Dice of one click by the round's SAM and by its base; None without an object."""
    sam = session.sam.described_by(replace(session.info, understands_points=True))
    split = session.split
    planes = split.held_out or split.train
    embedder = partial(embed, session)
    by_round = click_dice(sam, planes, embedder, named=True)
    if sam.shipped is not None:
        by_base = click_dice(sam.shipped, planes, embedder, named=False)
    else:
        with as_base(sam):
            by_base = click_dice(sam, planes, embedder, named=False)
    return None if by_round is None or by_base is None else (by_round, by_base)


def embed(session: Session, sam: SamModel, pixels: NDArray[Any]) -> Embedding:
    """From the cache, but for an encoder of the round's own: it would fill the disk."""
    return sam.embed(pixels) if sam.adapts_encoder else session.cache.get_or_embed(sam, pixels)


def _held_out_figures(session: Session, judge: Judge, step: int) -> tuple[Weighing, dict[str, Any]]:
    """How the pair is weighed, and what metrics.json says of the held-out planes."""
    names, parent = session.inputs.class_names, session.inputs.parent
    figures: dict[str, Any] = {"dice": empty_scores(names), "cases": {}}
    figures |= dict.fromkeys(("parent", "parent_cases", "forgetting"))
    if not session.split.held_out:
        return Weighing([0.5] * len(names), [False] * len(names)), figures
    weighing, marks = _judge_pair(session, judge, step)
    figures |= {"dice": marks.dice(), "cases": marks.cases()}
    before = None if parent is None else _judge_parent(session, judge, parent)
    if parent is not None and before is not None:
        figures |= {"parent": before.dice(), "parent_cases": before.cases()}
        figures["forgetting"] = forgetting(marks, before, parent)
    return weighing, figures


def _judge_pair(session: Session, judge: Judge, step: int) -> tuple[Weighing, Marks]:
    """Mark both members, weigh them, and mark the weighed pair, guided where that is better."""
    session.log.write("progress", phase="validating", step=0, steps=1, eta_s=None)
    names = list(session.inputs.class_names.values())

    def mark(shares: list[float] | None = None, guided: Sequence[bool] = ()) -> Marks:
        pair = Pair(session.unet, session.sam, shares, trained=session.trained, guided=guided)
        return judge.mark(pair, session.control.check)

    marks = mark()
    scores = marks.dice()
    shares = [unet_share(scores["unet"][name], scores["sam"][name]) for name in names]
    guided = [False] * len(names)
    if len(session.trained) > 1:
        marks = mark(shares)
        again = mark(shares, [True] * len(names))
        before, after = marks.dice()["pair"], again.dice()["pair"]
        guided = [(after[name] or 0.0) > (before[name] or 0.0) for name in names]
        if any(guided):
            marks = again if all(guided) else mark(shares, guided)
    session.log.write("validation", step=step, fraction=1.0, dice=marks.dice())
    return Weighing(shares, guided), marks


def _judge_parent(session: Session, judge: Judge, parent: Path) -> Marks | None:
    try:
        pair = load_round(parent, device=session.settings.device)
    except ModelError as exc:
        session.log.message(f"The active round can't be compared: {exc}")
        return None
    return judge.mark(pair, session.control.check)


def follow(session: Session) -> None:
    """Have SAM embed with its image encoder as it is trained by now."""
    if session.sam.adapts_encoder:
        session.sam.follow_encoder()
