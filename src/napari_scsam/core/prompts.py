"""Prompts on one plane, in image pixels and napari's (row, col) order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage
from skimage.draw import polygon2mask

from napari_scsam.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import IndexArray

Point = tuple[float, float]
Box = tuple[float, float, float, float]
# (class id, number of the object among the objects of the class on a plane, from 1)
ObjectKey = tuple[int, int]
# Identifies a box by its object, or a stroke by its index among the strokes of a plane.
Line = ObjectKey | int
Kind = Literal["confirm", "query", "missed", "negative"]
Origin = Literal["model", "person"]
StrokeKind = Literal["scribble", "lasso"]
State = Literal["proposed", "accepted", "edited", "rejected"]

# Maximum number of points that represent a scribble, as in SAM's training (the warm-up).
SCRIBBLE_POINTS = 8

# Margin added to a box of a segmentation map, as a share of its own side, and its maximum as a
# share of the plane's longer side (5 px of SAM's 256). See `loosened`.
BOX_MARGIN, MAX_BOX_MARGIN = 0.1, 5 / 256


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts for SAM, for one object on one plane.

    Attributes
    ----------
    points : sequence of (row, col)
        Floats in image pixels, pixel centres at whole numbers.
    labels : sequence of int
        1 inside, 0 outside; one per point.
    box : (row0, col0, row1, col1), optional
        Inclusive pixel centres.
    mask : ndarray of shape (rows, cols), optional
        bool, or float32 logits, on the image's grid.

    Raises
    ------
    InputError
        If lengths differ, a number is not finite, a label is not 0 or 1, the box is
        upside down, or the mask is not two-dimensional.
    """

    points: Sequence[Point] = ()
    labels: Sequence[int] = ()
    box: Box | None = None
    mask: NDArray[np.bool_] | NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        points = tuple((float(r), float(c)) for r, c in self.points)
        labels = tuple(int(v) for v in self.labels)
        if len(points) != len(labels):
            raise InputError(
                f"Each point needs a label: got {len(points)} points and {len(labels)} labels."
            )
        if not np.isfinite(points).all():
            raise InputError("A point's row and column must be finite numbers.")
        if any(v not in (0, 1) for v in labels):
            raise InputError(f"A point's label is 1 (inside) or 0 (outside), got {labels}.")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "labels", labels)
        if self.box is not None:
            object.__setattr__(self, "box", _checked_box(self.box))
        if self.mask is not None and np.ndim(self.mask) != 2:
            raise InputError(f"A mask prompt is (rows, cols), got shape {np.shape(self.mask)}.")

    @property
    def is_empty(self) -> bool:
        """Whether there is no prompt."""
        return not self.points and self.box is None and self.mask is None

    def check_inside(self, shape: tuple[int, int]) -> None:
        """Raise InputError if a prompt lies outside an image of (rows, cols)."""
        rows, cols = shape
        for row, col in self.points:
            if not (-0.5 <= row <= rows - 0.5 and -0.5 <= col <= cols - 0.5):
                raise InputError(
                    f"The point ({row:g}, {col:g}) is outside the image of "
                    f"{rows} rows and {cols} columns."
                )
        if self.box is not None:
            r0, c0, r1, c1 = self.box
            if r1 < 0 or c1 < 0 or r0 > rows - 1 or c0 > cols - 1:
                raise InputError(
                    f"The box {self.box} is outside the image of {rows} rows and {cols} columns."
                )
        if self.mask is not None and self.mask.shape != shape:
            raise InputError(
                f"The mask prompt has shape {self.mask.shape}, but the image has {shape}."
            )


def _checked_box(box: Sequence[float]) -> Box:
    values = tuple(float(v) for v in box)
    if len(values) != 4 or not np.isfinite(values).all():
        raise InputError(f"A box is (row0, col0, row1, col1), got {tuple(box)}.")
    r0, c0, r1, c1 = values
    if r1 < r0 or c1 < c0:
        raise InputError(f"A box runs from its top left to its bottom right, got {values}.")
    if r1 == r0 and c1 == c0:
        raise InputError(f"The box {values} has no area: draw it around the object.")
    return (r0, c0, r1, c1)


