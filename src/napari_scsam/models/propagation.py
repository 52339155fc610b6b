"""One step of a propagation: the masks of a plane, found again on the next one by SAM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_scsam.core.motion import Drift, Logits
from napari_scsam.core.prompts import Box, Point, Prompts, bounding_box, deepest
from napari_scsam.core.propagation import SURE, Carried, Trail, iou, label_of
from napari_scsam.core.volume import Around
from napari_scsam.models import decode_region
from napari_scsam.models.outline import connected_parts, log_odds
from napari_scsam.models.protocols import (
    Decoded,
    Embedding,
    EmbeddingCache,
    RoundModels,
    SamBackend,
)

Mask = NDArray[np.bool_]

# Air between the neighbour's object and the box drawn for the next, as shares of the plane's
# longer side. A SAM that is asked by the mask, too, follows it out of a tight box. One that is
# asked by the box alone and fills it doubles an object within six slices by 2 % of air; one
# that does not fill it needs some to follow an object that moves. Which it is, the annotated
# plane tells: the loosest box by which its own mask comes back nearly as well as by the best.
TIGHT = 0.0025
AIRS = (0.0, 0.005, 0.01, 0.02)
_NEARLY = 0.02
# An object moves and grows by no more than this share of the plane's longer side.
_REACH = 0.03
# An object of fewer pixels, or of a smaller share of its class, is not followed by itself.
_MIN_PIXELS = 9
_MIN_SHARE = 0.02
# So many planes make a trend.
_MEMORY = 4
# Log-odds per pixel from the neighbour's outline: the next plane's may lie some beside it. From
# 0.2 to 0.5 two left atria came out the same; at 1 the neighbour's mask was copied on and on.
_SLOPE = 0.4


@dataclass(frozen=True)
class StopRule:
    """When a class wants a look, and when it is not followed any further: (look, stop).

    Attributes
    ----------
    ratio : pair of float
        Area against the plane before and against the trend, when both say so; either way.
    estimate : pair of float
        SAM's own estimate of the IoU is under it.
    overlap : pair of float
        IoU with the plane before, moved onto the new centre, is under it.
    agreement : pair of float
        IoU of SAM's mask and the round's U-Net, where both look, is under it.
    drift : pair of float
        IoU of SAM's mask and the annotated outline as it has moved with the picture is under it:
        at least one of them follows something else. Not asked where the U-Net says which.
    patience : int
        So many planes in a row that want a look are the last ones.
    """

    ratio: tuple[float, float] = (1.5, 2.0)
    estimate: tuple[float, float] = (0.6, 0.4)
    overlap: tuple[float, float] = (0.6, 0.4)
    agreement: tuple[float, float] = (0.5, 0.1)
    drift: tuple[float, float] = (0.3, 0.1)
    patience: int = 3


RULE = StopRule()


@dataclass(frozen=True, eq=False)
class _Scene:
    """The new plane, ready to be asked about."""

    sam: SamBackend
    pixels: NDArray[Any]
    embedding: Embedding
    cache: EmbeddingCache | None

    def decode(self, prompts: Prompts, class_id: int) -> Decoded:
        """SAM's answer for one object; of a small one in a large plane, by a closer look."""
        if self.cache is None:
            return self.sam.decode(self.embedding, prompts, class_id=class_id)
        return decode_region(self.sam, self.cache, self.pixels, self.embedding, prompts, class_id)


@dataclass(frozen=True, eq=False)
class _Found:
    """A class on the new plane: its log-odds, SAM's estimate of the IoU, others' IoU with it."""

    logits: Logits
    estimate: float
    agreement: float | None = None
    drift: float | None = None


def carry(
    sam: SamBackend,
    pixels: NDArray[Any],
    trail: Trail,
    *,
    cache: EmbeddingCache | None = None,
    taught: RoundModels | None = None,
    around: Around | None = None,
) -> Carried:
    """Find the masks of a neighbouring plane again; see `napari_scsam.models.carry`."""
    if np.ptp(pixels) == 0:
        return _stopped(trail, dict.fromkeys(trail.areas, "the slice is empty"))
    embedding = sam.embed(pixels) if cache is None else cache.get_or_embed(sam, pixels)
    scene = _Scene(sam, pixels, embedding, cache)
    if not trail.air:
        return Carried(_started(scene, trail), {}, {})
    if trail.drift is not None:
        trail = replace(trail, drift=trail.drift.onto(embedding.view))
    unet = None if taught is None else taught.probabilities(pixels, embedding, "unet", around)
    logits: dict[int, Logits] = {}
    moved: dict[int, Logits] = {}
    flags: dict[int, str] = {}
    for class_id, areas in sorted(trail.areas.items()):
        odds = None
        if taught is not None and unet is not None and class_id in taught.class_ids:
            odds = log_odds(unet, 1 + taught.class_ids.index(class_id))
        found = _find(scene, trail, class_id, odds)
        drifted = _drifted(trail, class_id)
        if drifted is not None:
            moved[class_id] = drifted
            found = replace(found, drift=iou(found.logits > 0, drifted > 0))
        reason, stops = judge(trail.label == class_id, found, areas, RULE)
        if reason:
            flags[class_id] = reason
        if not stops:
            logits[class_id] = found.logits
    return _carried(trail, logits, moved, flags)


