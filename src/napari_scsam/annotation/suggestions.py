"""Proposals of the active round, or from a few outlines, for the displayed plane."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_scsam.annotation.state import AnnotationState, Selection, StateStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.annotation.check_keeper import CheckKeeper
    from napari_scsam.annotation.outlines import Outlines
    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.core.labels import LabelClass
    from napari_scsam.core.prompts import PromptSet
    from napari_scsam.inference.messages import Answer

NO_ROUND = (
    "No round yet. Click the structure or draw a box. Once three slices are committed, suggestions "
    "come from them."
)
NOTHING_FOUND = "Nothing was suggested here. Click the structure, or press K to skip."
SUGGESTED = "Suggested{source}. Correct what is wrong, then J."


class Suggestions:
    """Requests proposals, and remembers where there were none.

    The active round makes them, and, for classes that it does not know, the SAM that is tuned on
    committed outlines.

    Parameters
    ----------
    store : StateStore
    outlines : Outlines
    classes : sequence of LabelClass
        The project's.
    checks : CheckKeeper
        Records suggestions on random slices before they are shown.
    """

    def __init__(
        self,
        store: StateStore,
        outlines: Outlines,
        classes: Sequence[LabelClass],
        checks: CheckKeeper,
    ) -> None:
        self._store = store
        self._outlines = outlines
        self._checks = checks
        self._class_ids = tuple(c.id for c in classes)
        self._found_nothing: set[SliceKey] = set()

    def suggest(self) -> None:
        """Request proposals for all classes."""
        now = self._store.now
        if now.key is None or now.image is None:
            return
        if not _has_source(now):
            self._store.say(NO_ROUND)
            return
        if now.key[1].axis != 0:
            name = now.image.volume.plane_names[0]
            self._store.say(f"Suggestions are for {name} slices. Here, click or draw a box.")
            return
        key, before = now.key, now.prompts

        def answered(answer: Answer) -> None:
            self._checks.keep(now, key, answer, lambda: show(answer))

        def show(answer: Answer) -> None:
            # While it was recorded, a click or another slice may have come before it.
            if self._store.now.key == key and self._store.now.prompts == before:
                self._take(key, before, answer)

        self._outlines.suggest(self._class_ids, answered)
        self._store.say("Suggesting …")

    def arrived(self) -> None:
        """Request proposals automatically on an untouched plane."""
        now = self._store.now
        if _has_source(now) and now.plane is not None and now.plane.axis == 0:
            self.suggest()

    def found_nothing(self, key: SliceKey) -> bool:
        """Whether the last request for a plane gave no proposals."""
        return key in self._found_nothing

    def forget(self, key: SliceKey | None = None) -> None:
        """Forget that there were no proposals, for one plane or for all."""
        if key is None:
            self._found_nothing.clear()
        else:
            self._found_nothing.discard(key)

    def _take(self, key: SliceKey, before: PromptSet, answer: Answer) -> None:
        now = self._store.now
        if not any(p.state == "proposed" for p in answer.prompts.points):
            self._found_nothing.add(key)
            message = NOTHING_FOUND
        else:
            message = SUGGESTED.format(source=_source(now, answer))
        now = replace(now, status=replace(now.status, message=message, elsewhere=False))
        if answer.prompts == before:
            self._store.put(now)
        else:
            work = now.work.with_prompts(key, answer.prompts)
            self._store.step(replace(now, work=work, selection=_kept(now, answer.prompts)))
        self._outlines.settle(answer)


def _source(now: AnnotationState, answer: Answer) -> str:
    """Whose the proposals are."""
    if answer.from_outlines:
        return f" from your {answer.from_outlines} outlines"
    return "" if now.round is None else f" by round {now.round.number}"


def _has_source(now: AnnotationState) -> bool:
    """Whether a round or a tuned SAM can make proposals."""
    return now.round is not None or now.tuned is not None


def _kept(now: AnnotationState, prompts: PromptSet) -> Selection:
    """The selection, unless another point has taken the index of the selected one."""
    index = now.selection.point
    if index is None or prompts.points[index : index + 1] == now.prompts.points[index : index + 1]:
        return now.selection
    return Selection()
