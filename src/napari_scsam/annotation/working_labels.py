"""The working label of each plane: painted, drafted, or committed before."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.annotation.work import Draft
from napari_scsam.annotation.working_label import (
    WorkingLabel,
    changed_classes,
    initial_label,
    merged,
    ringed_classes,
)
from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED, is_done
from napari_scsam.core.prompts import PromptSet
from napari_scsam.core.volume import take_plane
from napari_scsam.inference.messages import Answer

if TYPE_CHECKING:
    from napari_scsam.annotation.committed_label import CommittedLabel
    from napari_scsam.annotation.state import StateStore
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane, SliceKey
    from napari_scsam.inference.previews import Previewer

# Planes whose committed label is cached. Arbitrary.
PLANES_KEPT = 64


@dataclass(frozen=True, eq=False)
class _Found:
    """The working label of a plane without edits, and the label that it was made from."""

    source: Any
    working: WorkingLabel | None
    origin: LabelArray | None


class WorkingLabels:
    """Finds the working label of each plane, and merges the models' answers into it.

    Parameters
    ----------
    store : StateStore
    committed : CommittedLabel
    previewer : Previewer
        Caches the models' answers.
    """

    def __init__(self, store: StateStore, committed: CommittedLabel, previewer: Previewer) -> None:
        self._store = store
        self._committed = committed
        self._previewer = previewer
        self._found: OrderedDict[SliceKey, _Found] = OrderedDict()
        self._merged: dict[SliceKey, tuple[Any, WorkingLabel, Answer]] = {}

    def of(self, key: SliceKey) -> WorkingLabel | None:
        """The working label of a plane; None if the models' answer is used as it is."""
        working = self._store.now.work.working_labels.get(key)
        return self._own(key).working if working is None else working

    def origin(self, key: SliceKey) -> LabelArray | None:
        """The draft or the committed label that a plane has before edits, (rows, cols)."""
        return self._own(key).origin

    def before_prompts(self, key: SliceKey, prompts: PromptSet) -> LabelArray | None:
        """The label that a decoding of these prompts starts from, (rows, cols), or None."""
        return initial_label(self.of(key), self.origin(key), prompts)

    def answer(self, key: SliceKey) -> Answer | None:
        """The label for the present prompts of a plane; None while there is none."""
        now = self._store.now
        prompts, drawn = now.work.prompts_at(key), now.work.working_labels.get(key)
        if drawn is not None and (prompts == drawn.included or prompts.is_empty):
            return self._by_hand(key, drawn, prompts)
        answer = self._previewer.get(key, prompts)
        return None if answer is None else self._merge(key, answer)

    def to_save(self, key: SliceKey) -> LabelArray | None:
        """The label that a commit of a plane saves; None without prompts, paint and draft."""
        answer = self.answer(key)
        if answer is not None:
            return answer.preview
        work = self._store.now.work
        draft = work.drafts.get(key)
        return draft.label if draft is not None and work.prompts_at(key).is_empty else None

    def shown(self, key: SliceKey) -> tuple[LabelArray, PromptSet] | None:
        """The displayed label of a plane, and the prompts that it was made of; or None.

        While the models work, these prompts are older than the present ones.
        """
        last = self._previewer.last(key)
        answer = self.answer(key) or (None if last is None else self._merge(key, last))
        if answer is not None:
            return answer.preview, answer.prompts
        working = self.of(key)
        return None if working is None else (working.label, working.included)

    def for_edit(self, key: SliceKey, prompts: PromptSet) -> WorkingLabel | None:
        """The working label that a plane gets with these prompts; None for the one without edits.

        When another class is edited, the displayed pixels of the others become protected. Prompts
        correct a ring as it is displayed, since the model knows nothing of it.
        """
        now = self._store.now
        before, working = now.work.prompts_at(key), self.of(key)
        included = PromptSet() if working is None else working.included
        edited, rings = changed_classes(prompts, before), self._ringed_classes(key)
        others = changed_classes(before, included) - edited
        shown = self.shown(key) if others or edited & rings else None
        if shown is not None:
            working = self._or_empty(working, shown[0]).rebased(shown[1], shown[0])
            working = replace(working, drawn=working.drawn | rings)
        over = "free" if working is None else working.over
        if working is None or over == now.over:
            return working if shown is not None else now.work.working_labels.get(key)
        return replace(working, over=now.over)

    def _ringed_classes(self, key: SliceKey) -> frozenset[int]:
        """Displayed classes that are a ring round another one, made of a box."""
        working, last = self.of(key), self._previewer.last(key)
        if working is None or last is None:
            return frozenset()
        return ringed_classes(working, last.prompts, last.preview)

    def for_patch(self, key: SliceKey) -> tuple[WorkingLabel, LabelArray, PromptSet]:
        """What is painted on: working label, displayed label, and the prompts of the latter."""
        shown, working = self.shown(key), self.of(key)
        if shown is None:
            shown = (np.zeros(self._store.now.plane_shape, np.uint8), PromptSet())
        return self._or_empty(working, shown[0]), *shown

    def _or_empty(self, working: WorkingLabel | None, shown: LabelArray) -> WorkingLabel:
        return working or WorkingLabel(np.zeros(shown.shape, np.uint8), over=self._store.now.over)

    # ---------------------------------------------------------------- merged answers

    def _by_hand(self, key: SliceKey, working: WorkingLabel, prompts: PromptSet) -> Answer:
        """A label that needs no model, as an answer."""
        held = self._merged.get(key)
        if held is None or held[1] is not working or held[0] != prompts:
            label = working.label
            if prompts != working.included:
                begun = self.before_prompts(key, prompts)
                label = label if begun is None else merged(working, prompts, begun)
            held = (prompts, working, Answer(prompts, label, ""))
            self._merged[key] = held
        return held[2]

    def _merge(self, key: SliceKey, answer: Answer) -> Answer:
        working = self.of(key)
        if working is None:
            return answer
        held = self._merged.get(key)
        if held is None or held[0] is not answer or held[1] is not working:
            label = merged(working, answer.prompts, answer.preview)
            held = (answer, working, replace(answer, preview=label))
            self._merged[key] = held
        return held[2]

    # ---------------------------------------------------------------- planes without edits

    def _own(self, key: SliceKey) -> _Found:
        now = self._store.now
        draft = now.work.drafts.get(key)
        committed = (now.image_id, self._committed.version, self._committed.array is None)
        source = committed if draft is None else draft
        held = self._found.get(key)
        if held is not None and (held.source is source or held.source == source):
            return held
        if draft is not None:
            found = _Found(source, WorkingLabel(draft.label), draft.label)
        else:
            found = self._of_committed(key, source, held)
        self._found[key] = found
        self._found.move_to_end(key)
        while len(self._found) > PLANES_KEPT:
            self._found.popitem(last=False)
        return found

    def _of_committed(self, key: SliceKey, source: Any, held: _Found | None) -> _Found:
        """From the committed label; the same object as before if that has not changed."""
        label = self._committed_plane(key)
        if label is None:
            return _Found(source, None, None)
        done = is_done(label)
        label[label == NOT_ANNOTATED] = BACKGROUND
        if held is not None and held.working is not None and not isinstance(held.source, Draft):
            unchanged = np.array_equal(held.working.base, label)
            if unchanged and (held.origin is not None) == done:
                return replace(held, source=source)
        # Lines annotated along other axes are protected, but no decoding starts from them.
        working = WorkingLabel(label) if done or label.any() else None
        return _Found(source, working, label if done else None)

    def _committed_plane(self, key: SliceKey) -> LabelArray | None:
        array, (image_id, plane) = self._committed.array, key
        if array is None or not self._store.now.is_open(image_id):
            return None
        return np.array(take_plane(array, plane, array.ndim))

    def committed(self, plane: Plane) -> LabelArray | None:
        """The committed label of a plane of the open image; None if it is not annotated."""
        now = self._store.now
        if now.image is None or not self._committed.has(plane):
            return None
        return self._own((now.image.id, plane)).origin
