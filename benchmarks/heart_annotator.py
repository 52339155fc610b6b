"""Outline three-class hearts with few actions, through the annotation controllers of the dock.

A simulated annotator outlines left ventricle, myocardium and right ventricle on middle slices of
ACDC, from a data folder that holds ``cardiac_acdc/images`` and ``cardiac_acdc/masks``. It sees the
true masks, and does what a person would do in the dock, without brush and freehand:

1. for each ventricle, a key that picks it and a box around it, each side of which is off by up to
   ``--jitter`` pixels (0 unless given);
2. a key that picks the myocardium, and a smooth outline of ``--vertices`` clicks along its outer
   border, at equal distances, the first one to the right of the heart. Each is off by up to
   ``--jitter`` pixels in rows and columns. The ventricles are protected, so that the wall remains.
   The key of the tool is pressed once, on the first slice: boxes are drawn with any tool;
3. J, which completes the outline and saves the slice.

With ``--vertices 0`` the wall gets a box, too, and the actions that are left go into corrections:
while a class is below ``ENOUGH``, a click in the middle of the largest error of the worst class,
inside or outside (and the key that picks the class, if it is not active). A click that makes the
mean Dice worse is undone, which is an action, too.

Every key, click and drag is one action. The last line is one JSON object: the mean Dice of each
class over the slices, and the mean and greatest number of actions. Order, number and place of the
vertices were chosen on the first 20 patients; ``--skip 20`` takes the others.

``python benchmarks/heart_annotator.py DATA_FOLDER --skip 20 --jitter 1``
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours

from napari_scsam.annotation.canvas import Canvas, CanvasListener
from napari_scsam.annotation.controller import AnnotationController
from napari_scsam.core.errors import Cancelled, ScsamError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, Job, ignore_progress
from napari_scsam.core.prompts import bounding_box, deepest
from napari_scsam.inference.previews import Previewer
from napari_scsam.inference.process_client import SegmenterProcess
from napari_scsam.io import read_labels, read_volume
from napari_scsam.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_scsam.annotation.scene import Scene

CLASSES = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
# The wall last: it then gets what its two neighbours leave.
ORDER = (3, 1, 2)
WALL, CAVITY = 2, 3
VERTICES = 5  # of the outline of the wall
# Actions of one slice, J included; the limit of the specification.
MOST_ACTIONS = 12
# Dice, and the largest error in pixels that is not worth a click. Arbitrary.
ENOUGH = 0.95
SMALL_ERROR = 10


class QueueRunner:
    """Runs jobs when `work` is called."""

    def __init__(self) -> None:
        self.queue: list[tuple[Job, Callable[..., Any], Callable[..., Any], CancelToken]] = []

    def run(self, job: Job, on_done: Any, on_failed: Any, _on_progress: Any = None) -> CancelToken:
        """Queue a job."""
        token = CancelToken()
        self.queue.append((job, on_done, on_failed, token))
        return token

    def work(self) -> None:
        """Run what is queued."""
        while self.queue:
            job, on_done, on_failed, token = self.queue.pop(0)
            if token.cancelled:
                on_failed(Cancelled("Cancelled."))
                continue
            try:
                result = job.function(ignore_progress, token)
            except ScsamError as error:
                on_failed(error)
            else:
                on_done(result)


class Recorder(Canvas):
    """Draws nothing."""

    def __init__(self) -> None:
        self.listener = CanvasListener()

    def listen(self, listener: CanvasListener) -> None:
        """Send all further reports to `listener`."""
        self.listener = listener

    def render(self, _scene: Scene) -> None:
        """Draw nothing."""

    def index_along(self, _axis: int) -> int:
        """Position of the view."""
        return 0


class Annotator:
    """Acts on the dock's controllers, and counts.

    Parameters
    ----------
    project : Project
    segmenter : SegmenterProcess
    """

    def __init__(self, project: Project, segmenter: SegmenterProcess) -> None:
        self.canvas = Recorder()
        self._models, self._files = QueueRunner(), QueueRunner()
        self.annotation = AnnotationController(
            project,
            self.canvas,
            Previewer(segmenter, self._models),
            self._files,
            lambda _: None,
            segmenter=segmenter,
            carrier=QueueRunner(),
        )
        self.actions = 0

    def open(self, image_id: str, index: int) -> None:
        """Open a slice; not an action: the slice before it ended with J."""
        self.annotation.navigation.open_image(image_id, Plane(0, index))
        self._settle()
        self.actions = 0

    def outline(self, truth: np.ndarray, off: Callable[..., np.ndarray], vertices: int) -> None:
        """Outline a slice and commit it.

        `off` gives the errors of coordinates, in an array of the shape that it is called with.
        """
        for class_id in ORDER:
            self._pick(class_id)
            if class_id == WALL and vertices:
                self._click_along(outer_border(truth), vertices, off)
                continue
            box = np.array(bounding_box(truth == class_id)) + off(4)
            self._act(self.canvas.listener.set_box, tuple(box.tolist()))
        while not vertices and self._correct(truth):
            pass
        self._act(self.annotation.commit)

    def _click_along(self, border: np.ndarray, count: int, off: Callable[..., np.ndarray]) -> None:
        if self.annotation.now.tool != "smooth":
            self._act(self.annotation.pick_tool, "smooth")
        places = [(float(row), float(col)) for row, col in spread(border, count) + off(count, 2)]
        for number in range(1, count + 1):
            self._act(self.canvas.listener.set_vertices, places[:number])

    @property
    def label(self) -> np.ndarray:
        """The displayed label."""
        preview = self.annotation.preview
        return np.zeros(self.annotation.now.plane_shape, np.uint8) if preview is None else preview

    def _correct(self, truth: np.ndarray) -> bool:
        """Click once; False if there is nothing to gain, or no action left."""
        before = self.label.copy()
        found = dice(before, truth)
        for class_id in sorted(found, key=lambda c: found[c]):
            switch = int(self.annotation.now.active_class.id != class_id)
            # A bad click must still be undone, and J pressed.
            if found[class_id] >= ENOUGH or self.actions + switch + 3 > MOST_ACTIONS:
                continue
            click = largest_error(before == class_id, truth == class_id)
            if click is None:
                continue
            self._pick(class_id)
            self._act(self.canvas.listener.add_point, *click)
            after = dice(self.label, truth)
            if sum(after.values()) > sum(found.values()):
                return True
            self._act(self.annotation.undo)
            return False
        return False

    def _pick(self, class_id: int) -> None:
        if self.annotation.now.active_class.id != class_id:
            self._act(self.annotation.editor.set_class, class_id)

    def _act(self, action: Callable[..., None], *values: Any) -> None:
        action(*values)
        self.actions += 1
        self._settle()

    def _settle(self) -> None:
        while self._models.queue or self._files.queue:
            self._models.work()
            self._files.work()


def dice(label: np.ndarray, truth: np.ndarray) -> dict[int, float]:
    """Dice of each class."""
    found = {}
    for class_id in CLASSES:
        ours, true = label == class_id, truth == class_id
        found[class_id] = 2 * float((ours & true).sum()) / float(ours.sum() + true.sum())
    return found


def outer_border(truth: np.ndarray) -> np.ndarray:
    """Outer border of the wall, as (row, col) along it; the last place is the first one."""
    filled = ndimage.binary_fill_holes(np.isin(truth, (WALL, CAVITY)))
    border = max(find_contours(np.pad(filled, 1).astype(float), 0.5), key=len)
    return np.asarray(border - 1)


def spread(border: np.ndarray, count: int) -> np.ndarray:
    """Places at equal distances along a border, the first one to the right of its middle."""
    away = border - border.mean(axis=0)
    begins = int(np.abs(np.arctan2(away[:, 0], away[:, 1])).argmin())
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(border, axis=0).T))])
    at = (along[begins] + along[-1] * np.arange(count) / count) % along[-1]
    return np.stack([np.interp(at, along, border[:, axis]) for axis in (0, 1)], axis=1)


def largest_error(ours: np.ndarray, true: np.ndarray) -> tuple[float, float, bool] | None:
    """(row, col, inside) in the middle of the largest connected error; None if it is small."""
    errors = []
    for inside, wrong in ((True, true & ~ours), (False, ours & ~true)):
        parts, count = ndimage.label(wrong)
        errors += [((parts == part), inside) for part in range(1, count + 1)]
    if not errors:
        return None
    mask, inside = max(errors, key=lambda error: int(error[0].sum()))
    if mask.sum() <= SMALL_ERROR:
        return None
    row, col = deepest(mask)
    return float(row), float(col), inside


def cases(folder: Path, count: int, skip: int = 0) -> Iterator[tuple[Path, int, np.ndarray]]:
    """The first volume of each patient after `skip` whose middle slice shows all classes."""
    images = sorted((folder / "cardiac_acdc" / "images").iterdir())
    patients = sorted({image.name.split("_")[0] for image in images})
    seen: set[str] = set()
    for image in images:
        patient = image.name.split("_")[0]
        mask = folder / "cardiac_acdc" / "masks" / image.name
        if patient in seen or len(seen) == count or patient in patients[:skip]:
            continue
        truth = read_labels(mask, read_volume(image))
        at = len(truth) // 2
        if set(CLASSES) <= set(np.unique(truth[at]).tolist()):
            seen.add(patient)
            yield image, at, truth[at]


def measure(data: Path, options: argparse.Namespace, seed: int = 0) -> dict[str, Any]:
    """Outline the slices."""
    rng, jitter = np.random.default_rng(seed), options.jitter
    scores, actions = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        segmenter = SegmenterProcess(folder / "cache")
        names = list(CLASSES.values())
        with Project.create(folder / "project", names, modality="mr") as project:
            annotator = Annotator(project, segmenter)
            for image, at, truth in cases(data, options.slices, options.skip):
                (image_id,) = project.add_images([image])
                annotator.open(image_id, at)
                annotator.outline(
                    truth, lambda *shape: rng.uniform(-jitter, jitter, shape), options.vertices
                )
                saved = project.label(image_id)
                assert saved is not None
                scores.append(dice(saved[at], truth))
                actions.append(annotator.actions)
                found = {c: round(d, 3) for c, d in scores[-1].items()}
                sys.stdout.write(f"{image.name} {found} {actions[-1]}\n")
            annotator.annotation.close()
        segmenter.close()
    return {
        "slices": len(scores),
        "dice": {
            name: round(float(np.mean([s[c] for s in scores])), 3) for c, name in CLASSES.items()
        },
        "mean_actions": round(float(np.mean(actions)), 1),
        "most_actions": max(actions),
    }


def main() -> None:
    """Read the arguments, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--jitter", type=float, default=0.0, help="pixels; 0 by default")
    parser.add_argument("--vertices", type=int, default=VERTICES, help="of the wall; 0: a box")
    parser.add_argument("--skip", type=int, default=0, help="patients to leave out first")
    found = parser.parse_args()
    sys.stdout.write(json.dumps(measure(found.data, found)) + "\n")


if __name__ == "__main__":
    main()
