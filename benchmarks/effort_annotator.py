"""A simulated annotator at the dock's controllers, who counts prompts, actions and seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from heart_annotator import QueueRunner, Recorder
from scipy import ndimage

from napari_scsam.annotation.controller import AnnotationController
from napari_scsam.annotation.scene import shown_points
from napari_scsam.core.prompt_edits import is_question
from napari_scsam.core.prompts import PointPrompt, bounding_box, deepest
from napari_scsam.inference.prefetch import LookAhead
from napari_scsam.inference.previews import Previewer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from effort_cases import Task

    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.inference.segmenter import Segmenter
    from napari_scsam.project import Project

# Seconds that the annotator looks at a slice, and that an action takes. Given by the specification.
LOOK_S, ACTION_S = 3.0, 1.5
# Dice from which a class is good enough. Given by the specification.
GOOD = 0.90
# Dice below which the annotator clicks into the middle of a structure, as if nothing had been
# suggested, rather than correct what was. Arbitrary.
ANEW = 0.8
# What preparing the next slices may take. Arbitrary.
LONGEST_S = 300.0
# Errors of a class that are considered, the largest first. Arbitrary.
MOST_ERRORS = 5


@dataclass
class Clock:
    """The annotator's time.

    Attributes
    ----------
    seconds : float
        Looking, acting and waiting.
    waited, waited_wall : float
        Seconds until what was asked for was displayed: of processor time, which count, and as they
        passed on this machine, where other programs may have been running.
    """

    seconds: float = 0.0
    waited: float = 0.0
    waited_wall: float = 0.0

    def spend(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds

    def wait_for(self, work: Callable[[], None]) -> None:
        """Do something that the annotator waits for."""
        wall, processor = time.perf_counter(), time.process_time()
        work()
        waited = time.process_time() - processor
        self.waited_wall += time.perf_counter() - wall
        self.waited += waited
        self.seconds += waited


@dataclass
class Effort:
    """What one slice took.

    Attributes
    ----------
    prompts : int
        Clicks, boxes, and corrections of suggestions (a rejection, a deleted point).
    actions : int
        Every key, click and drag, J included.
    dice : list of dict
        Dice of each class: as suggested, and after each prompt.
    """

    prompts: int = 0
    actions: int = 0
    dice: list[dict[int, float]] = field(default_factory=list)


class Annotator:
    """Outlines slices through the dock's controllers.

    It sees the true label. It corrects the class that is worst: those without any outline first,
    in the order of the task. It clicks into the middle of the largest error, or draws a box around
    the true part. Where another class lies in the way, it clicks outside of that one; where a point
    made the error, it deletes the point. What was suggested badly is not corrected: it clicks into
    the middle of the structure, or draws a box around it.

    Parameters
    ----------
    project : Project
    segmenter : Segmenter
        In this process, so that its processor time is measured.
    task : Task
    boxes : bool
        Whether it draws boxes.
    """

    def __init__(self, project: Project, segmenter: Segmenter, task: Task, *, boxes: bool) -> None:
        self._task, self._boxes = task, boxes
        self.clock, self.effort = Clock(), Effort()
        self._tried: set[tuple[Any, ...]] = set()
        self._canvas = Recorder()
        self._runners = [QueueRunner() for _ in range(3)]
        models, files, carrier = self._runners
        previewer = Previewer(segmenter, models)
        self._segmenter = segmenter
        self.annotation = AnnotationController(
            project,
            self._canvas,
            previewer,
            files,
            lambda _: None,
            segmenter=segmenter,
            carrier=carrier,
        )
        order = self.annotation.navigation.queue.order
        order.refresh()
        self._look_ahead = LookAhead(project, previewer, files, order)
        # Seconds until what is prepared for the next slice is there, from the time on at which the
        # annotator looks at this one.
        self._prepared_at = 0.0

    def open(self, key: SliceKey) -> None:
        """Open the first slice, and have suggestions made."""
        self.annotation.navigation.open_image(*key)
        self.settle()
        self.annotation.suggest()
        self.clock.wait_for(self.settle)

    def outline(self, truth: np.ndarray) -> Effort:
        """Outline the displayed slice until each class is good, or until nothing more is allowed.

        Parameters
        ----------
        truth : ndarray of shape (rows, cols), uint8
        """
        self.effort, self._tried = Effort(), set()
        self._prepare_next()
        self.clock.spend(LOOK_S)
        self.effort.dice.append(dice(self.label, truth, self._task))
        most = self._task.most_prompts * len(set(np.unique(truth).tolist()) - {0})
        while not good(self.effort.dice[-1]) and self.effort.prompts < most:
            before = self.effort.prompts
            if not self._correct(truth):
                break
            assert self.effort.prompts > before
            self.effort.dice.append(dice(self.label, truth, self._task))
        if not good(self.effort.dice[-1]):
            self.effort.prompts = most
        return self.effort

    def commit(self) -> None:
        """Press J, the first half of it: what is displayed is saved."""
        self._act(self.annotation.commit)

    def go_on(self) -> None:
        """The second half of J: the next slice, and what is suggested on it, are displayed."""
        late = max(0.0, self._prepared_at - self.clock.seconds)
        self.clock.waited += late
        self.clock.spend(late)
        self.annotation.navigation.next_draft()
        self.clock.wait_for(self.settle)

    def _prepare_next(self) -> None:
        """Have the next slices prepared, as the window does while the annotator looks."""
        began, question = time.process_time(), self.annotation.outlines.current_question
        assert question is not None
        self._look_ahead.around(*question)
        self.settle()
        assert self._segmenter.wait_ahead(LONGEST_S)
        self._prepared_at = self.clock.seconds + time.process_time() - began

    @property
    def label(self) -> np.ndarray:
        """The displayed label."""
        preview = self.annotation.preview
        return np.zeros(self.annotation.now.plane_shape, np.uint8) if preview is None else preview

    # ---------------------------------------------------------------- corrections

    def _correct(self, truth: np.ndarray) -> bool:
        """Make one prompt; False if there is nothing left to try."""
        label, found = self.label, self.effort.dice[-1]
        return any(
            self._fix(class_id, mask, truth, inside=inside)
            for class_id in self._worst_first(label, found)
            for mask, inside in self._errors(class_id, label, truth)
        )

    def _errors(
        self, class_id: int, label: np.ndarray, truth: np.ndarray
    ) -> Iterator[tuple[np.ndarray, bool]]:
        """Yield what to correct: of a bad suggestion the structure itself, then as `errors`."""
        ours, true = label == class_id, truth == class_id
        if any(p.state == "proposed" for _, p in self._points_of(class_id)) and true.any():
            part = largest_part(true)
            if overlap(touching(ours, part), part) < ANEW:
                yield part, True
        yield from errors(ours, true)

    def _worst_first(self, label: np.ndarray, found: dict[int, float]) -> list[int]:
        bad = [c for c in self._task.classes if c in found and found[c] < GOOD]
        missing = [c for c in bad if not (label == c).any()]
        return missing + sorted((c for c in bad if c not in missing), key=lambda c: found[c])

    def _fix(self, class_id: int, mask: np.ndarray, truth: np.ndarray, *, inside: bool) -> bool:
        """Correct one error; False if it was tried before."""
        row, col = deepest(mask)
        if inside:
            return self._add(class_id, (int(row), int(col)), truth)
        point = self._point_in(class_id, mask)
        return self._remove(class_id, (int(row), int(col)), point)

    def _add(self, class_id: int, at: tuple[int, int], truth: np.ndarray) -> bool:
        other = int(self.label[at])
        if other not in (0, class_id):
            return self._remove(other, at, None)
        part = part_at(truth == class_id, at)
        box = bounding_box(part)
        if self._boxes and self._is_new("box", class_id, box):
            self._pick(class_id)
            self._prompt(self._canvas.listener.set_box, box)
            return True
        if not self._is_new("in", class_id, at):
            return False
        self._pick(class_id)
        if self._points_of(class_id) and not (part & (self.label == class_id)).any():
            self._act(self.annotation.editor.new_object)
        else:
            self._activate(class_id, at)
        self._prompt(self._canvas.listener.add_point, *map(float, at), True)
        return True

    def _remove(self, class_id: int, at: tuple[int, int], point: int | None) -> bool:
        if point is not None:
            self._act(self._canvas.listener.select_point, point)
            self._prompt(self._canvas.listener.delete_selected)
            return True
        if not self._is_new("out", class_id, at):
            return False
        self._pick(class_id)
        self._activate(class_id, at)
        self._prompt(self._canvas.listener.add_point, *map(float, at), False)
        return True

    def _is_new(self, *what: Any) -> bool:
        """Whether this was not tried on the slice before; it counts as tried from now on."""
        known = what in self._tried
        self._tried.add(what)
        return not known

    def _points_of(self, class_id: int) -> list[tuple[int, PointPrompt]]:
        """Return the displayed inside points of a class, with their positions among all.

        Questions are left out: they have no part in the outline.
        """
        prompts = self.annotation.prompts
        shown = [prompts.points[i] for i in shown_points(prompts)]
        of_class = [(i, p) for i, p in enumerate(shown) if p.class_id == class_id and p.positive]
        return [(i, p) for i, p in of_class if not is_question(p)]

    def _point_in(self, class_id: int, mask: np.ndarray) -> int | None:
        found = (i for i, p in self._points_of(class_id) if mask[round(p.row), round(p.col)])
        return next(found, None)

    def _activate(self, class_id: int, at: tuple[int, int]) -> None:
        """Make the nearest object of a class the one that the next click belongs to."""
        points = self._points_of(class_id)
        if not points:
            return
        index, nearest = min(
            points, key=lambda found: np.hypot(found[1].row - at[0], found[1].col - at[1])
        )
        if nearest.object_key != self.annotation.now.active_object:
            self._act(self._canvas.listener.select_point, index)

    def _pick(self, class_id: int) -> None:
        if self.annotation.now.active_class.id != class_id:
            self._act(self.annotation.editor.set_class, class_id)

    def _prompt(self, action: Callable[..., None], *values: Any) -> None:
        self.effort.prompts += 1
        self._act(action, *values)

    def _act(self, action: Callable[..., None], *values: Any) -> None:
        self.effort.actions += 1
        self.clock.spend(ACTION_S)
        action(*values)
        self.clock.wait_for(self.settle)

    def settle(self) -> None:
        """Do all that the models and the files have to do."""
        while any(runner.queue for runner in self._runners):
            for runner in self._runners:
                runner.work()


def dice(label: np.ndarray, truth: np.ndarray, task: Task) -> dict[int, float]:
    """Return the Dice of each class that is on either."""
    found = {}
    for class_id in task.classes:
        ours, true = label == class_id, truth == class_id
        if ours.any() or true.any():
            found[class_id] = overlap(ours, true)
    return found


def overlap(ours: np.ndarray, true: np.ndarray) -> float:
    """Return the Dice of two masks of which one is not empty."""
    return 2 * float((ours & true).sum()) / float(ours.sum() + true.sum())


def good(found: dict[int, float]) -> bool:
    """Whether each class is good enough."""
    return all(value >= GOOD for value in found.values())


def errors(ours: np.ndarray, true: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield the largest connected errors, and whether they are missing (True) or too much."""
    found = []
    for inside, wrong in ((True, true & ~ours), (False, ours & ~true)):
        parts, count = ndimage.label(wrong)
        sizes = np.bincount(parts.ravel(), minlength=count + 1).tolist()
        found += [(sizes[number], parts, number, inside) for number in range(1, count + 1)]
    found.sort(key=lambda one: -one[0])
    return ((parts == number, inside) for _, parts, number, inside in found[:MOST_ERRORS])


def largest_part(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a mask."""
    parts, _ = ndimage.label(mask)
    found: np.ndarray = parts == 1 + np.bincount(parts[mask])[1:].argmax()
    return found


def touching(mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the connected parts of a mask that overlap another one."""
    parts, _ = ndimage.label(mask)
    found: np.ndarray = np.isin(parts, np.unique(parts[mask & other]))
    return found & mask


def part_at(mask: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    """Return the connected part of a mask that contains a pixel."""
    parts, _ = ndimage.label(mask)
    found: np.ndarray = parts == parts[at]
    return found