@dataclass(frozen=True)
class PointPrompt:
    """One point on the canvas, proposed by the model or set by a person.

    Attributes
    ----------
    row, col : float
        Image pixels of the plane, pixel centres at whole numbers.
    class_id : int
        Class that it is a prompt for.
    positive : bool
        True for inside, False for outside.
    origin : {'model', 'person'}
        Its author; a proposal changed by a person is 'edited', still 'model'.
    kind : {'confirm', 'query', 'missed', 'negative'}
        Why the model proposes it (docs/explanation/suggestions.md). A person's points
        are 'confirm' inside and 'negative' outside.
    confidence : float
        0..1; 1 for a person's.
    state : {'proposed', 'accepted', 'edited', 'rejected'}
        Decision of a person about it.
    round : int, optional
        The round whose models proposed it.
    object_id : int
        Number of the object among the class's objects on the plane, from 1.
    """

    row: float
    col: float
    class_id: int
    positive: bool = True
    origin: Origin = "person"
    kind: Kind = "confirm"
    confidence: float = 1.0
    state: State = "accepted"
    round: int | None = None
    object_id: int = 1

    @property
    def object_key(self) -> ObjectKey:
        """(class id, object number)."""
        return (self.class_id, self.object_id)


@dataclass(frozen=True)
class Stroke:
    """A line drawn by a person: a scribble on an object, or a lasso around it.

    Attributes
    ----------
    kind : {'scribble', 'lasso'}
    path : tuple of (row, col)
        Image pixels of the plane, in the order drawn; a lasso is closed from its end to
        its start.
    class_id : int
    positive : bool
        False for a region outside the object.
    object_id : int
        Number of the object among the class's objects on the plane, from 1.

    Raises
    ------
    InputError
        If the path is empty, not finite, or a lasso with fewer than three points.
    """

    kind: StrokeKind
    path: tuple[Point, ...]
    class_id: int
    positive: bool = True
    object_id: int = 1

    def __post_init__(self) -> None:
        path = tuple((float(r), float(c)) for r, c in self.path)
        if len(path) < (3 if self.kind == "lasso" else 1) or not np.isfinite(path).all():
            raise InputError(f"A {self.kind} needs more places than {len(path)}: draw it longer.")
        object.__setattr__(self, "path", path)

    @property
    def object_key(self) -> ObjectKey:
        """(class id, object number)."""
        return (self.class_id, self.object_id)

    def points(self, count: int = SCRIBBLE_POINTS) -> list[Point]:
        """Return at most `count` equidistant points along the path."""
        path = np.asarray(self.path)
        steps = np.hypot(*np.diff(path, axis=0).T) if len(path) > 1 else np.zeros(0)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        if along[-1] == 0:
            return [self.path[0]]
        # A short scribble counts as only a few clicks.
        number = int(np.clip(along[-1] // 2 + 1, 2, count))
        at = np.linspace(0, along[-1], number)
        rows, cols = (np.interp(at, along, path[:, axis]) for axis in (0, 1))
        return [(float(r), float(c)) for r, c in zip(rows, cols, strict=True)]

    def region(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the region enclosed by a lasso, (rows, cols), bool."""
        inside: NDArray[np.bool_] = polygon2mask(shape, np.asarray(self.path))
        return inside


@dataclass(frozen=True)
class PromptSet:
    """All prompts of one plane, as an immutable value for undo.

    Attributes
    ----------
    points : tuple of PointPrompt
    boxes : mapping of (class id, object number) to Box
    strokes : tuple of Stroke
    """

    points: tuple[PointPrompt, ...] = ()
    boxes: dict[ObjectKey, Box] = field(default_factory=dict)
    strokes: tuple[Stroke, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there are no prompts on the plane."""
        return not (self.points or self.boxes or self.strokes)

    def for_object(self, key: ObjectKey, shape: tuple[int, int]) -> Prompts:
        """Return the prompts of one object for SAM, without rejected points.

        Scribbles become points along them. Lassos become a mask (inside ones minus outside ones)
        with a point in its centre, as in SAM's training with masks.

        Parameters
        ----------
        key : (class id, object number)
        shape : (rows, cols)
            Shape of the plane.
        """
        strokes = [s for s in self.strokes if s.object_key == key]
        points = [(p, s.positive) for s in strokes if s.kind == "scribble" for p in s.points()]
        lassos = [s for s in strokes if s.kind == "lasso"]
        mask = _lassoed(lassos, shape)
        points += _middles(lassos, mask, shape)
        points += [
            ((p.row, p.col), p.positive)
            for p in self.points
            if p.object_key == key and p.state != "rejected"
        ]
        return Prompts(
            points=[place for place, _ in points],
            labels=[int(positive) for _, positive in points],
            box=self.boxes.get(key),
            mask=mask,
        )

    def objects(self) -> tuple[ObjectKey, ...]:
        """Return the objects with any prompt, ascending."""
        keys = {p.object_key for p in self.points if p.state != "rejected"} | set(self.boxes)
        return tuple(sorted(keys | {s.object_key for s in self.strokes}))

    def class_ids(self) -> tuple[int, ...]:
        """Return the classes with any prompt, ascending."""
        return tuple(sorted({class_id for class_id, _ in self.objects()}))


def _lassoed(lassos: Sequence[Stroke], shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return the region of the inside lassos minus that of the outside ones."""
    if not any(s.positive for s in lassos):
        return None
    mask = np.zeros(shape, bool)
    for stroke in lassos:
        mask[stroke.region(shape)] = stroke.positive
    return mask if mask.any() else None


def _middles(
    lassos: Sequence[Stroke], mask: NDArray[np.bool_] | None, shape: tuple[int, int]
) -> list[tuple[Point, bool]]:
    """Return a point in the centre of the lassoed mask, and one in each outside lasso."""
    regions = [(s.region(shape), False) for s in lassos if not s.positive]
    if mask is not None:
        regions.insert(0, (mask, True))
    return [(deepest(region), positive) for region, positive in regions if region.any()]


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return (row0, col0, row1, col1) of a non-empty mask (rows, cols), all inclusive."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(cols[0]), int(rows[-1]), int(cols[-1])


def loosened(box: Box, shape: tuple[int, int]) -> Box:
    """Add the margin to a tight box that suits SAM, and clip it to the plane.

    All sides move out by 0.1 of the box's own side (the square root of height times width), but
    by at most 5 px of SAM's 256. With a tight box SAM segments everything inside, so that a ring
    (the heart's muscle) comes back as its cavity; with a margin it can separate the ring from its
    inside. Objects that fill their box need only a small margin. Chosen on training cases, with
    boxes alone (docs/results/clicks.md).

    Parameters
    ----------
    box : (row0, col0, row1, col1)
        Inclusive, as from `bounding_box`.
    shape : (rows, cols)
        Shape of the plane.

    Returns
    -------
    (row0, col0, row1, col1)
        Never of zero area.
    """
    r0, c0, r1, c1 = box
    side = ((r1 - r0 + 1) * (c1 - c0 + 1)) ** 0.5
    margin = min(BOX_MARGIN * side, MAX_BOX_MARGIN * max(shape))
    last_row, last_col = shape[0] - 1.0, shape[1] - 1.0
    return (
        max(0.0, r0 - margin),
        max(0.0, c0 - margin),
        min(last_row, r1 + margin),
        min(last_col, c1 + margin),
    )


def pixels_of(points: Sequence[Point], shape: tuple[int, ...]) -> IndexArray:
    """Return the pixels (N, 2) that contain the points, clipped to the plane.

    Pixel centres are whole numbers. A point midway between two pixels belongs to the later one.
    """
    places = np.asarray(points, np.float64).reshape(-1, 2)
    return np.clip(np.floor(places + 0.5), 0, np.array(shape) - 1).astype(np.intp)


def deepest(mask: NDArray[np.bool_]) -> Point:
    """Return the centre (row, col) of the largest disc inside a non-empty mask."""
    r0, c0, r1, c1 = bounding_box(mask)
    # Only the bounding box: fast for a small mask on a large grid.
    part = mask[r0 : r1 + 1, c0 : c1 + 1]
    depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), part.shape)
    return float(row + r0), float(col + c0)
