"""Kill a round or a tuning at a random moment, and check what is left of it and of the project.

Run as ``python killing_training.py FOLDER SEED COUNT``: each of the trials forks a process that
begins a round or a tuning, trains and adopts it, as window and training do, and kills it after a
random time. The project must then open without a note, hold every label and every round or tuning
that was acknowledged, and begin the next one. In the end both run to their end. The last line
counts the trials of each kind that were killed, and that ended before.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
import tifffile
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from killed_fork import killed
from test_training_tuning import disc_plane, toy_base

from napari_scsam.core.settings import TrainSettings, TuneSettings
from napari_scsam.project import Project
from napari_scsam.project.rounds import _fault_of
from scsam_train.__main__ import main as train
from scsam_train.tuning.__main__ import main as tune

if TYPE_CHECKING:
    from collections.abc import Callable

ROUND = TrainSettings(
    recipe="supervised",
    steps=4,
    image_size=32,
    unlabelled_planes=0,
    unet="pretrained",
    device="cpu",
    labelled_batch=2,
)
TUNING = TuneSettings(seconds=60, steps=2, batch=2, lora_rank=2, device="cpu")


class Trials:
    """A project of three labelled pictures, and what is known to be in it.

    Parameters
    ----------
    folder : Path
        Empty.
    seed : int
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder / "project", np.random.default_rng(seed)
        self.labels = {}
        with Project.create(self.folder, ["disc"]) as project:
            for number in range(3):
                plane = disc_plane(number)
                path = folder / f"{number}.tif"
                tifffile.imwrite(path, plane.pixels.clip(0, 255).astype(np.uint8))
                (image,) = project.add_images([path])
                project.commit(image, plane.label)
                self.labels[image] = plane.label
        self.longest = {kind: self.whole(kind) for kind in ("train", "tune")}

    def whole(self, kind: str) -> float:
        """Train or tune to the end, in a forked process; the seconds that it took."""
        began = time.monotonic()
        before = self.finished(kind)
        killed, acknowledged = self.killed(kind, 600)
        assert not killed and acknowledged
        assert self.finished(kind) > before
        return time.monotonic() - began

    def run(self, count: int) -> Counter[str]:
        """Run trials, of both kinds in turn, and then both to the end."""
        counts: Counter[str] = Counter()
        for number in range(count):
            kind = ("train", "tune")[number % 2]
            before = self.finished(kind)
            killed, acknowledged = self.killed(kind, self.rng.uniform(0, self.longest[kind]))
            after = self.finished(kind)
            assert after > before if acknowledged else after >= before, "a finished one is lost"
            self.check()
            counts[f"{kind}: {'killed' if killed else 'done'}"] += 1
        for kind in ("train", "tune"):
            self.whole(kind)
        self.check()
        return counts

    def finished(self, kind: str) -> int:
        """The number of the last round or tuning that the project knows; it opens without notes."""
        with Project.open(self.folder) as project:
            assert project.notes == []
            records = project.rounds() if kind == "train" else project.tunings()
            return records[-1].number if records else 0

    def check(self) -> None:
        """All labels and weights are those that were written, and the next round can begin."""
        with Project.open(self.folder) as project:
            for image, label in self.labels.items():
                np.testing.assert_array_equal(project.label(image), label)
            for record in project.rounds():
                assert _fault_of(record.folder) == "" and "can't be used" not in record.reason
            project.begin_tuning(TUNING)
            resumed = project.interrupted_round() is not None
            folder = project.begin_round(ROUND)
            assert (folder / "resume.pt").is_file() == resumed
            if not resumed:
                project.discard_partial(folder)

    def killed(self, kind: str, after_s: float) -> tuple[bool, bool]:
        """Fork, and kill after some seconds; whether it was killed, and had acknowledged."""
        return killed(lambda acknowledge: self._whole_job(kind, acknowledge), after_s)

    def _whole_job(self, kind: str, acknowledge: Callable[[], object]) -> None:
        """Begin, train and adopt, in the forked process."""
        with Project.open(self.folder) as project:
            begin = project.begin_round if kind == "train" else project.begin_tuning
            partial = begin(ROUND if kind == "train" else TUNING)
        done = train([str(partial)]) if kind == "train" else tune([str(partial)])
        with Project.open(self.folder) as project:
            records = project.rounds() if kind == "train" else project.tunings()
            assert done == 0 and records[-1].folder == partial.with_suffix("")
        acknowledge()


def main() -> None:
    """Run the trials and print their counts."""
    torch.set_num_threads(1)
    folder, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    checkpoints = "scsam_train.checkpointing"
    with (
        # The state is saved at every step.
        patch(f"{checkpoints}.FIRST_S", 0.0),
        patch(f"{checkpoints}.EVERY_S", 0.0),
        patch(f"{checkpoints}.SHARE", 1e9),
        patch("scsam_train.tuning.run.load_base", lambda *_: toy_base()),
    ):
        counts = Trials(folder, seed).run(count)
    sys.stdout.write("; ".join(f"{kind} {number}" for kind, number in sorted(counts.items())))


if __name__ == "__main__":
    main()
