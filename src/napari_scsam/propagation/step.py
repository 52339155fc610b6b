"""One step of a propagation: SAM segments the objects of a plane on the next one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_scsam.core.log_odds import SURE, label_of
from napari_scsam.core.prompts import Box, Point, Prompts, bounding_box, deepest
from napari_scsam.models import (
    Decoded,
    Embedding,
    EmbeddingCache,
    RoundModels,
    SamBackend,
    connected_parts,
    decode_region,
    log_odds,
)
from napari_scsam.propagation.appearance import Appearance
from napari_scsam.propagation.motion import Drift
from napari_scsam.propagation.settings import SETTINGS
from napari_scsam.propagation.stopping import Found, judge
from napari_scsam.propagation.two_passes import TwoPasses, drifted, joined
from napari_scsam.propagation.walk import Carried, Trail, iou

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import Logits, Mask
    from napari_scsam.core.volume import Around


@dataclass(frozen=True, eq=False)
class _Scene:
    """The new plane, embedded."""

    sam: SamBackend
    pixels: NDArray[Any]
    embedding: Embedding
    cache: EmbeddingCache | None

    def decode(self, prompts: Prompts, class_id: int) -> Decoded:
        """Decode one object; a small one in a large plane is decoded from a crop."""
        if self.cache is None:
            return self.sam.decode(self.embedding, prompts, class_id=class_id)
        return decode_region(self.sam, self.cache, self.pixels, self.embedding, prompts, class_id)


def carry(
    sam: SamBackend,
    pixels: NDArray[Any],
    trail: Trail,
    *,
    cache: EmbeddingCache | None = None,
    round_models: RoundModels | None = None,
    around: Around | None = None,
) -> Carried:
    """Segment the next plane; see `napari_scsam.propagation.carry`."""
    if np.ptp(pixels) == 0:
        return _stopped(trail, dict.fromkeys(trail.areas, "the slice is empty"))
    embedding = sam.embed(pixels) if cache is None else cache.get_or_embed(sam, pixels)
    scene = _Scene(sam, pixels, embedding, cache)
    if not trail.box_margin:
        return Carried(_started(scene, trail), {}, {})
    if trail.drift is not None:
        trail = replace(trail, drift=trail.drift.onto(embedding.view))
    unet = (
        None
        if round_models is None
        else round_models.probabilities(pixels, embedding, "unet", around)
    )
    odds: dict[int, Logits] = {}
    if round_models is not None and unet is not None:
        ids = round_models.class_ids
        odds = {c: log_odds(unet, 1 + ids.index(c)) for c in trail.areas if c in ids}
    first = _walked(scene, trail, trail.areas, odds)
    if not isinstance(trail, TwoPasses):
        return first
    # A round's U-Net is more reliable than the appearance on one plane.
    second_pass = {
        c: appearance
        for c, appearance in trail.appearances.items()
        if c in trail.areas and c not in odds
    }
    second = replace(trail.second, drift=trail.drift)
    return joined(trail, first, _walked(scene, second, second_pass, {}, second_pass), second_pass)


def _walked(
    scene: _Scene,
    trail: Trail,
    classes: Iterable[int],
    odds: Mapping[int, Logits],
    appearances: Mapping[int, Appearance] | None = None,
) -> Carried:
    """The step of one pass, with the U-Net's `odds` and the `appearances` of classes."""
    logits: dict[int, Logits] = {}
    moved: dict[int, Logits] = {}
    flags: dict[int, str] = {}
    for class_id in sorted(classes):
        appearance = (appearances or {}).get(class_id)
        found = _find(scene, trail, class_id, odds.get(class_id), appearance)
        outline = drifted(trail, class_id)
        if outline is not None:
            moved[class_id] = outline
            found = replace(found, drift=iou(found.logits > 0, outline > 0))
        reason, stops = judge(trail.label == class_id, found, trail.areas[class_id], SETTINGS.stop)
        if reason:
            flags[class_id] = reason
        if not stops:
            logits[class_id] = found.logits
    return _carried(trail, logits, moved, flags)


def _started(scene: _Scene, trail: Trail) -> Trail:
    """The trail at the annotated plane, with all that is fitted there."""
    outlines = {class_id: softened(trail.label == class_id) for class_id in trail.areas}
    drift = Drift.start(scene.embedding.view, outlines)
    trail = replace(trail, box_margin=_fitted_margins(scene, trail), drift=drift)
    appearances = _appearances(scene, trail)
    if not appearances:
        return trail
    return TwoPasses(
        trail.label,
        trail.areas,
        trail.doubts,
        trail.box_margin,
        trail.drift,
        appearances=appearances,
        second=trail,
    )


def _appearances(scene: _Scene, trail: Trail) -> dict[int, Appearance]:
    """Appearances that are reliable enough, for a SAM that takes masks."""
    if not scene.sam.understands_points:
        return {}
    found = {c: Appearance.of(scene.embedding, trail.label == c) for c in trail.areas}
    return {c: appearance for c, appearance in found.items() if appearance is not None}


def _carried(
    trail: Trail,
    logits: Mapping[int, Logits],
    moved: Mapping[int, Logits],
    flags: Mapping[int, str],
) -> Carried:
    """Continue with SAM's masks; the result is their mean with the warped outlines."""
    label = label_of(logits, trail.label.shape)
    areas = {c: (*trail.areas[c], int((label == c).sum()))[-SETTINGS.memory :] for c in logits}
    doubts = {c: trail.doubts.get(c, 0) + 1 for c in flags}
    exhausted = {c for c, number in doubts.items() if number >= SETTINGS.stop.patience}
    kept = {c: past for c, past in areas.items() if past[-1] and c not in exhausted}
    # Half precision is enough for log-odds within +-8, and saves memory.
    shown = {c: _mean_if_same(odds, moved.get(c)) for c, odds in logits.items()}
    small = {class_id: odds.astype(np.float16) for class_id, odds in shown.items()}
    return Carried(replace(trail, label=label, areas=kept, doubts=doubts), small, flags)