def _started(scene: _Scene, trail: Trail) -> Trail:
    """What is learned on the annotated plane itself."""
    outlines = {class_id: softened(trail.label == class_id) for class_id in trail.areas}
    drift = Drift.start(scene.embedding.view, outlines)
    return replace(trail, air=_learned(scene, trail), drift=drift)


def _carried(
    trail: Trail,
    logits: Mapping[int, Logits],
    moved: Mapping[int, Logits],
    flags: Mapping[int, str],
) -> Carried:
    """What is shown is the mean of two ways; SAM's alone goes on, so that they stay two."""
    label = label_of(logits, trail.label.shape)
    areas = {c: (*trail.areas[c], int((label == c).sum()))[-_MEMORY:] for c in logits}
    doubts = {c: trail.doubts.get(c, 0) + 1 for c in flags}
    tired = {c for c, number in doubts.items() if number >= RULE.patience}
    kept = {c: past for c, past in areas.items() if past[-1] and c not in tired}
    # Half precision is plenty for log-odds within +-8, and a gap keeps many planes of them.
    shown = {c: _mean_if_same(odds, moved.get(c)) for c, odds in logits.items()}
    small = {class_id: odds.astype(np.float16) for class_id, odds in shown.items()}
    return Carried(replace(trail, label=label, areas=kept, doubts=doubts), small, flags)


def _drifted(trail: Trail, class_id: int) -> Logits | None:
    return None if trail.drift is None else trail.drift.log_odds(class_id, trail.label.shape)


def _stopped(trail: Trail, flags: Mapping[int, str]) -> Carried:
    return Carried(Trail(np.zeros_like(trail.label), {}), {}, flags)


def _learned(scene: _Scene, trail: Trail) -> dict[int, float]:
    """The air that suits each class, found on the plane that was annotated."""
    if scene.sam.understands_points:
        return dict.fromkeys(trail.areas, TIGHT)
    learned = {}
    for class_id in trail.areas:
        mask = trail.label == class_id
        agreement = {}
        for air in AIRS:
            asked = replace(trail, air={class_id: air})
            agreement[air] = iou(_find(scene, asked, class_id, None).logits > 0, mask)
        enough = max(agreement.values()) - _NEARLY
        learned[class_id] = max(air for air in AIRS if agreement[air] >= enough)
    return learned


def _find(scene: _Scene, trail: Trail, class_id: int, odds: Logits | None) -> _Found:
    """Each object of the class by itself: one box around two of them would merge them."""
    label, air = trail.label, trail.air[class_id]
    objects = _objects(label == class_id)
    shape = scene.embedding.shape
    logits = np.full(shape, -SURE, np.float32)
    estimates, sizes = [], []
    for position, mask in enumerate(objects):
        others = [o for i, o in enumerate(objects) if i != position]
        others += [label == c for c in np.unique(label) if c not in (0, class_id)]
        asked = _asked(mask, others, box_with_air(mask, air), scene.sam.understands_points)
        answer = scene.decode(asked, class_id)
        near = _within(shape, box_with_air(mask, _REACH))
        logits = np.where(near, np.maximum(logits, answer.logits), logits)
        estimates.append(answer.iou)
        sizes.append(int(mask.sum()))
    logits = np.clip(logits, -SURE, SURE)
    estimate = float(np.average(estimates, weights=sizes))
    if odds is None:
        return _Found(logits, estimate)
    near = np.any([_within(shape, box_with_air(mask, _REACH)) for mask in objects], axis=0)
    odds = np.where(near, odds, -SURE)
    return _Found(_mean_if_same(logits, odds), estimate, iou(logits > 0, odds > 0))


def _mean_if_same(logits: Logits, others: Logits | None) -> Logits:
    """The mean of two log-odds that mean the same object.

    What outlines something else must not pull the outline there.
    """
    if others is None or iou(logits > 0, others > 0) < RULE.agreement[0]:
        return logits
    return np.asarray((logits + np.clip(others, -SURE, SURE)) / 2)


