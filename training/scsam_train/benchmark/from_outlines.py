"""Suggestions from a few outlines, before the first round, against the true masks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_scsam import io
from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import Prompts
from napari_scsam.models import (
    ClassPrior,
    Moments,
    SamModel,
    load_sam,
    open_cache,
    propose_from_prior,
)
from scsam_train.benchmark.common import write_report
from scsam_train.benchmark.embedded import CACHE_GB, cache_of
from scsam_train.benchmark.semi_sets import SEMI_SETS
from scsam_train.embedded_views import label_canvas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_scsam.core.arrays import LabelArray, Pixels
    from napari_scsam.core.prompts import PointPrompt
    from napari_scsam.models import EmbeddingCache
    from scsam_train.benchmark.semi_sets import Member

# Of the slices of a tested volume, every second one is tested. Arbitrary.
STEP = 2


@dataclass(frozen=True)
class Plan:
    """Options of the measurement.

    Attributes
    ----------
    set : str
        Key of `semi_sets.SEMI_SETS`.
    outlines : int
        Planes that the prior is fitted on: pictures, or slices of one volume.
    tested : int
        Tested cases of the training set.
    seed : int
        Draws both.
    """

    set: str
    outlines: int
    tested: int
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """What was suggested for one class on one plane.

    Attributes
    ----------
    class_id : int
    present : bool
        Whether the plane contains the class.
    outlined, asked : bool
        Whether the best suggestion came with an outline, or was a question.
    inside : bool
        Whether its point is inside the class.
    dice : float
        Of SAM's mask for it, 0..1; 0 without a suggestion.
    """

    class_id: int
    present: bool
    outlined: bool = False
    asked: bool = False
    inside: bool = False
    dice: float = 0.0


def measure(
    data: Path, out: Path, plan: Plan, on_done: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Fit the class prior of the shipped SAM on a few planes, and suggest on other cases.

    Returns
    -------
    dict
        ``plan``, ``planes`` tested, and ``classes``: a row of `summary` for each.
    """
    out.mkdir(parents=True, exist_ok=True)
    outlined, tested = _drawn(data, plan)
    sam = load_sam()
    cache = open_cache(cache_of(out), max_gb=CACHE_GB)
    prior = ClassPrior.fit(_moments(sam, cache, label, pixels) for pixels, label in outlined)
    hinted = SamModel(sam.weights, None, prior)
    names = SEMI_SETS[plan.set].classes
    found: list[Found] = []
    count = 0
    for pixels, label in tested:
        count += 1
        found += [_suggested(hinted, cache, pixels, label, c) for c in names if prior.knows(c)]
        on_done(f"{plan.set}: {count} planes")
    rows = {name: summary([f for f in found if f.class_id == c]) for c, name in names.items()}
    return {"plan": asdict(plan), "planes": count, "classes": rows}


def summary(found: Sequence[Found]) -> dict[str, Any]:
    """Count what was suggested for a class.

    Returns
    -------
    dict
        ``present``: planes with the class; ``outlined`` of them, with the mean ``dice``;
        ``absent`` planes, and how many were outlined all the same (``absent_outlined``);
        ``asked``: questions on planes of both kinds; ``asked_inside``: those inside the class.
    """
    present = [f for f in found if f.present]
    outlined = [f.dice for f in present if f.outlined]
    return {
        "present": len(present),
        "outlined": len(outlined),
        "dice": float(np.mean(outlined)) if outlined else None,
        "absent": len(found) - len(present),
        "absent_outlined": sum(f.outlined for f in found if not f.present),
        "asked": sum(f.asked for f in found),
        "asked_inside": sum(f.asked and f.inside for f in found),
    }


def write(out: Path, report: Mapping[str, Any]) -> None:
    """Write ``from-outlines-SET.json`` and ``.md``."""
    write_report(out, f"from-outlines-{report['plan']['set']}", report, markdown(report))


def markdown(report: Mapping[str, Any]) -> str:
    """Return the table of docs/explanation/suggestions.md."""
    plan = report["plan"]
    lines = [
        f"{plan['set']}, prior of {plan['outlines']} planes, {report['planes']} tested, "
        f"seed {plan['seed']}:",
        "",
        "| class | outlined | their Dice | absent, but outlined | questions, of which inside |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["classes"].items():
        dice = "" if row["dice"] is None else f"{row['dice']:.2f}"
        lines.append(
            f"| {name} | {row['outlined']} of {row['present']} | {dice} | "
            f"{row['absent_outlined']} of {row['absent']} | {row['asked']}, {row['asked_inside']} |"
        )
    return "\n".join(lines) + "\n"


def _drawn(
    data: Path, plan: Plan
) -> tuple[list[tuple[Pixels, LabelArray]], Iterator[tuple[Pixels, LabelArray]]]:
    """Return the planes that are outlined, and those that are tested, of other cases."""
    by_case: dict[str, Member] = {}
    for member in SEMI_SETS[plan.set].training_members(data):
        by_case.setdefault(member.case, member)
    cases = np.random.default_rng(plan.seed).permutation(sorted(by_case)).tolist()
    first = by_case[cases[0]]
    # Slices of one volume, or as many pictures.
    used = 1 if first.planes > 1 else plan.outlines
    if first.planes > 1:
        between = np.linspace(0, first.planes - 1, plan.outlines + 2)[1:-1]
        outlined = list(_planes(first, np.unique(between.round().astype(int)).tolist()))
    else:
        outlined = [found for case in cases[:used] for found in _planes(by_case[case])]
    if len(cases) < used + plan.tested:
        raise InputError(
            f"{plan.set} has {len(cases)} training cases; {used} outlined and {plan.tested} "
            "tested are more."
        )
    tested = (
        found
        for case in cases[used : used + plan.tested]
        for found in _planes(by_case[case], range(0, by_case[case].planes, STEP))
    )
    return outlined, tested


def _planes(member: Member, indices: Sequence[int] = (0,)) -> Iterator[tuple[Pixels, LabelArray]]:
    volume = io.read_volume(member.image)
    truth = io.read_labels(member.mask, like=volume)
    truth = truth.reshape(-1, *truth.shape[-2:])
    for index in indices:
        pixels = volume.plane(Plane(0, index))
        if pixels.min() < pixels.max():
            yield pixels, truth[index]


def _moments(sam: SamModel, cache: EmbeddingCache, label: LabelArray, pixels: Pixels) -> Moments:
    canvas = label_canvas(label, 4 * sam.entry.embedding_size)
    features = cache.get_or_embed(sam, pixels).features[0].float().cpu()
    return Moments.of(features, torch.from_numpy(canvas))


def _suggested(
    sam: SamModel, cache: EmbeddingCache, pixels: Pixels, label: LabelArray, class_id: int
) -> Found:
    embedding, true = cache.get_or_embed(sam, pixels), label == class_id
    points = propose_from_prior(sam, embedding, class_id)
    if not points:
        return Found(class_id, bool(true.any()))
    best: PointPrompt = points[0]
    prompts = Prompts(points=[(best.row, best.col)], labels=[1])
    mask = sam.decode(embedding, prompts, class_id=class_id).mask
    return Found(
        class_id,
        bool(true.any()),
        outlined=best.kind == "confirm",
        asked=best.kind != "confirm",
        inside=bool(true[round(best.row), round(best.col)]),
        dice=2 * float((mask & true).sum()) / float(mask.sum() + true.sum()),
    )
