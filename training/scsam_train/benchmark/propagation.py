"""Dice of whole volumes whose masks were propagated from a few annotated slices."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.prompts import Prompts, bounding_box
from napari_scsam.propagation import carry, propagate
from scsam_train.benchmark.common import write_report
from scsam_train.benchmark.sets import Scan, atrium_scans

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray, Mask
    from napari_scsam.core.jobs import CancelToken
    from napari_scsam.models import Embedding, SamBackend

# Number of annotated slices, and their masks: SAM's mask for the true box, or the true mask.
TASKS = ((1, "box"), (1, "mask"), (3, "box"), (3, "mask"), (5, "box"), (5, "mask"))
# A slice with a lower Dice counts as bad. Arbitrary.
GOOD = 0.8


@dataclass(frozen=True)
class Outcome:
    """Result for one volume with some annotated slices.

    Attributes
    ----------
    volume : str
    annotated : int
        Number of slices.
    by : {'box', 'mask'}
        Source of their masks: SAM with the tight true box, or the true mask.
    dice : float
        Dice of the whole volume, including annotated slices and slices beyond the object.
    copied : float
        Dice of copying the nearest annotated mask to every slice with the object.
    carried, flagged, bad, flagged_bad : int
        Slices with a propagated mask or a flag; of these, those flagged, those with a Dice below
        0.8, and those that are both.
    seconds : float
        Per step from slice to slice, without embedding.
    """

    volume: str
    annotated: int
    by: str
    dice: float
    copied: float
    carried: int
    flagged: int
    bad: int
    flagged_bad: int
    seconds: float


def measure(
    sam: SamBackend,
    data: Path,
    *,
    limit: int | None,
    on_done: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Propagate masks through the left atria of `data`, from 1, 3 and 5 slices.

    Returns
    -------
    dict
        ``outcomes``: list of `Outcome` as dicts. ``summary``: means and deviations per task.
        ``embed_seconds``: per slice.
    """
    outcomes, spent = [], [0.0, 0.0]
    for scan in islice(atrium_scans(data), limit):
        embeddings = _Embeddings()
        for annotated, by in TASKS:
            outcomes.append(_outcome(sam, scan, embeddings, annotated, by))
            on_done(f"{scan.name}: {annotated} {by}: Dice {outcomes[-1].dice:.3f}")
        spent[0] += embeddings.seconds
        spent[1] += embeddings.made
    return {
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "summary": [_summary(outcomes, annotated, by) for annotated, by in TASKS],
        "embed_seconds": round(spent[0] / max(spent[1], 1), 3),
    }


