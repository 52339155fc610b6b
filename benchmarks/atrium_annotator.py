"""Outline the left atrium in a volume with few actions, through the dock's controllers.

A simulated annotator outlines volumes of ``atrium_la2018/images`` and ``masks`` in a data folder.
It sees the true masks, and does what a person would do in the dock:

1. On the slice with the largest atrium: an exact box, J, Shift+G. Three actions. With
   ``--key-slices N``: on N slices from end to end an exact box and clicks into the largest error
   until the Dice is `KEY_GOOD`, at most `KEY_CLICKS`, and J; Shift+G after the last.
2. On each slice that is flagged, to which N goes, and J from one to the next: J if the draft is
   good (a Dice of `GOOD`, or nothing on either), else one or two clicks into the largest error,
   of which the first is an exact box if the draft is `BAD`, then J. At most three actions for a
   slice.
   A box is one of the largest part of the atrium on its slice.
3. On the first slice with atrium that propagation did not reach: the same, and Shift+G.
4. With ``--look-through``: the slider is dragged through the slices, up to the next draft that is
   not good. Three actions: the drag, a click (or a box if the draft is `BAD`), J.
5. *Commit all*, which is one action.

SAM learns from the committed slices as often as in the dock, unless ``--shipped`` is given: after
three slices, then after every four commits. The dock does that in the background; here the
annotator waits until it has ended. That is not an action.

Every key, click and drag is one action. The last line is one JSON object: for each volume the Dice,
the slices of atrium, and the actions; ``doubtful`` lists the actions of each slice of 2 to 4,
``accepted`` the Dice of those drafts that *Commit all* accepts, ``tunings`` whether each was kept.

``python benchmarks/atrium_annotator.py DATA_FOLDER --volumes 1``
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from heart_annotator import QueueRunner, Recorder, largest_error
from scipy import ndimage

from napari_scsam.annotation.controller import AnnotationController
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import bounding_box
from napari_scsam.inference.previews import Previewer
from napari_scsam.inference.process_client import SegmenterProcess
from napari_scsam.io import read_labels, read_volume
from napari_scsam.project import Project
from napari_scsam.rounds.tuning import POLL_S, TuningController

if TYPE_CHECKING:
    from collections.abc import Callable

# Dice from which the annotator accepts a slice. Arbitrary: the goal for the volume.
GOOD = 0.85
# On key slices. Arbitrary.
KEY_GOOD, KEY_CLICKS = 0.9, 4
# Dice below which a draft is outlined anew by a box. Arbitrary.
BAD = 0.7
# Passes of propagation, at most. Arbitrary.
MOST_PASSES = 4


class Annotator:
    """Acts on the dock's controllers, and counts.

    Parameters
    ----------
    project : Project
    segmenter : SegmenterProcess
    truth : ndarray of shape (slices, rows, cols), uint8
    learns : bool
        Whether SAM is tuned on the committed slices.
    looks_through : bool
        Whether drafts that are not flagged are looked at, too.
    key_slices : int
        Slices to outline before the first propagation; 0 for one box.
    """

    def __init__(
        self,
        project: Project,
        segmenter: SegmenterProcess,
        truth: np.ndarray,
        *,
        learns: bool,
        looks_through: bool,
        key_slices: int,
    ) -> None:
        self.canvas, self.truth, self.actions = Recorder(), truth, 0
        self._runners = [QueueRunner() for _ in range(3)]
        models, files, carrier = self._runners
        self.annotation = AnnotationController(
            project,
            self.canvas,
            Previewer(segmenter, models),
            files,
            lambda _: None,
            segmenter=segmenter,
            carrier=carrier,
        )
        self.doubtful: list[int] = []
        self.accepted: list[float] = []
        self._looks_through, self._key_slices = looks_through, key_slices
        self._tuning = (
            TuningController(project, files, lambda _: None, self.annotation.use_tuned)
            if learns
            else None
        )

    def outline(self, image_id: str) -> None:
        """Outline the volume and commit it."""
        largest = int(self.truth.sum((1, 2)).argmax())
        self.annotation.navigation.open_image(image_id, Plane(0, largest))
        self._settle()
        if self._key_slices:
            self._outline_key_slices()
        else:
            self._box()
            self._commit()
        self._act(self.annotation.propagate)
        for _ in range(MOST_PASSES):
            self._check_flagged()
            if not self._go_on():
                break
        if self._looks_through:
            self._look_through()
        drafts = self.annotation.now.drafts
        self.accepted = [
            round(dice(d.label, self.truth[p.index] > 0), 3) for p, d in drafts.items()
        ]
        if drafts:
            self._act(self.annotation.commit_drafts)

    def _outline_key_slices(self) -> None:
        shown = np.flatnonzero(self.truth.any((1, 2)))
        # In the middle of equal parts: the ends have little atrium.
        parts = np.array_split(shown, self._key_slices)
        for index in (int(part[len(part) // 2]) for part in parts):
            self.annotation.navigation.plane_changed(Plane(0, index))
            self.actions += 1  # a drag of the slider
            true = self.truth[index] > 0
            self._box()
            for _ in range(KEY_CLICKS):
                if dice(self._label(), true) < KEY_GOOD:
                    self._click(true)
            self._commit()

    def _look_through(self) -> None:
        for plane, draft in self.annotation.now.drafts.items():
            true = self.truth[plane.index] > 0
            found = dice(draft.label, true)
            if found >= GOOD:
                continue
            before = self.actions
            self.annotation.navigation.plane_changed(plane)
            self.actions += 1  # a drag of the slider
            if found < BAD and true.any():
                self._box()
            else:
                self._click(true)
            self._commit()
            self.doubtful.append(self.actions - before)

    def _check_flagged(self) -> None:
        while any(draft.flag for draft in self.annotation.now.drafts.values()):
            flagged = [p for p, d in self.annotation.now.drafts.items() if d.flag]
            if self.annotation.now.plane not in flagged:
                self._act(self.annotation.next_to_check)
            self._correct(self.actions)

    def _go_on(self) -> bool:
        """Outline the first slice that was not reached, and propagate; False if there is none."""
        missed = [i for i in range(len(self.truth)) if self.truth[i].any() and not self._has(i)]
        if not missed:
            return False
        before = self.actions
        self.annotation.navigation.plane_changed(Plane(0, missed[0]))
        self.actions += 1  # the slider, or a click on the strip
        self._correct(before)
        self.annotation.navigation.plane_changed(Plane(0, missed[0]))
        self._act(self.annotation.propagate)
        return True

    def _correct(self, before: int) -> None:
        """Accept a slice, or outline it and accept it, with at most three actions."""
        index = self.annotation.now.plane.index
        true = self.truth[index] > 0
        for first in (True, False):
            found = dice(self._label(), true)
            if found >= GOOD or self.actions - before == 2:
                break
            if first and found < BAD and true.any():
                self._box()
            else:
                self._click(true)
        saved = self.annotation.now.commits
        self._commit()
        if self.annotation.now.commits == saved:  # an empty doubtful draft takes two presses
            self._commit()
        self.doubtful.append(self.actions - before)

    def _has(self, index: int) -> bool:
        now = self.annotation.now
        return Plane(0, index) in now.drafts or index in self._committed()

    def _committed(self) -> frozenset[int]:
        return frozenset(self.annotation._presenter._committed.annotated)

    def _label(self) -> np.ndarray:
        preview = self.annotation.preview
        return np.zeros(self.truth.shape[1:], np.uint8) if preview is None else preview

    def _commit(self) -> None:
        saved = self.annotation.now.commits
        self._act(self.annotation.accept_and_next)
        if self._tuning is not None and self.annotation.now.commits != saved:
            self._tuning.committed()
            self._settle()
            while self._tuning.state.running:
                time.sleep(POLL_S)
                self._tuning.tick()
                self._settle()

    def _click(self, true: np.ndarray) -> None:
        error = largest_error(self._label() > 0, true)
        if error is not None:
            self._act(self.canvas.listener.add_point, *error)

    def _box(self) -> None:
        parts, _ = ndimage.label(self.truth[self.annotation.now.plane.index] > 0, np.ones((3, 3)))
        largest = int(np.bincount(parts.ravel())[1:].argmax()) + 1
        self._act(self.canvas.listener.set_box, bounding_box(parts == largest))

    def _act(self, action: Callable[..., None], *values: Any) -> None:
        action(*values)
        self.actions += 1
        self._settle()

    def _settle(self) -> None:
        while any(runner.queue for runner in self._runners):
            for runner in self._runners:
                runner.work()


def dice(label: np.ndarray, true: np.ndarray) -> float:
    """Dice; 1 if nothing is on either."""
    ours = label > 0
    total = int(ours.sum() + true.sum())
    return 1.0 if not total else 2 * float((ours & true).sum()) / total


def measure(
    data: Path, count: int, *, first: int, learns: bool, **how: Any
) -> list[dict[str, Any]]:
    """Outline `count` volumes; `how` are the other options of `Annotator`."""
    found = []
    for image in sorted((data / "atrium_la2018" / "images").iterdir())[first : first + count]:
        began = time.perf_counter()
        mask = data / "atrium_la2018" / "masks" / image.name
        truth = (read_labels(mask, read_volume(image)) > 0).astype(np.uint8)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            segmenter = SegmenterProcess(folder / "cache")
            with Project.create(folder / "project", ["atrium"], modality="mr") as project:
                (image_id,) = project.add_images([image])
                annotator = Annotator(project, segmenter, truth, learns=learns, **how)
                annotator.outline(image_id)
                saved, tunings = project.label(image_id), project.tunings()
                annotator.annotation.close()
            segmenter.close()
        assert saved is not None
        found.append(
            {
                "volume": image.name,
                "dice": round(dice(np.where(saved == 255, 0, saved), truth > 0), 3),
                "slices": int(truth.any((1, 2)).sum()),
                "actions": annotator.actions,
                "doubtful": annotator.doubtful,
                "accepted": annotator.accepted,
                "tunings": [tuning.kept for tuning in tunings],
                "seconds": round(time.perf_counter() - began),
            }
        )
    return found


def main() -> None:
    """Read the arguments, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--volumes", type=int, default=1)
    parser.add_argument("--skip", type=int, default=0, help="volumes to leave out first")
    parser.add_argument("--shipped", action="store_true", help="never tune SAM")
    parser.add_argument("--look-through", action="store_true", help="at drafts without a flag, too")
    parser.add_argument("--key-slices", type=int, default=0, help="outlined before propagation")
    options = parser.parse_args()
    found = measure(
        options.data,
        options.volumes,
        first=options.skip,
        learns=not options.shipped,
        looks_through=options.look_through,
        key_slices=options.key_slices,
    )
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