def _stopped(trail: Trail, flags: Mapping[int, str]) -> Carried:
    return Carried(Trail(np.zeros_like(trail.label), {}), {}, flags)


def _fitted_margins(scene: _Scene, trail: Trail) -> dict[int, float]:
    """The box margin that suits each class, found on the annotated plane."""
    if scene.sam.understands_points:
        return dict.fromkeys(trail.areas, SETTINGS.tight)
    chosen = {}
    for class_id in trail.areas:
        mask = trail.label == class_id
        agreement = {}
        for margin in SETTINGS.box_margins:
            tried = replace(trail, box_margin={class_id: margin})
            agreement[margin] = iou(_find(scene, tried, class_id).logits > 0, mask)
        enough = max(agreement.values()) - SETTINGS.nearly
        chosen[class_id] = max(
            margin for margin in SETTINGS.box_margins if agreement[margin] >= enough
        )
    return chosen


def _find(
    scene: _Scene,
    trail: Trail,
    class_id: int,
    odds: Logits | None = None,
    appearance: Appearance | None = None,
) -> Found:
    """Decode each object of the class separately, because a box around two would merge them."""
    label, margin = trail.label, trail.box_margin[class_id]
    objects = _objects(label == class_id)
    shape = scene.embedding.shape
    logits = np.full(shape, -SURE, np.float32)
    estimates, sizes = [], []
    for position, mask in enumerate(objects):
        others = [o for i, o in enumerate(objects) if i != position]
        others += [label == c for c in np.unique(label) if c not in (0, class_id)]
        hint = None if appearance is None else appearance.hint(scene.embedding, mask)
        box = box_with_margin(mask, margin)
        prompts = _prompts_for(mask, others, box, scene.sam.understands_points, hint)
        answer = scene.decode(prompts, class_id)
        near = _within(shape, box_with_margin(mask, SETTINGS.reach))
        logits = np.where(near, np.maximum(logits, answer.logits), logits)
        estimates.append(answer.iou)
        sizes.append(int(mask.sum()))
    logits = np.clip(logits, -SURE, SURE)
    estimate = float(np.average(estimates, weights=sizes))
    if odds is None:
        return Found(logits, estimate)
    near = np.any(
        [_within(shape, box_with_margin(mask, SETTINGS.reach)) for mask in objects], axis=0
    )
    odds = np.where(near, odds, -SURE)
    return Found(_mean_if_same(logits, odds), estimate, iou(logits > 0, odds > 0))


def _mean_if_same(logits: Logits, others: Logits | None) -> Logits:
    """The mean of two log-odds if they are of the same object, otherwise the first.

    A mask of another structure must not shift the outline.
    """
    if others is None or iou(logits > 0, others > 0) < SETTINGS.stop.agreement[0]:
        return logits
    return np.asarray((logits + np.clip(others, -SURE, SURE)) / 2)


def _objects(mask: Mask) -> list[Mask]:
    """Connected components, the largest first, without very small ones."""
    least = max(SETTINGS.stop.min_pixels, SETTINGS.min_share * mask.sum())
    return connected_parts(mask, least) or connected_parts(mask, 0)[:1]


def _prompts_for(
    mask: Mask, others: list[Mask], box: Box, by_points: bool, hint: Logits | None
) -> Prompts:
    """Prompts for one object: its box, and its mask and outside points if SAM takes them.

    A `hint` is added to the mask's log-odds. There is no point inside: in addition to a mask, it
    made a left atrium grow from slice to slice.
    """
    if not by_points:
        return Prompts(box=box)
    outside, outline = _neighbours(others, box), softened(mask)
    if hint is not None:
        outline = np.clip(outline + hint, -SURE, SURE, dtype=np.float32)
    return Prompts(
        points=outside,
        labels=[0] * len(outside),
        box=box,
        mask=outline,
    )


def _neighbours(others: list[Mask], box: Box) -> list[Point]:
    """Centres of other objects within the box, which SAM would include otherwise."""
    r0, c0, r1, c1 = box
    middles = [deepest(other) for other in others if other.any()]
    return [(r, c) for r, c in middles if r0 <= r <= r1 and c0 <= c <= c1]


def softened(mask: Mask) -> NDArray[np.float32]:
    """Log-odds of a mask that are uncertain near the outline, which moves between planes."""
    outside: Any = ndimage.distance_transform_edt(~mask)
    inside: Any = ndimage.distance_transform_edt(mask)
    return np.asarray(np.clip(SETTINGS.slope * (inside - outside), -SURE, SURE), np.float32)


def box_with_margin(mask: Mask, share: float) -> Box:
    """Box around a mask, with a fraction of the plane's longer side as margin, clipped."""
    corners = np.array(bounding_box(mask), float)
    margin = share * max(mask.shape) + 0.5  # from pixel centres to pixel edges
    limit = np.array(mask.shape) - 1
    r0, c0 = np.clip(corners[:2] - margin, 0, limit)
    r1, c1 = np.clip(corners[2:] + margin, 0, limit)
    return (float(r0), float(c0), float(r1), float(c1))


def _within(shape: tuple[int, int], box: Box) -> Mask:
    r0, c0, r1, c1 = box
    rows, cols = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    inside: Mask = (rows >= r0) & (rows <= r1) & (cols >= c0) & (cols <= c1)
    return inside