def write(folder: Path, report: Mapping[str, Any]) -> None:
    """Write ``propagation.json`` and ``propagation.md``."""
    write_report(folder, "propagation", report, markdown(report))


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as a Markdown table."""
    lines = [
        f"Left atrium (atrium_la2018), {report['model']}, adapter {report['adapter'] or 'none'}: "
        "masks carried from annotated slices, evenly spaced in the atrium, to all others. By "
        "box: the annotated slices are SAM's answers to the tight true box; by mask: the true "
        f"masks. Embedding: {report['embed_seconds']:.2f} s a slice.",
        "",
        "| slices | by | volumes | Dice | min | nearest copied | flagged | bad | both | s a step |",
        "|---" * 10 + "|",
    ]
    for row in report["summary"]:
        lines.append(
            f"| {row['annotated']} | {row['by']} | {row['volumes']} "
            f"| {row['dice']:.3f} ± {row['deviation']:.3f} | {row['least']:.3f} "
            f"| {row['copied']:.3f} | {row['flagged']} of {row['carried']} | {row['bad']} "
            f"| {row['flagged_bad']} | {row['seconds']:.2f} |"
        )
    return "\n".join(lines) + "\n"


class _Embeddings:
    """Stands for the `EmbeddingCache` of one volume; counts and times the embeddings made."""

    def __init__(self) -> None:
        self._known: dict[str, Embedding] = {}
        self.seconds = 0.0

    @property
    def made(self) -> int:
        return len(self._known)

    def get_or_embed(
        self, backend: SamBackend, image: NDArray[Any], cancel: CancelToken | None = None
    ) -> Embedding:
        key = backend.embedding_key(image)
        if key not in self._known:
            start = time.perf_counter()
            self._known[key] = backend.embed(image)
            self.seconds += time.perf_counter() - start
        return self._known[key]


def _outcome(
    sam: SamBackend, scan: Scan, embeddings: _Embeddings, annotated: int, by: str
) -> Outcome:
    anchors = _anchors(sam, scan, embeddings, annotated, by)
    before, start, steps = embeddings.seconds, time.perf_counter(), 0
    found = np.zeros(scan.truth.shape, bool)
    for index, label in anchors.items():
        found[index] = label == 1
    flagged: dict[int, bool] = {}

    def step(index: int, trail: Any) -> Any:
        nonlocal steps
        steps += 1
        return carry(sam, scan.image[index], trail, cache=embeddings)

    for filled in propagate(step, anchors, len(scan.truth), scan.spacing):
        found[filled.index] = filled.label == 1
        flagged[filled.index] = bool(filled.flags)
    spent = time.perf_counter() - start - (embeddings.seconds - before)
    bad = {index for index in flagged if dice(found[index], scan.truth[index]) < GOOD}
    return Outcome(
        volume=scan.name,
        annotated=annotated,
        by=by,
        dice=round(dice(found, scan.truth), 4),
        copied=round(dice(_copied(anchors, scan.truth), scan.truth), 4),
        carried=len(flagged),
        flagged=sum(flagged.values()),
        bad=len(bad),
        flagged_bad=sum(flagged[index] for index in bad),
        seconds=round(spent / max(steps, 1), 3),
    )


def _anchors(
    sam: SamBackend, scan: Scan, embeddings: _Embeddings, annotated: int, by: str
) -> dict[int, LabelArray]:
    """Return the masks of `annotated` slices, in the middle of equal parts of the object."""
    there = np.flatnonzero(scan.truth.any(axis=(1, 2)))
    at = there[((np.arange(annotated) + 0.5) / annotated * len(there)).astype(int)].tolist()
    if by == "mask":
        return {index: scan.truth[index].astype(np.uint8) for index in at}
    found = {}
    for index in at:
        embedding = embeddings.get_or_embed(sam, scan.image[index])
        prompts = Prompts(box=bounding_box(scan.truth[index]))
        found[index] = sam.decode(embedding, prompts).mask.astype(np.uint8)
    return found


def _copied(anchors: Mapping[int, LabelArray], truth: Mask) -> Mask:
    """Return the nearest annotated mask on every slice with the object."""
    found = np.zeros_like(truth)
    for index in np.flatnonzero(truth.any(axis=(1, 2))).tolist():
        nearest = min(anchors, key=lambda at: abs(at - index))
        found[index] = anchors[nearest] == 1
    return found


def dice(mask: Mask, truth: Mask) -> float:
    """Return the Dice; 1 if both masks are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def _summary(outcomes: list[Outcome], annotated: int, by: str) -> dict[str, Any]:
    ours = [o for o in outcomes if (o.annotated, o.by) == (annotated, by)]
    scores = [o.dice for o in ours]
    return {
        "annotated": annotated,
        "by": by,
        "volumes": len(ours),
        "dice": round(float(np.mean(scores)), 4),
        "deviation": round(float(np.std(scores, ddof=1)) if len(ours) > 1 else 0.0, 4),
        "least": min(scores),
        "copied": round(float(np.mean([o.copied for o in ours])), 4),
        "carried": sum(o.carried for o in ours),
        "flagged": sum(o.flagged for o in ours),
        "bad": sum(o.bad for o in ours),
        "flagged_bad": sum(o.flagged_bad for o in ours),
        "seconds": round(float(np.mean([o.seconds for o in ours])), 3),
    }
