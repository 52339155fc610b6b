"""The annotation loop without Qt: fakes for canvas, models and runner, on a real project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from napari_scsam.controllers.annotation import AnnotationController
from napari_scsam.controllers.inference import Answer, Question
from napari_scsam.controllers.ports import Canvas
from napari_scsam.controllers.previews import Previewer
from napari_scsam.core.errors import Cancelled
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, Job, ignore_progress
from napari_scsam.core.prompts import PointPrompt, PromptSet
from napari_scsam.project import Project


class ManualRunner:
    """Runs nothing until it is told to: the test decides when answers come."""

    def __init__(self) -> None:
        self.queue: list[tuple[Job, Callable[..., Any], Callable[..., Any], CancelToken]] = []

    def run(self, job: Job, on_done: Any, on_failed: Any, on_progress: Any = None) -> CancelToken:
        token = CancelToken()
        self.queue.append((job, on_done, on_failed, token))
        return token

    def work(self, *, ignore_cancel: bool = False) -> None:
        """Run all that is queued, and what that queues."""
        while self.queue:
            job, on_done, on_failed, token = self.queue.pop(0)
            if token.cancelled and not ignore_cancel:
                on_failed(Cancelled("Cancelled."))
                continue
            try:
                result = job.function(ignore_progress, token)
            except Exception as error:  # noqa: BLE001 - a runner's boundary
                on_failed(error)
            else:
                on_done(result)


class FakeCanvas(Canvas):
    """Remembers what it was told to show."""

    def __init__(self) -> None:
        self.listener: Any = None
        self.shape: tuple[int, ...] = ()
        self.at: Plane | None = None
        self.points: list[PointPrompt] = []
        self.prompts = PromptSet()
        self.indices = [0, 0, 0]
        self.drag = "pan"
        self.previews: dict[Plane, Any] = {}
        self.committed: Any = None
        self.limits: list[Any] = []

    def listen(self, listener: Any) -> None:
        self.listener = listener

    def open_image(self, name: str, volume: Any, label: Any, classes: Sequence[Any]) -> None:
        self.shape, self.committed, self.previews = volume.shape, label, {}

    def show_window(self, limits: Any) -> None:
        self.limits.append(limits)

    def close_image(self) -> None:
        self.at = None

    @property
    def plane(self) -> Plane | None:
        return self.at

    def go_to(self, plane: Plane) -> None:
        if self.at != plane:
            self.at = plane
            self.listener.plane_changed(plane)

    def index_along(self, axis: int) -> int:
        return self.indices[axis]

    def set_drag(self, drag: Any) -> None:
        self.drag = drag

    def show_prompts(
        self,
        plane: Plane,
        prompts: PromptSet,
        selected: Any = None,
        line: Any = None,
        active: Any = None,
    ) -> None:
        self.points, self.prompts = list(prompts.points), prompts
        self.selected, self.line, self.active = selected, line, active

    def show_preview(self, plane: Plane, label: Any) -> None:
        self.previews[plane] = label

    def show_committed(self, label: Any) -> None:
        self.committed = label


class FakeSegmenter:
    """Paints a 3 x 3 square round every inside point; suggests what it is given."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.proposals: list[PointPrompt] = []

    def decode(self, question: Question) -> Answer:
        self.asked.append(question)
        preview = np.zeros(question.pixels.shape[:2], np.uint8)
        for point in question.prompts.points:
            if point.positive and point.state != "rejected":
                row, col = round(point.row), round(point.col)
                preview[row - 1 : row + 2, col - 1 : col + 2] = point.class_id
        return Answer(question.prompts, preview, "points")

    def suggest(self, question: Question, class_ids: Any) -> Answer:
        prompts = type(question.prompts)((*question.prompts.points, *self.proposals))
        return self.decode(Question(question.key, question.pixels, prompts, question.round_folder))


class Desk:
    """Everything that one test needs."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.canvas, self.segmenter = FakeCanvas(), FakeSegmenter()
        self.inference, self.files = ManualRunner(), ManualRunner()
        self.states: list[Any] = []
        self.annotation = AnnotationController(
            project,
            self.canvas,
            Previewer(self.segmenter, self.inference),  # type: ignore[arg-type]
            self.files,
            self.states.append,
        )

    @property
    def state(self) -> Any:
        return self.states[-1]

    def settle(self) -> None:
        while self.inference.queue or self.files.queue:
            self.inference.work()
            self.files.work()
