"""The annotation loop without Qt: fakes for canvas, models and runner, on a real project."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.annotation.canvas import Canvas, CanvasListener
from napari_scsam.annotation.controller import AnnotationController
from napari_scsam.annotation.scene import Scene
from napari_scsam.core.errors import Cancelled
from napari_scsam.core.jobs import CancelToken, Job, ignore_progress
from napari_scsam.core.prompt_edits import to_decode
from napari_scsam.inference.messages import Answer, Question
from napari_scsam.inference.previews import Previewer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.core.geometry import Plane
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
    """Remembers the scene that it was to draw."""

    def __init__(self) -> None:
        self.listener = CanvasListener()
        self.scene = Scene()
        self.scenes: list[Scene] = []
        self.at: Plane | None = None
        self.indices = [0, 0, 0]

    def listen(self, listener: CanvasListener) -> None:
        self.listener = listener

    def render(self, scene: Scene) -> None:
        self.scene, self.at = scene, scene.plane
        self.scenes.append(scene)

    def index_along(self, axis: int) -> int:
        return self.indices[axis]

    def go_to(self, plane: Plane | None) -> None:
        """Move the slider."""
        if self.at != plane:
            self.at = plane
            self.listener.plane_changed(plane)

    @property
    def prompts(self) -> PromptSet:
        return self.scene.prompts.prompts

    @property
    def points(self) -> list[PointPrompt]:
        return list(self.prompts.points)

    @property
    def line(self) -> Any:
        return self.scene.prompts.line

    @property
    def active(self) -> Any:
        return self.scene.prompts.active

    @property
    def previews(self) -> dict[Plane, Any]:
        """Masks by plane; None where nothing is drawn."""
        masks = {plane: mask.label for plane, mask in self.scene.masks.items()}
        if self.scene.crossing is not None and self.scene.plane is not None:
            masks[self.scene.plane] = self.scene.crossing.label
        return defaultdict(lambda: None, masks)


class FakeSegmenter:
    """Fills every box, and a 3 x 3 square round every inside point; suggests what it is given."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.proposals: list[PointPrompt] = []
        self.from_outlines = 0

    def decode(self, question: Question) -> Answer:
        self.asked.append(question)
        preview = np.zeros(question.pixels.shape[:2], np.uint8)
        for (class_id, _), box in question.prompts.boxes.items():
            r0, c0, r1, c1 = (round(side) for side in box)
            preview[r0 : r1 + 1, c0 : c1 + 1] = class_id
        for point in to_decode(question.prompts).points:
            if point.positive and point.state != "rejected":
                row, col = round(point.row), round(point.col)
                preview[row - 1 : row + 2, col - 1 : col + 2] = point.class_id
        return Answer(question.prompts, preview, "points")

    def suggest(self, question: Question, class_ids: Any) -> Answer:
        prompts = type(question.prompts)((*question.prompts.points, *self.proposals))
        answer = self.decode(
            Question(question.key, question.pixels, prompts, question.round_folder)
        )
        return replace(answer, from_outlines=self.from_outlines)


class Desk:
    """Everything that one test needs."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.canvas, self.segmenter = FakeCanvas(), self.make_segmenter()
        self.inference, self.files, self.carrier = ManualRunner(), ManualRunner(), ManualRunner()
        self.states: list[Any] = []
        self.annotation = AnnotationController(
            project,
            self.canvas,
            Previewer(self.segmenter, self.inference),  # type: ignore[arg-type]
            self.files,
            self.states.append,
            segmenter=self.segmenter,  # type: ignore[arg-type]
            carrier=self.carrier,
        )

    def make_segmenter(self) -> Any:
        return FakeSegmenter()

    def use_round(self) -> None:
        """Let there be an active round, though its folder is not there."""
        store = self.annotation._store
        made = type("Round", (), {"folder": Path("round"), "number": 1})()
        store.put(replace(store.now, round=made))

    def forget_image(self) -> None:
        """Have the next image opened anew, though it is open."""
        store = self.annotation._store
        store.put(replace(store.now, image=None))

    @property
    def state(self) -> Any:
        return self.states[-1]

    def settle(self) -> None:
        while self.inference.queue or self.files.queue:
            self.inference.work()
            self.files.work()
