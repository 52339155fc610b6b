"""The state of the annotation session as a frozen value, and the store that holds it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from napari_scsam.annotation.objects import another_object, object_numbers
from napari_scsam.annotation.unfinished_outline import UnfinishedOutline, with_outline
from napari_scsam.annotation.work import Draft, Work
from napari_scsam.core.errors import Cancelled, ScsamError
from napari_scsam.core.history import History
from napari_scsam.core.prompts import Line, ObjectKey, PromptSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_scsam.annotation.view_state import Busy, Tool
    from napari_scsam.annotation.working_label import Over, WorkingLabel
    from napari_scsam.core.geometry import Plane, SliceKey
    from napari_scsam.core.labels import LabelClass
    from napari_scsam.core.volume import Volume
    from napari_scsam.project import RoundRecord


@dataclass(frozen=True, eq=False)
class OpenImage:
    """The open image; a new instance each time that an image is opened.

    Attributes
    ----------
    id, name : str
    volume : Volume
    """

    id: str
    name: str
    volume: Volume


@dataclass(frozen=True)
class Selection:
    """The selected prompt of the displayed plane; at most one of the two.

    Attributes
    ----------
    point : int, optional
        Index into ``prompts.points``.
    line : (class id, object number) or int, optional
        A box, or index into ``prompts.strokes``.
    """

    point: int | None = None
    line: Line | None = None


@dataclass(frozen=True)
class Status:
    """Activity and last message; while there is an `error`, it is shown instead.

    `said` counts the messages, so that one that is said twice is news twice. `elsewhere` tells
    whether the message also holds while another slice is displayed.
    """

    busy: Busy = ""
    message: str = ""
    error: str = ""
    said: int = 0
    elsewhere: bool = False

    def on_leaving(self) -> Status:
        """The status once another slice is displayed: nothing about the one that was left."""
        kept = self.message if self.busy or self.elsewhere else ""
        return replace(self, message=kept, error="")


@dataclass(frozen=True, eq=False)
class AnnotationState:
    """Everything that the user's actions decide.

    Attributes
    ----------
    active_class : LabelClass
        The class of new prompts.
    work : Work
        The present step of the history.
    image : OpenImage, optional
    plane : Plane, optional
        None without an image or in the 3D view.
    selection : Selection
    active_objects : mapping of class id to object number
        Of the displayed plane, where the user chose one.
    tool : Tool
    unfinished : mapping of (image id, Plane) to UnfinishedOutline
        Smooth outlines that are not closed yet. They are no step of the history.
    corners : int
        Corners of the viewer's own unfinished polygon, at most 3, which stands for more.
    over : {'free', 'all'} or int
        Whose pixels the edited class may replace.
    blocked : str
        Why a click has no effect now; empty while it has one.
    round : RoundRecord, optional
        The active round.
    tuned : Path, optional
        The tuning whose SAM is used for clicks.
    status : Status
    propagating : str
        Progress of the propagation; empty while none runs.
    stops : tuple of (image id, Plane)
        Drafts at which the last propagation stopped, and that N has not shown yet.
    commits : int
        Number of changes of committed labels since the project was opened.
    """

    active_class: LabelClass
    work: Work = Work()
    image: OpenImage | None = None
    plane: Plane | None = None
    selection: Selection = Selection()
    active_objects: Mapping[int, int] = field(default_factory=dict)
    tool: Tool = "inside"
    unfinished: Mapping[SliceKey, UnfinishedOutline] = field(default_factory=dict)
    corners: int = 0
    over: Over = "free"
    blocked: str = ""
    round: RoundRecord | None = None
    tuned: Path | None = None
    status: Status = Status()
    propagating: str = ""
    stops: tuple[SliceKey, ...] = ()
    commits: int = 0

    @property
    def image_id(self) -> str | None:
        """Id of the open image."""
        return None if self.image is None else self.image.id

    @property
    def key(self) -> SliceKey | None:
        """(image id, Plane) displayed; None without an image or in the 3D view."""
        if self.image is None or self.plane is None:
            return None
        return (self.image.id, self.plane)

    @property
    def prompts(self) -> PromptSet:
        """Prompts of the displayed plane."""
        return PromptSet() if self.key is None else self.work.prompts_at(self.key)

    @property
    def draft(self) -> Draft | None:
        """Draft of the displayed plane."""
        return None if self.key is None else self.work.drafts.get(self.key)

    @property
    def working(self) -> WorkingLabel | None:
        """Working label of the displayed plane, if it was edited."""
        return None if self.key is None else self.work.working_labels.get(self.key)

    @property
    def outline(self) -> UnfinishedOutline | None:
        """Unfinished smooth outline of the displayed plane."""
        return None if self.key is None else self.unfinished.get(self.key)

    @property
    def is_untouched(self) -> bool:
        """Whether the displayed plane has no prompts, no draft and no paint."""
        return self.prompts.is_empty and self.draft is None and self.working is None

    @cached_property
    def drafts(self) -> dict[Plane, Draft]:
        """Drafts of the open image, in the order of their planes."""
        mine = [(p, draft) for (image, p), draft in self.work.drafts.items() if self.is_open(image)]
        # Comparing numbers is much faster than comparing planes, of which there may be hundreds.
        return dict(sorted(mine, key=lambda found: (found[0].axis, found[0].index)))

    @property
    def active_object(self) -> ObjectKey:
        """The object that the next click belongs to; it may have no prompts yet."""
        class_id = self.active_class.id
        newest = max(object_numbers(self.prompts, class_id), default=1)
        chosen = self.active_objects.get(class_id, newest)
        # After an undo, the chosen object may not exist any more.
        return (class_id, min(chosen, another_object(self.prompts, class_id)))

    @property
    def plane_shape(self) -> tuple[int, int]:
        """(rows, cols) of the displayed plane; (0, 0) if there is none."""
        if self.image is None or self.plane is None:
            return (0, 0)
        rows, cols = self.image.volume.plane(self.plane).shape[:2]
        return (rows, cols)

    def is_open(self, image_id: str) -> bool:
        """Whether this image is open."""
        return image_id == self.image_id

    def at(self, plane: Plane | None) -> AnnotationState:
        """The same state at another plane of the image, with nothing selected.

        What was said about the plane that is left is dropped.
        """
        if plane == self.plane:
            return self
        return replace(
            self,
            plane=plane,
            selection=Selection(),
            active_objects={},
            status=self.status.on_leaving(),
        )

    def with_active(self, key: ObjectKey) -> AnnotationState:
        """The same state with `key` as the active object of its class."""
        return replace(self, active_objects={**self.active_objects, key[0]: key[1]})

    def with_outline(self, outline: UnfinishedOutline | None) -> AnnotationState:
        """The same state with another unfinished outline of the displayed plane, or without it."""
        if self.key is None:
            return self
        return replace(self, unfinished=with_outline(self.unfinished, self.key, outline))

    def saying(self, message: str, *, elsewhere: bool = False) -> AnnotationState:
        """The same state with another message, and without an error."""
        return self.doing(self.status.busy, message, elsewhere=elsewhere)

    def doing(self, busy: Busy, message: str, *, elsewhere: bool = False) -> AnnotationState:
        """The same state with another activity and message."""
        said = self.status.said + 1
        return replace(self, status=Status(busy, message, said=said, elsewhere=elsewhere))


class StateStore:
    """Holds the state and its history, and notifies one listener of each change.

    Parameters
    ----------
    state : AnnotationState
        Initial state.
    on_change : callable
        Called after each change.
    """

    def __init__(self, state: AnnotationState, on_change: Callable[[], None]) -> None:
        self._now = state
        self._history = History(state.work)
        self._on_change = on_change

    @property
    def now(self) -> AnnotationState:
        """The state now."""
        return self._now

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return self._history.can_redo

    @property
    def before(self) -> Work | None:
        """The work that undo leads to; None at the beginning."""
        return self._history.before

    @property
    def after(self) -> Work | None:
        """The work that redo leads to; None at the end."""
        return self._history.after

    def put(self, state: AnnotationState) -> None:
        """Replace the state, but keep the work of the present step."""
        self._now = replace(state, work=self._history.present)
        self._on_change()

    def step(self, state: AnnotationState) -> None:
        """Replace the state; its work becomes a step that can be undone."""
        self._history.push(state.work)
        self.put(state)

    def amend(self, state: AnnotationState) -> None:
        """Replace the state; its work replaces the present step."""
        self._history.amend(state.work)
        self.put(state)

    def begin_with(
        self,
        change: Callable[[Work], Work],
        unfinished: Mapping[SliceKey, UnfinishedOutline] | None = None,
    ) -> None:
        """Change the work of all steps, as if it had been so from the start; does not notify.

        Unfinished outlines are added, if there are any.
        """
        self._history.change_all(change)
        outlines = {**self._now.unfinished, **(unfinished or {})}
        self._now = replace(self._now, work=self._history.present, unfinished=outlines)

    @property
    def first(self) -> Work:
        """The work of the oldest step."""
        return self._history.first

    def begin_before(self, steps: Sequence[Work]) -> None:
        """Replace the oldest step by several earlier ones; does not notify."""
        self._history.replace_first(steps)
        self._now = replace(self._now, work=self._history.present)

    def undo(self) -> None:
        """Undo the last step."""
        self._history.undo()
        self.put(replace(self._now, selection=Selection()))

    def redo(self) -> None:
        """Redo the step that was undone last."""
        self._history.redo()
        self.put(replace(self._now, selection=Selection()))

    def say(self, message: str, *, elsewhere: bool = False) -> None:
        """Show `message` in the status line, until the slice is left unless it holds elsewhere."""
        self.put(self._now.saying(message, elsewhere=elsewhere))

    def fail(self, error: Exception) -> None:
        """Show an error's message; an error other than `ScsamError` is a bug and is raised."""
        status = replace(self._now.status, busy="")
        if not isinstance(error, Cancelled):
            status = replace(status, error=str(error))
        self.put(replace(self._now, status=status))
        if not isinstance(error, ScsamError):
            raise error