def _objects(mask: Mask) -> list[Mask]:
    """Components worth following, the largest first; crumbs go with none of them."""
    least = max(_MIN_PIXELS, _MIN_SHARE * mask.sum())
    return connected_parts(mask, least) or connected_parts(mask, 0)[:1]


def _asked(mask: Mask, others: list[Mask], box: Box, by_points: bool) -> Prompts:
    """How one object is asked for: by its box, and by its mask where this SAM reads masks.

    Not by a point inside, too: beside a mask it made a left atrium grow from slice to slice.
    """
    if not by_points:
        return Prompts(box=box)
    outside = _neighbours(others, box)
    return Prompts(
        points=outside,
        labels=[0] * len(outside),
        box=box,
        mask=softened(mask),
    )


def _neighbours(others: list[Mask], box: Box) -> list[Point]:
    """Middles of the other objects that lie in the box: SAM would take them in."""
    r0, c0, r1, c1 = box
    middles = [deepest(other) for other in others if other.any()]
    return [(r, c) for r, c in middles if r0 <= r <= r1 and c0 <= c <= c1]


def softened(mask: Mask) -> NDArray[np.float32]:
    """Log-odds that are unsure about the outline, which has moved since the plane before."""
    outside: Any = ndimage.distance_transform_edt(~mask)
    inside: Any = ndimage.distance_transform_edt(mask)
    return np.asarray(np.clip(_SLOPE * (inside - outside), -SURE, SURE), np.float32)


def box_with_air(mask: Mask, share: float) -> Box:
    """Box around a mask with a share of the plane's longer side as air, cut to the plane."""
    corners = np.array(bounding_box(mask), float)
    air = share * max(mask.shape) + 0.5  # pixels have edges: no box is without area
    limit = np.array(mask.shape) - 1
    r0, c0 = np.clip(corners[:2] - air, 0, limit)
    r1, c1 = np.clip(corners[2:] + air, 0, limit)
    return (float(r0), float(c0), float(r1), float(c1))


def _within(shape: tuple[int, int], box: Box) -> Mask:
    r0, c0, r1, c1 = box
    rows, cols = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    inside: Mask = (rows >= r0) & (rows <= r1) & (cols >= c0) & (cols <= c1)
    return inside


def judge(before: Mask, found: _Found, areas: tuple[int, ...], rule: StopRule) -> tuple[str, bool]:
    """What speaks against a class's new mask.

    Parameters
    ----------
    before : ndarray of shape (rows, cols), bool
        Its mask on the plane before.
    found : _Found
    areas : tuple of int
        Pixels on the last planes, the latest last.
    rule : StopRule

    Returns
    -------
    reason : str
        In an annotator's words; empty where nothing speaks against it.
    stops : bool
        Whether the class is not followed any further.
    """
    mask = found.logits > 0
    area = int(mask.sum())
    if area < _MIN_PIXELS:
        return "no outline found", True
    ratio = _jump(area, areas)
    doubts = [
        (max(ratio, 1 / ratio), rule.ratio, _area_words(ratio)),
        (-found.estimate, _less(rule.estimate), "outline unsure"),
        (-iou(_moved_onto(before, mask), mask), _less(rule.overlap), "shape changed"),
    ]
    if found.agreement is not None:
        doubts.append((-found.agreement, _less(rule.agreement), "the models disagree"))
    elif found.drift is not None:
        doubts.append((-found.drift, _less(rule.drift), "outline strayed"))
    for level in (1, 0):
        reasons = [words for value, limits, words in doubts if value > limits[level]]
        if reasons:
            return ", ".join(reasons), bool(level)
    return "", False


def _less(limits: tuple[float, float]) -> tuple[float, float]:
    return (-limits[0], -limits[1])


def _jump(area: int, areas: tuple[int, ...]) -> float:
    """Area over the plane before's or over the trend's, whichever is nearer to 1."""
    before = areas[-1]
    expected = float(before)
    if len(areas) > 1:
        expected = before + float(np.mean(np.diff(areas)))
    expected = float(np.clip(expected, 0.5 * before, 2 * before))
    return min((area / before, area / expected), key=lambda r: abs(np.log(r)))


def _area_words(ratio: float) -> str:
    if ratio >= 2:
        return "area doubled"
    if ratio <= 0.5:
        return "area halved"
    return f"area {'grew' if ratio > 1 else 'shrank'} by {abs(ratio - 1):.0%}"


def _moved_onto(mask: Mask, target: Mask) -> Mask:
    """`mask` shifted by whole pixels so that its centre lies on that of `target`."""
    shift = np.subtract(ndimage.center_of_mass(target), ndimage.center_of_mass(mask))
    moved: Mask = ndimage.shift(mask.astype(np.uint8), np.rint(shift), order=0).astype(bool)
    return moved
