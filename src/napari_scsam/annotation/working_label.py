"""The label of a plane being edited, and how a model's answer is merged into it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from napari_scsam.annotation.rings import ring_around
from napari_scsam.core.patches import UNTOUCHED, Patch, patch_of
from napari_scsam.core.prompt_edits import of_classes
from napari_scsam.core.prompts import PointPrompt, PromptSet, pixels_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_scsam.core.arrays import LabelArray, Mask

# Whose pixels the edited class may replace: free ones only, all, or also those of one class (int).
Over = Literal["free", "all"] | int


@dataclass(frozen=True, eq=False)
class WorkingLabel:
    """The label of a plane being edited: a protected base, and the patches painted on it.

    Attributes
    ----------
    base : ndarray of shape (rows, cols), uint8
        The label without the patches from `since` on.
    included : PromptSet
        The prompts that `base` was made of. Classes whose prompts differ are being edited.
    fixed : ndarray of shape (rows, cols), bool, optional
        The pixels of `base` that were painted.
    patches : tuple of Patch
        Everything painted on the plane, for the journal.
    since : int
        Number of patches that `base` includes.
    drawn : frozenset of int
        Classes whose pixels are no answer of a model: painted, erased, or a ring. Later prompts
        correct their pixels.
    over : {'free', 'all'} or int
        Whose pixels the edited class may replace; an int is a class.
    """

    base: LabelArray
    included: PromptSet = PromptSet()
    fixed: Mask | None = None
    patches: tuple[Patch, ...] = ()
    since: int = 0
    drawn: frozenset[int] = frozenset()
    over: Over = "free"

    @property
    def label(self) -> LabelArray:
        """The label with all patches, (rows, cols); `base` itself if there are none to apply."""
        if self.since == len(self.patches):
            return self.base
        label = self.base.copy()
        for patch in self.patches[self.since :]:
            patch.onto(label)
        return label

    @property
    def by_hand(self) -> Mask | None:
        """Painted pixels, (rows, cols); None if there are none."""
        if self.since == len(self.patches):
            return self.fixed
        mask = np.zeros(self.base.shape, bool) if self.fixed is None else self.fixed.copy()
        for patch in self.patches[self.since :]:
            mask[patch.place] |= patch.drawn
        return mask

    def with_patch(self, patch: Patch, prompts: PromptSet, shown: LabelArray) -> WorkingLabel:
        """Add a patch painted on the label `shown`, which was made of `prompts`."""
        erased = patch.drawn & (patch.values == 0)
        touched = {*np.unique(patch.values[patch.drawn & ~erased]).tolist()}
        touched |= set(np.unique(shown[patch.place][erased]).tolist())
        drawn = self.drawn | (touched - {0})
        working = self if prompts == self.included else self.rebased(prompts, shown)
        return replace(working, patches=(*working.patches, patch), drawn=drawn)

    def rebased(self, prompts: PromptSet, shown: LabelArray) -> WorkingLabel:
        """Make `shown`, the label made of `prompts`, the new base."""
        return replace(
            self,
            base=shown,
            included=prompts,
            fixed=_still_fixed(self, prompts),
            since=len(self.patches),
        )


def changed_classes(prompts: PromptSet, included: PromptSet) -> frozenset[int]:
    """Classes whose prompts differ."""
    if prompts == included:
        return frozenset()
    ids = {*prompts.class_ids(), *included.class_ids(), *(p.class_id for p in prompts.points)}
    return frozenset(c for c in ids if of_classes(prompts, {c}) != of_classes(included, {c}))


def corrects_pixels(working: WorkingLabel, prompts: PromptSet, class_id: int) -> bool:
    """Whether new prompts of a class correct its present pixels, which were painted.

    They do not once a prompt that the pixels were made of was changed or removed.
    """
    if class_id not in working.drawn:
        return False
    included, now = of_classes(working.included, {class_id}), of_classes(prompts, {class_id})
    return (
        set(included.points) <= set(now.points)
        and set(included.strokes) <= set(now.strokes)
        and included.boxes.items() <= now.boxes.items()
    )


def initial_label(
    working: WorkingLabel | None, origin: LabelArray | None, prompts: PromptSet
) -> LabelArray | None:
    """The label that a decoding of `prompts` starts from, (rows, cols), or None.

    Parameters
    ----------
    working : WorkingLabel, optional
    origin : ndarray of shape (rows, cols), uint8, optional
        The draft or the committed label that the plane had before the first prompt.
    prompts : PromptSet
    """
    if working is None:
        return origin
    changed = changed_classes(prompts, working.included)
    restarted = [c for c in changed if not corrects_pixels(working, prompts, c)]
    if not restarted:
        return working.label
    label = np.where(np.isin(working.label, restarted), 0, working.label).astype(np.uint8)
    if origin is not None:
        free = (label == 0) & np.isin(origin, restarted)
        label[free] = origin[free]
    return label


def already_included(working: WorkingLabel | None, prompts: PromptSet) -> PromptSet:
    """The prompts that `initial_label` already includes; they are not decoded again."""
    if working is None:
        return PromptSet()
    changed = changed_classes(prompts, working.included)
    restarted = {c for c in changed if not corrects_pixels(working, prompts, c)}
    return of_classes(working.included, set(working.included.class_ids()) - restarted)


def ringed_classes(working: WorkingLabel, prompts: PromptSet, answer: LabelArray) -> frozenset[int]:
    """Classes of which `merged` makes a ring, which is not what the model answered."""
    changed = changed_classes(prompts, working.included)
    if not any(class_id in changed for class_id, _ in prompts.boxes):
        return frozenset()
    label = working.label
    others = (label > 0) & ~np.isin(label, list(changed)) & ~_takeable(working, label)
    return frozenset(class_id for class_id, _ in _rings(prompts, changed, answer, others))


def _rings(
    prompts: PromptSet, changed: frozenset[int], answer: LabelArray, protected: Mask
) -> Iterator[tuple[int, Mask]]:
    """Yield the rings that the boxes of changed classes make, with their classes."""
    for (class_id, _), box in prompts.boxes.items():
        ring = None
        if class_id in changed:
            ring = ring_around(box, answer == class_id, protected)
        if ring is not None:
            yield class_id, ring


def merged(working: WorkingLabel, prompts: PromptSet, answer: LabelArray) -> LabelArray:
    """Merge a model's answer into the label, within the pixels that it may change.

    The edited classes are taken from the answer, on pixels that are free, theirs, or may be
    replaced. Painted pixels stay, unless a later prompt contradicts them. A box around another
    class makes a ring (`ring_around`).

    Parameters
    ----------
    working : WorkingLabel
    prompts : PromptSet
        The prompts of `answer`.
    answer : ndarray of shape (rows, cols), uint8

    Returns
    -------
    ndarray of shape (rows, cols), uint8
    """
    changed = changed_classes(prompts, working.included)
    label = working.label
    if not changed:
        return label
    mine = np.isin(label, list(changed))
    kept = _still_fixed(working, prompts)
    kept = np.zeros(label.shape, bool) if kept is None else kept
    may = ((label == 0) | mine) & ~kept
    may |= _takeable(working, label) & ~mine
    given = np.where(np.isin(answer, list(changed)), answer, 0)
    for class_id, ring in _rings(prompts, changed, given, (label > 0) & ~may):
        given = np.where(ring, class_id, given)
    settled = np.where(mine & ~kept, 0, label).astype(np.uint8)
    taken = may & (given > 0)
    settled[taken] = given[taken]
    return settled


def drawable(
    before: LabelArray, after: LabelArray, over: Over, active: int
) -> tuple[Patch | None, frozenset[int]]:
    """The patch that a stroke from `before` to `after` adds, and the classes it left unchanged.

    Parameters
    ----------
    before, after : ndarray of shape (rows, cols), uint8
    over : {'free', 'all'} or int
    active : int
        The class that the eraser removes.
    """
    changed = before != after
    if over == "all":
        return patch_of(changed, after), frozenset()
    owner = np.where(after > 0, after, active)
    may = changed & ((before == 0) | (before == owner) | (before == over))
    left = frozenset(np.unique(before[changed & ~may]).tolist())
    return patch_of(may, after), left


def _takeable(working: WorkingLabel, label: LabelArray) -> Mask:
    """Pixels of other classes that the edited class may replace."""
    owner = {"all": label, "free": UNTOUCHED}.get(str(working.over), working.over)
    taken: Mask = (label > 0) & (label == owner)
    return taken


def _still_fixed(working: WorkingLabel, prompts: PromptSet) -> Mask | None:
    """Painted pixels, without the connected parts that a later prompt contradicts."""
    fixed = working.by_hand
    if fixed is None:
        return None
    new = [p for p in prompts.points if p not in working.included.points and p.state != "rejected"]
    new += [
        PointPrompt(row, col, stroke.class_id, stroke.positive)
        for stroke in prompts.strokes
        if stroke.kind == "scribble" and stroke not in working.included.strokes
        for row, col in stroke.path
    ]
    label = working.label
    for point in new:
        row, col = pixels_of([(point.row, point.col)], fixed.shape)[0]
        agrees = (label[row, col] == point.class_id) == point.positive
        if fixed[row, col] and point.state != "proposed" and not agrees:
            pieces, _ = ndimage.label(fixed & (label == label[row, col]))
            fixed = fixed & (pieces != pieces[row, col])
    return fixed
