"""One open image with its prompts, suggestions and previews, without Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.controllers.committed import CommittedLabel
from napari_scsam.controllers.inference import Answer, Question
from napari_scsam.controllers.objects import another_object, object_numbers
from napari_scsam.controllers.ports import Canvas, JobRunner, Line
from napari_scsam.controllers.previews import Previewer
from napari_scsam.controllers.view_state import Busy, Situation, ViewState, resolve
from napari_scsam.controllers.windowing import WindowChoice
from napari_scsam.controllers.work import Draft, SliceKey, Work, crossing
from napari_scsam.core.errors import Cancelled, ReadOnlyError, ScsamError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.history import History
from napari_scsam.core.jobs import Job
from napari_scsam.core.labels import LabelClass
from napari_scsam.core.prompts import ObjectKey, PromptSet
from napari_scsam.core.stretch import Stretch
from napari_scsam.core.volume import LabelArray, Volume

if TYPE_CHECKING:
    from napari_scsam.project import ImageRecord, Project

READ_ONLY = "The project is open elsewhere: look, but no changes."
VIA_BOX = "This model reads boxes, so your clicks became one; after a first round it reads points."


class PromptingController:
    """What happens between a person, the canvas and the models, up to the mask on show.

    A click's life: a new `Work` with the new prompts is pushed, the canvas shows them, a
    question goes to the previewer, and its answer is drawn if it is still the newest.

    Parameters
    ----------
    project : Project
    canvas : Canvas
    previewer : Previewer
    files : JobRunner
        Reads and writes the project, so that saving never waits behind the model.
    on_change : callable
        Called with the new ViewState after every change.
    """

    def __init__(
        self,
        project: Project,
        canvas: Canvas,
        previewer: Previewer,
        files: JobRunner,
        on_change: Callable[[ViewState], None],
    ) -> None:
        self._project = project
        self._canvas = canvas
        self._previewer = previewer
        self._files = files
        self._on_change = on_change
        self._history = History(Work())
        self._image: ImageRecord | None = None
        self._volume: Volume | None = None
        self._committed = CommittedLabel(project, files)
        self._plane: Plane | None = None
        self._shown: list[int] = []
        self._selected: int | None = None
        self._line: Line | None = None
        # Of each class, the number of the object that the next click is for.
        self._active: dict[int, int] = {}
        self._when_decoded: Callable[[], None] | None = None
        self._found_nothing: set[SliceKey] = set()
        self._round = project.active_round()
        self.window = WindowChoice(project, files)
        self._tuned: Path | None = None
        self._busy: Busy = ""
        self._message = ""
        self._error = ""
        self._told_via_box = False
        self._told_note = ""
        self.active_class: LabelClass = project.classes[0]
        self.commits = 0

    # ---------------------------------------------------------------- what is shown

    @property
    def image_id(self) -> str | None:
        """Id of the open image."""
        return None if self._image is None else self._image.id

    @property
    def key(self) -> SliceKey | None:
        """(image id, Plane) on show; None with no image or in a three-dimensional view."""
        if self._image is None or self._plane is None:
            return None
        return (self._image.id, self._plane)

    @property
    def prompts(self) -> PromptSet:
        """Prompts of the plane on show."""
        return PromptSet() if self.key is None else self._history.present.prompts_at(self.key)

    @property
    def preview(self) -> LabelArray | None:
        """The mask on show, uint8 (rows, cols), or None while there is none."""
        if self._answer is not None:
            return self._answer.preview
        return self.draft.label if self.draft is not None and self.prompts.is_empty else None

    @property
    def draft(self) -> Draft | None:
        """What was carried over to the plane on show from its neighbours."""
        return None if self.key is None else self._history.present.drafts.get(self.key)

    @property
    def _answer(self) -> Answer | None:
        return None if self.key is None else self._previewer.get(self.key, self.prompts)

    @property
    def view_state(self) -> ViewState:
        """What the dock shows now."""
        return resolve(self._situation(), tuple(self._project.classes))

    def _situation(self) -> Situation:
        plane, volume, answer = self._plane, self._volume, self._answer
        return Situation(
            image_name=None if self._image is None else self._image.name,
            plane=plane,
            plane_count=1 if volume is None or plane is None else volume.plane_count(plane.axis),
            plane_names=() if volume is None else volume.plane_names,
            prompts=self.prompts,
            selected=self._selected,
            line=self._line,
            active=self.active_object,
            iou=None if answer is None else answer.iou,
            has_preview=self.preview is not None,
            draft=self.draft,
            is_committed=plane is not None and self._committed.has(plane),
            can_undo=self._history.can_undo,
            can_redo=self._history.can_redo,
            read_only=self._project.read_only,
            busy=self._busy or ("thinking" if self._previewer.waiting else ""),
            message=self._message,
            error=self._error,
        )

    def say(self, message: str) -> None:
        """Show `message` in the status line."""
        self._message, self._error = message, ""
        self._on_change(self.view_state)

    def fail(self, error: Exception) -> None:
        """Show an error's one line; one that is not ours is a bug and is raised again."""
        self._busy = ""
        self._when_decoded = None
        if not isinstance(error, Cancelled):
            self._error = str(error)
        self._on_change(self.view_state)
        if not isinstance(error, ScsamError):
            raise error

    # ---------------------------------------------------------------- opening, moving

    def open_image(
        self, image_id: str, plane: Plane | None = None, then: Callable[[], None] | None = None
    ) -> None:
        """Show an image of the project, at `plane` or at its middle."""
        if image_id == self.image_id:
            self._canvas.go_to(plane or self._plane or Plane())
            if then is not None:
                then()
            return
        record = self._project.image(image_id)

        def read(_progress: Any, _cancel: Any) -> tuple[Volume, LabelArray | None]:
            return self._project.volume(image_id), self._project.label(image_id)

        def opened(result: tuple[Volume, LabelArray | None]) -> None:
            self._busy = ""
            self._show_image(record, *result, plane)
            if then is not None:
                then()

        self._busy = "opening"
        self._previewer.drop()
        self.say(f"Opening {record.name} …")
        self._files.run(Job(f"Opening {record.name}", read), opened, self.fail)

    def _show_image(
        self, record: ImageRecord, volume: Volume, label: LabelArray | None, plane: Plane | None
    ) -> None:
        self._image, self._volume = record, volume
        self._committed.open(record.id, label)
        self._plane = None
        self._message = READ_ONLY if self._project.read_only else "Ready."
        self._canvas.open_image(record.name, volume, self._committed.array, self._project.classes)
        limits = self.window.shown(volume)
        if limits is not None:
            self._canvas.show_window(limits)
        for key, prompts in self._history.present.prompts.items():
            answer = self._previewer.get(key, prompts)
            if key[0] == record.id and answer is not None:
                self._canvas.show_preview(key[1], answer.preview)
        self._show_drafts(self._drafts_here())
        middle = 0 if volume.ndim == 2 else volume.shape[0] // 2
        self._canvas.go_to(plane or Plane(0, middle))
        self.plane_changed(self._canvas.plane)

    def plane_changed(self, plane: Plane | None) -> None:
        """Show the prompts of the plane that the slider moved to."""
        if self._image is None or plane == self._plane:
            return
        self._previewer.drop()
        self._when_decoded = None
        self._plane = plane
        self._let_go()
        self._active.clear()
        self._error = ""
        self._refresh()

    def prepare(self, on_ready: Callable[[str], None]) -> None:
        """Embed the plane on show ahead of the first click (a view calls it once it rests).

        `on_ready` is told what runs where.
        """
        if self.key is not None and not self._previewer.waiting:
            self._previewer.warm(self._question(self.prompts), on_ready, self.fail)

    @property
    def looking_at(self) -> tuple[Question, Volume] | None:
        """What would be asked about the plane on show, and its image; None without a plane."""
        if self.key is None or self._volume is None:
            return None
        return self._question(self.prompts), self._volume

    def set_window(self, name: str) -> None:
        """Look at the scan through another window; masks on show are drawn again through it."""
        try:
            self._message, self._error = self.window.choose(name, self.fail), ""
        except ScsamError as error:
            self.fail(error)
            return
        if self._volume is not None:
            self._canvas.show_window(self.window.shown(self._volume))
        self._previewer.forget()
        self._refresh()

    def round_changed(self) -> None:
        """Use the project's active round from now on."""
        self._round = self._project.active_round()
        self.window.use_round(self._round)
        self._found_nothing.clear()
        # What was last said here must not hide what is being said of the round.
        self._message = self._error = ""
        # A mask that another round's models drew must not be committed as this one's.
        self._previewer.forget()
        self._refresh()

    def use_tuned(self, folder: Path | None, redraw: bool = False) -> None:
        """Have clicks answered by a tuning's SAM from the next one on; None for the shipped one.

        An outline on show stays as the person sees it, unless `redraw` says otherwise.
        """
        if folder == self._tuned:
            return
        self._tuned = folder
        if redraw:
            if self._previewer.waiting:
                self._message = ""  # what it says is under way no longer is
            self._previewer.forget()
            self._refresh()

    # ---------------------------------------------------------------- prompts

    @property
    def active_object(self) -> ObjectKey:
        """The object that the next click is for; it may have no prompts yet."""
        class_id = self.active_class.id
        newest = max(object_numbers(self.prompts, class_id), default=1)
        chosen = self._active.get(class_id, newest)
        # What undo has emptied is not counted on from.
        return (class_id, min(chosen, another_object(self.prompts, class_id)))

    def _make_active(self, key: ObjectKey) -> None:
        self._active[key[0]] = key[1]

    def _let_go(self) -> None:
        """Select nothing."""
        self._selected = None
        self._line = None

    def _edit(self, prompts: PromptSet, select: int | None = None) -> None:
        if self.key is None or prompts == self.prompts:
            return
        if self._project.read_only:
            self.fail(ReadOnlyError("The project is open read-only: prompts can't be changed."))
            return
        self._history.push(self._history.present.with_prompts(self.key, prompts))
        self._let_go()
        self._selected = select
        self._message = self._error = ""
        self._refresh()

    # ---------------------------------------------------------------- previews

    def _refresh(self, *, redecode: bool = True) -> None:
        """Show the present prompts and their preview, asking for one where there is none."""
        key = self.key
        if key is not None:
            answer = self._previewer.get(key, self.prompts)
            known = answer is not None or self.prompts.is_empty
            asking = self._previewer.is_asking(key, self.prompts)
            if redecode and not known and not asking:
                # Asked before anything is drawn: the model works while the window draws.
                self._previewer.decode(self._question(self.prompts), self._settle, self.fail)
            self._show_prompts(key[1])
            if known:
                if not asking:  # a suggestion is under way for just what is shown
                    self._previewer.drop()
                if answer is None:
                    self._show_drafts([key[1]])
                else:
                    self._canvas.show_preview(key[1], answer.preview)
        self._on_change(self.view_state)

    def _show_prompts(self, plane: Plane) -> None:
        points = self.prompts.points
        self._shown = [i for i, p in enumerate(points) if p.state != "rejected"]
        selected = self._shown.index(self._selected) if self._selected in self._shown else None
        shown = replace(self.prompts, points=tuple(points[i] for i in self._shown))
        self._canvas.show_prompts(plane, shown, selected, self._line, self.active_object)

    def _drafts_here(self) -> list[Plane]:
        """Planes of the open image with a draft, in order."""
        drafts = self._history.present.drafts
        return sorted(plane for image_id, plane in drafts if image_id == self.image_id)

    def _drafts_changed(self, left: Work, now: Work) -> None:
        """Draw what differs between two steps; answers made with another draft are forgotten."""
        keys = {
            key
            for key in (*left.drafts, *now.drafts)
            if left.drafts.get(key) is not now.drafts.get(key)
        }
        for key in keys:
            self._previewer.forget(key)
        self._show_drafts([plane for image_id, plane in keys if image_id == self.image_id])

    def _show_drafts(self, planes: Sequence[Plane]) -> None:
        """Draw the drafts of some planes, or clear them; those with prompts show their own."""
        work, image_id = self._history.present, self.image_id or ""
        drafts = {plane: work.drafts[image_id, plane].label for plane in self._drafts_here()}
        shape = () if self._volume is None else self._volume.shape
        labels = {
            plane: drafts[plane] if plane in drafts else crossing(drafts, plane, shape)
            for plane in planes
            if work.prompts_at((image_id, plane)).is_empty
        }
        if labels:
            self._canvas.show_drafts(labels)

    def _settle(self, answer: Answer) -> None:
        if self.key is None:
            return
        self._show_prompts(self.key[1])
        self._canvas.show_preview(self.key[1], answer.preview)
        untold = self._round is None and not self._message and not self._told_via_box
        if answer.via == "box from clicks" and untold:
            self._told_via_box = True
            self._message = VIA_BOX
        if answer.note not in ("", self._told_note):
            self._told_note = self._message = answer.note
        then, self._when_decoded = self._when_decoded, None
        self._on_change(self.view_state)
        if then is not None:
            then()

    def _question(self, prompts: PromptSet) -> Question:
        if self.key is None or self._volume is None:
            raise RuntimeError("A question needs an open plane.")
        folder = None if self._round is None else self._round.folder
        draft = None if self.draft is None else self.draft.label
        pixels, window = self._volume.plane(self.key[1]), self.window.asked(self._volume)
        stretch = Stretch.of(self._volume, self.key[1])
        around = self.window.neighbours(self._volume, self.key[1])
        return Question(
            self.key, pixels, prompts, folder, draft, window, self._tuned, stretch, around
        )
