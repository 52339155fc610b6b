"""Point proposals from the probability maps of the U-Net and SAM.

The rules are described in docs/explanation/suggestions.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from scipy.special import expit
from skimage.feature import peak_local_max

from napari_scsam.core.errors import InputError
from napari_scsam.core.log_odds import SURE
from napari_scsam.core.prompts import Kind, Point, PointPrompt, Prompts
from napari_scsam.models.body import REFERENCE_SIDE, body
from napari_scsam.models.doubtful_outlines import doubtful_as_questions
from napari_scsam.models.outline import connected_parts, log_odds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray, Mask
    from napari_scsam.core.volume import Around
    from napari_scsam.models.protocols import Embedding, RoundModels

# Lengths are in pixels of a plane with a longest side of REFERENCE_SIDE, and are scaled to the
# plane. They are arbitrary, as are the numbers below.
# Minimum area of a part (px^2), and minimum distance between points (px). Arbitrary.
MIN_AREA, MIN_DISTANCE = 16.0, 5.0
# Distance of a negative point from the object, in px. Arbitrary.
RING = (3.0, 12.0)
# A rim of disagreement thinner than twice this length is not queried.
MIN_DEPTH = 2.0
# Sigma of the smoothing of probabilities, in px. Arbitrary.
SMOOTHING = 2.0

# Object and background are equally likely.
INSIDE = 0.5
# Below this probability the U-Net predicts background; up to INSIDE it may have missed an object.
MAX_BACKGROUND = 0.2
# Minimum probability outside the object for a negative point.
MIN_DOUBT = 0.02
# Pixels within this share of a peak's height count as its plateau; its centre is taken.
PLATEAU = 0.95

# Maximum numbers of parts, of points on each, of queries and of missed structures.
# Arbitrary.
MAX_PARTS, MAX_POINTS_PER_PART, MAX_QUERIES, MAX_MISSED = 10, 3, 3, 3
# Points for a class beyond the first of each part, which keeps the part in the outline. Arbitrary:
# with it as many as a person places.
MAX_OTHERS = 2


@dataclass(frozen=True)
class _Candidate:
    row: int
    col: int
    positive: bool
    kind: Kind
    confidence: float


def propose(
    models: RoundModels,
    image: NDArray[Any],
    embedding: Embedding,
    class_id: int,
    around: Around | None = None,
) -> list[PointPrompt]:
    """Propose points for one class; see `napari_scsam.models.propose`.

    The points of kind 'confirm' lie in the components of the pair's mask, which is the outline that
    a person who accepts them gets. Doubtful components are questions (`doubtful_as_questions`).
    """
    proposals, odds = proposed_outline(models, image, embedding, class_id, around)
    return doubtful_as_questions(proposals, models, embedding, odds)


def proposed_outline(
    models: RoundModels,
    image: NDArray[Any],
    embedding: Embedding,
    class_id: int,
    around: Around | None = None,
) -> tuple[list[PointPrompt], FloatArray]:
    """Propose points for one class, however doubtful; also return the pair's log-odds of it.

    As `propose`, of shape (rows, cols) and float32; above 0 is the outline.
    """
    if class_id not in models.class_ids:
        raise InputError(f"This round has the classes {models.class_ids}, not {class_id}.")
    channel = models.class_ids.index(class_id) + 1
    unet = models.probabilities(image, embedding, "unet", around)[channel]
    if unet.max() < MAX_BACKGROUND:
        return [], np.full(embedding.shape, -SURE, np.float32)
    sam = _prompt_sam(models, embedding, class_id, unet)
    odds = log_odds(models.probabilities(image, embedding, around=around), channel)
    proposals = propose_from_maps(unet, sam, class_id, outline=odds > 0, round_number=models.number)
    return within_body(proposals, embedding), odds


def within_body(proposals: Sequence[PointPrompt], embedding: Embedding) -> list[PointPrompt]:
    """Return the proposals that are neither in the air around the body nor in a constant border.

    Parameters
    ----------
    proposals : sequence of PointPrompt
        In the plane's pixels.
    embedding : Embedding
        Of the plane.
    """
    if not proposals:
        return []
    inside = body(embedding.view)
    scale = np.divide(embedding.view.shape, embedding.shape)
    places = [np.multiply((p.row, p.col), scale).astype(int) for p in proposals]
    return [p for p, (row, col) in zip(proposals, places, strict=True) if inside[row, col]]


def propose_from_maps(
    unet: FloatArray,
    sam: FloatArray,
    class_id: int,
    *,
    outline: Mask | None = None,
    existing: Sequence[Point] = (),
    round_number: int | None = None,
) -> list[PointPrompt]:
    """Propose points for one class from two probability maps.

    In this order, each at least 5 px (on a plane of 256) from all earlier points and from
    `existing`:

    1. *confirm*, inside: for every component of the outline, the centre of the largest disc
       inside the intersection with SAM's mask.
    2. *query*: centres of the components on which the two disagree, the largest and least
       certain first; inside or outside by their mean probability.
    3. *missed*, inside: peaks of the U-Net between 0.2 and 0.5 outside both masks.
    4. *confirm*, inside: up to two more in a long or large component.
    5. *negative*, outside: low peaks of the U-Net (below 0.2) in a ring of 3-12 px around its
       mask; at most as many as there are points inside.

    Of 2 to 5 at most two are proposed.

    Parameters
    ----------
    unet, sam : ndarray of shape (rows, cols), float
        Probability of the class, 0..1.
    class_id : int
    outline : ndarray of shape (rows, cols), bool, optional
        What is displayed if the points of kind 'confirm' are accepted; the U-Net's mask if missing.
    existing : sequence of (row, col)
        Points that already exist.
    round_number : int, optional
        Stored with the proposals.

    Returns
    -------
    list of PointPrompt
        In state 'proposed', in image pixels; empty if the U-Net's maximum is below 0.2.
        Deterministic.

    Raises
    ------
    InputError
        If the maps are not two-dimensional or have different shapes.
    """
    if unet.ndim != 2 or unet.shape != sam.shape:
        raise InputError(f"Two maps (rows, cols) are needed, got {unet.shape} and {sam.shape}.")
    if unet.max() < MAX_BACKGROUND:
        return []
    unit = _unit(unet.shape)
    first, further = _confirm(unet > INSIDE if outline is None else outline, unet, sam)
    kept = _spaced([], first, existing, MIN_DISTANCE * unit)
    most = len(kept) + MAX_OTHERS
    for candidates in (_query(unet, sam, unit), _missed(unet, sam, unit), further):
        kept = _spaced(kept, candidates, existing, MIN_DISTANCE * unit)
    inside = sum(c.positive for c in kept)
    negatives = _spaced(
        [], _negative(unet, sam, unit), _places(kept, existing), MIN_DISTANCE * unit
    )
    chosen = [*kept, *negatives[:inside]][:most]
    return [_proposal(c, class_id, round_number) for c in chosen]


def _proposal(candidate: _Candidate, class_id: int, round_number: int | None) -> PointPrompt:
    return PointPrompt(
        row=float(candidate.row),
        col=float(candidate.col),
        class_id=class_id,
        positive=candidate.positive,
        origin="model",
        kind=candidate.kind,
        confidence=float(np.clip(candidate.confidence, 0, 1)),
        state="proposed",
        round=round_number,
    )


def _prompt_sam(
    models: RoundModels, embedding: Embedding, class_id: int, unet: FloatArray
) -> FloatArray:
    """Return SAM's probability, prompted by the U-Net's own points and the class tokens."""
    first, further = _confirm(unet > INSIDE, unet, unet)
    places = [*first, *further]
    # A SAM that turns clicks into a box works best around the U-Net's own mask.
    mask = None if models.sam.understands_points or not places else unet > INSIDE
    prompts = Prompts(points=[(c.row, c.col) for c in places], labels=[1] * len(places), mask=mask)
    try:
        decoded = models.sam.decode(embedding, prompts, class_id=class_id)
    except InputError:
        # No prompt: the U-Net has no confident place, and SAM has no tokens for the class.
        return np.zeros_like(unet)
    probability: FloatArray = expit(decoded.logits)
    return probability


def _confirm(
    outline: Mask, unet: FloatArray, sam: FloatArray
) -> tuple[list[_Candidate], list[_Candidate]]:
    """Return the first point of each part of an outline, and the further ones."""
    first, further = [], []
    least = MIN_AREA * _unit(outline.shape) ** 2
    for part in connected_parts(outline, least)[:MAX_PARTS]:
        agreed = part & (sam > INSIDE)
        area = agreed if agreed.sum() >= least else part
        found = [
            _Candidate(row, col, True, "confirm", float(unet[row, col] + sam[row, col]) / 2)
            for row, col in _centres(area)
        ]
        first.append(found[0])
        further.extend(found[1:])
    return first, further


def _query(unet: FloatArray, sam: FloatArray, unit: float) -> list[_Candidate]:
    mean = (unet + sam) / 2
    entropy = _entropy(unet)
    scored = []
    for part in connected_parts((unet > INSIDE) ^ (sam > INSIDE), MIN_AREA * unit**2):
        depth = _depth(part)
        if depth.max() < MIN_DEPTH * unit:
            continue
        row, col = _argmax(depth)
        # They are on different sides of 0.5: the mean is on the side of the more confident one.
        inside = float(mean[part].mean())
        confidence = max(inside, 1 - inside)
        score = part.sum() * float(entropy[part].mean())
        scored.append((score, _Candidate(row, col, inside > INSIDE, "query", confidence)))
    scored.sort(key=lambda item: -item[0])
    return [candidate for _, candidate in scored[:MAX_QUERIES]]


def _missed(unet: FloatArray, sam: FloatArray, unit: float) -> list[_Candidate]:
    smooth = ndimage.gaussian_filter(unet, SMOOTHING * unit)
    seen = (unet > INSIDE) | (sam > INSIDE)
    found = []
    for part in connected_parts(smooth >= MAX_BACKGROUND, MIN_AREA * unit**2):
        # A faint component connected to a confident one is its soft edge.
        if not (part & seen).any():
            peak = float(smooth[part].max())
            row, col = _argmax(_depth(part & (smooth >= PLATEAU * peak)))
            found.append(_Candidate(row, col, True, "missed", peak))
    found.sort(key=lambda candidate: -candidate.confidence)
    return found[:MAX_MISSED]


def _negative(unet: FloatArray, sam: FloatArray, unit: float) -> list[_Candidate]:
    seen = unet > INSIDE
    if not seen.any():
        return []
    distance = ndimage.distance_transform_edt(~seen)
    doubtful = (distance >= RING[0] * unit) & (distance <= RING[1] * unit) & (unet < MAX_BACKGROUND)
    # Peaks of the whole map, so that the slope of the mask is not a peak.
    peaks = peak_local_max(
        ndimage.gaussian_filter(unet, SMOOTHING * unit),
        min_distance=max(1, round(RING[0] * unit)),
        threshold_abs=MIN_DOUBT,
        exclude_border=False,
    )
    return [
        _Candidate(int(r), int(c), False, "negative", 1 - float(unet[r, c] + sam[r, c]) / 2)
        for r, c in peaks
        if doubtful[r, c]
    ]


def _spaced(
    kept: list[_Candidate],
    candidates: list[_Candidate],
    existing: Sequence[Point],
    distance: float,
) -> list[_Candidate]:
    """Add to `kept` the candidates far enough from it, from `existing` and from each other."""
    result = list(kept)
    for candidate in candidates:
        taken = np.array(_places(result, existing)).reshape(-1, 2)
        gaps = np.hypot(*(taken - (candidate.row, candidate.col)).T)
        if (gaps >= distance).all():
            result.append(candidate)
    return result


def _places(candidates: list[_Candidate], existing: Sequence[Point]) -> list[Point]:
    return [*existing, *((float(c.row), float(c.col)) for c in candidates)]


def _centres(part: Mask) -> list[tuple[int, int]]:
    """Return the centre of the largest inner disc, then distant points of the core."""
    depth = _depth(part)
    radius = float(depth.max())
    core = np.argwhere(depth >= radius / 2)
    centres = [_argmax(depth)]
    while len(centres) < MAX_POINTS_PER_PART:
        gaps = np.min([np.hypot(*(core - centre).T) for centre in centres], axis=0)
        if gaps.max() < 2 * radius:
            break
        row, col = core[int(gaps.argmax())]
        centres.append((int(row), int(col)))
    return centres


def _depth(part: Mask) -> NDArray[np.float64]:
    """Return the distance to the nearest pixel outside the part or the plane."""
    depth: NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    return depth


def _argmax(values: NDArray[np.floating[Any]]) -> tuple[int, int]:
    row, col = np.unravel_index(int(values.argmax()), values.shape)
    return int(row), int(col)


def _entropy(probability: FloatArray) -> FloatArray:
    """Return the binary entropy, normalised to 0..1."""
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    entropy: FloatArray = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return entropy


def _unit(shape: tuple[int, ...]) -> float:
    return max(shape) / REFERENCE_SIDE
