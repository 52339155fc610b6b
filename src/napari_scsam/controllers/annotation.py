"""The annotation loop: commit, next, skip, undo and redo, without Qt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_scsam.controllers.drawing import DrawingController
from napari_scsam.controllers.inference import Answer
from napari_scsam.controllers.queue import neighbour
from napari_scsam.controllers.work import SliceKey, Work, accepted, askable_objects, to_decode
from napari_scsam.core.errors import ModelError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import PromptSet
from napari_scsam.core.propagation import Trail

NO_ROUND = "No round yet: click the structure or draw a box, commit a few slices, then train."
NO_OUTLINE = (
    "There is no outline to save, since the model could not draw one here. Delete the prompts "
    "to save that nothing is here, or K to skip."
)


class AnnotationController(DrawingController):
    """Adds to prompting what makes labels of masks, and what goes from slice to slice."""

    def suggest(self, class_ids: tuple[int, ...] = ()) -> None:
        """Ask the active round for proposals, for all classes or some."""
        if self.key is None:
            return
        if self._round is None:
            self.say(NO_ROUND)
            return
        if self.key[1].axis != 0:
            name = "" if self._volume is None else self._volume.plane_names[0]
            self.say(f"The round learned from {name} slices: here, click or draw a box.")
            return
        key, before = self.key, self.prompts
        asked = class_ids or tuple(c.id for c in self._project.classes)

        def answered(answer: Answer) -> None:
            if answer.prompts != before:
                self._history.push(self._history.present.with_prompts(key, answer.prompts))
            if not any(p.state == "proposed" for p in answer.prompts.points):
                self._found_nothing.add(key)
                self._message = "Nothing suggested here. Click the structure, or K to skip."
            else:
                self._message = "Suggested. Correct what is wrong, then J."
            self._settle(answer)

        self._previewer.suggest(self._question(before), asked, answered, self.fail)
        self.say("Suggesting …")

    def commit(self, then: Callable[[], None] | None = None) -> None:
        """Save the mask on show as the plane's label; no mask at all saves "nothing here"."""
        key = self.key
        if key is None or self._volume is None:
            return
        if self._previewer.waiting:
            # What is saved is what the person will have seen.
            self._when_decoded = lambda: self.commit(then)
            return
        prompts, preview = accepted(self.prompts), self.preview
        if preview is None and askable_objects(to_decode(prompts)):
            self.fail(ModelError(NO_OUTLINE))
            return
        if preview is None:
            rows, cols = self._volume.plane(key[1]).shape[:2]
            preview = np.zeros((rows, cols), np.uint8)

        def saved(version: int | None) -> None:
            self._busy = ""
            self.commits += 1
            work = self._history.present.with_version(key[0], version)
            self._history.push(work.with_prompts(key, PromptSet()).with_drafts({key: None}))
            self._found_nothing.discard(key)
            self._let_go()
            self._canvas.show_committed(self._committed.array)
            self._refresh()
            self.say("Saved." if preview.any() else "Saved: nothing here.")
            if then is not None:
                then()

        self._remember_version()
        self._busy = "saving"
        self.say("Saving …")
        drafted = () if self.draft is None else tuple(Trail.start(self.draft.label).areas)
        self._committed.commit(
            key, preview, prompts, self._volume.shape, saved, self.fail, drafted=drafted
        )

    def accept_and_next(self) -> None:
        """Accept and commit what is on show, then go to the next open plane."""
        key = self.key
        if key is None:
            return
        untouched = self.prompts.is_empty and self.draft is None
        if untouched and key not in self._found_nothing:
            self.say("Nothing to accept yet: click the structure, press G, or K to skip.")
            return
        self.commit(then=self._go_on)

    def _go_on(self) -> None:
        self._go(1)

    def skip(self) -> None:
        """Leave this plane for now."""
        if self.key is not None:
            # What is passed over, as what is done, is counted along axis 0.
            if not self._project.read_only and self.key[1].axis == 0:
                self._project.skip(self.key[0], self.key[1].index)
            self._go(1)

    def previous(self) -> None:
        """Go to the plane before, committed or not."""
        self._go(-1)

    def _go(self, step: int) -> None:
        if self.key is None:
            return
        target = self._beside(self.key, step)
        if target is None:
            self.say(f"{self._message} That was the last one." if step > 0 else "The first one.")
            return
        said = self._message
        self.open_image(*target, then=lambda: self._arrived(said))

    def _beside(self, key: SliceKey, step: int) -> SliceKey | None:
        """The next plane along the axis in view, open ones only on the way forward."""
        image_id, plane = key
        if plane.axis and self._volume is not None:
            ahead = range(plane.index + 1, self._volume.shape[plane.axis])
            for index in ahead if step > 0 else range(plane.index - 1, -1, -1):
                at = Plane(plane.axis, index)
                if step < 0 or not self._committed.has(at):
                    return (image_id, at)
            # At the end of this image: on to the next one, from its beginning.
            plane = Plane(0, self._volume.shape[0] - 1 if step > 0 else 0)
        return neighbour(self._project, (image_id, plane), step, only_open=step > 0)

    def _arrived(self, said: str) -> None:
        self.say(said)
        untouched, plane = self.prompts.is_empty and self.draft is None, self._plane
        if self._round is None or plane is None or plane.axis != 0:
            return
        if untouched and not self._committed.has(plane):
            self.suggest()

    def _remember_version(self) -> None:
        """Note in the present step which label its image has, for undo to go back to."""
        image_id, versions = self.image_id, self._history.present.versions
        if image_id is not None and image_id not in versions:
            self._history.amend(
                self._history.present.with_version(image_id, self._committed.version)
            )

    def undo(self) -> None:
        """Take back the last step, wherever it was taken."""
        left = self._history.present
        self._travel(left, self._history.undo(), left.at, "Undone.")

    def redo(self) -> None:
        """Take the step again that was undone."""
        left = self._history.present
        now = self._history.redo()
        self._travel(left, now, now.at, "Done again.")

    def _travel(self, left: Work, now: Work, at: SliceKey | None, message: str) -> None:
        if left is now or at is None:
            return

        def arrived() -> None:
            self._busy = ""
            self._let_go()
            self.commits += 1
            self._canvas.show_committed(self._committed.array)
            self._drafts_changed(left, now)
            self._refresh()
            self.say(message)

        def settled(_: int | None = None) -> None:
            self.open_image(*at, then=arrived)

        # A step from before the image's first commit does not know its version.
        known = at[0] in now.versions and at[0] in left.versions
        if known and now.versions[at[0]] != left.versions[at[0]]:
            self._busy = "saving"
            self._committed.revert(at[0], now.versions[at[0]], settled, self.fail)
        else:
            settled()
