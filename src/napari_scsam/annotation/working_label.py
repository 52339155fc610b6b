"""What lies under the hand on a plane: what stays as it is, whatever the models answer next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from napari_scsam.core.patches import UNTOUCHED, Patch, patch_of
from napari_scsam.core.prompt_edits import of_classes
from napari_scsam.core.prompts import PointPrompt, PromptSet, pixels_of

if TYPE_CHECKING:
    from napari_scsam.core.arrays import LabelArray, Mask

# Whose pixels the object under the hand may take: nobody's alone, everybody's, or one class's, too.
Over = Literal["free", "all"] | int


@dataclass(frozen=True, eq=False)
class WorkingLabel:
    """The label of a plane as the person left it when the hand last went to something else.

    Attributes
    ----------
    base : ndarray of shape (rows, cols), uint8
        The label, but for the patches from `since` on.
    included : PromptSet
        The prompts that it was made of. What differs from them is under the hand.
    fixed : ndarray of shape (rows, cols), bool, optional
        What was drawn by hand and is in `base`.
    patches : tuple of Patch
        All that was drawn by hand here, for the journal.
    since : int
        How many of the patches are in `base`.
    drawn : frozenset of int
        Classes that were drawn or erased by hand: later prompts go on from their pixels.
    over : {'free', 'all'} or int
        What else the object under the hand may take; an int is a class.
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
        """The label with all that was drawn, (rows, cols); `base` itself where nothing was."""
        if self.since == len(self.patches):
            return self.base
        label = self.base.copy()
        for patch in self.patches[self.since :]:
            patch.onto(label)
        return label

    @property
    def by_hand(self) -> Mask | None:
        """Where it was drawn by hand, (rows, cols); None where nothing was."""
        if self.since == len(self.patches):
            return self.fixed
        mask = np.zeros(self.base.shape, bool) if self.fixed is None else self.fixed.copy()
        for patch in self.patches[self.since :]:
            mask[patch.place] |= patch.drawn
        return mask

    def with_patch(self, patch: Patch, prompts: PromptSet, shown: LabelArray) -> WorkingLabel:
        """The same with something drawn on `shown`, which was made of `prompts`."""
        erased = patch.drawn & (patch.values == 0)
        touched = {*np.unique(patch.values[patch.drawn & ~erased]).tolist()}
        touched |= set(np.unique(shown[patch.place][erased]).tolist())
        drawn = self.drawn | (touched - {0})
        working = self if prompts == self.included else self.rebased(prompts, shown)
        return replace(working, patches=(*working.patches, patch), drawn=drawn)

    def rebased(self, prompts: PromptSet, shown: LabelArray) -> WorkingLabel:
        """The ground for what comes next, where `shown` was made of `prompts` on this one."""
        return replace(
            self,
            base=shown,
            included=prompts,
            fixed=_still_fixed(self, prompts),
            since=len(self.patches),
        )


def changed_classes(prompts: PromptSet, included: PromptSet) -> frozenset[int]:
    """Classes of which the two say different things."""
    if prompts == included:
        return frozenset()
    ids = {*prompts.class_ids(), *included.class_ids(), *(p.class_id for p in prompts.points)}
    return frozenset(c for c in ids if of_classes(prompts, {c}) != of_classes(included, {c}))


def goes_on(working: WorkingLabel, prompts: PromptSet, class_id: int) -> bool:
    """Whether what is asked of a class goes on from its pixels, drawn by hand as they are.

    It begins anew where a prompt that they were made of was changed or taken away.
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
    """The label that a question about `prompts` begins from, (rows, cols); None for nothing.

    Parameters
    ----------
    ground : WorkingLabel, optional
    origin : ndarray of shape (rows, cols), uint8, optional
        What was there before the first prompt: a draft, or the committed label.
    prompts : PromptSet
    """
    if working is None:
        return origin
    changed = changed_classes(prompts, working.included)
    anew = [c for c in changed if not goes_on(working, prompts, c)]
    if not anew:
        return working.label
    label = np.where(np.isin(working.label, anew), 0, working.label).astype(np.uint8)
    if origin is not None:
        free = (label == 0) & np.isin(origin, anew)
        label[free] = origin[free]
    return label


def already_included(working: WorkingLabel | None, prompts: PromptSet) -> PromptSet:
    """The prompts that the label a question begins from was made of: they are not asked again."""
    if working is None:
        return PromptSet()
    changed = changed_classes(prompts, working.included)
    anew = {c for c in changed if not goes_on(working, prompts, c)}
    return of_classes(working.included, set(working.included.class_ids()) - anew)


def merged(working: WorkingLabel, prompts: PromptSet, answer: LabelArray) -> LabelArray:
    """The label on show: what the models answered, within what they may change.

    The classes under the hand are the answer's, where the ground is free, is theirs, or may be
    taken. What was drawn by hand stays, unless a prompt that came later says otherwise there.

    Parameters
    ----------
    ground : WorkingLabel
    prompts : PromptSet
        What `answer` was made of.
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
    settled = np.where(mine & ~kept, 0, label).astype(np.uint8)
    taken = may & (given > 0)
    settled[taken] = given[taken]
    return settled


def drawable(
    before: LabelArray, after: LabelArray, over: Over, active: int
) -> tuple[Patch | None, frozenset[int]]:
    """What a stroke that made `after` of `before` draws, and the classes that it left alone.

    Parameters
    ----------
    before, after : ndarray of shape (rows, cols), uint8
    over : {'free', 'all'} or int
    active : int
        The class whose pixels the eraser takes.
    """
    changed = before != after
    if over == "all":
        return patch_of(changed, after), frozenset()
    owner = np.where(after > 0, after, active)
    may = changed & ((before == 0) | (before == owner) | (before == over))
    left = frozenset(np.unique(before[changed & ~may]).tolist())
    return patch_of(may, after), left


def _takeable(working: WorkingLabel, label: LabelArray) -> Mask:
    """Pixels that the object under the hand may take from other classes."""
    owner = {"all": label, "free": UNTOUCHED}.get(str(working.over), working.over)
    taken: Mask = (label > 0) & (label == owner)
    return taken


def _still_fixed(working: WorkingLabel, prompts: PromptSet) -> Mask | None:
    """What was drawn by hand, less the pieces that a later prompt contradicts."""
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
