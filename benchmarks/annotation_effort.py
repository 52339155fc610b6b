"""Count the prompts that it takes to label a set of images, with and without learning from them.

A simulated annotator (`effort_annotator.py`) outlines each image of a set until each class has a
Dice of .90, through the annotation controllers of the dock, and presses J. It does so

- with SAM as it is shipped and nothing else (``plain``), and
- as the dock does by default (``learning``): SAM is tuned on what was committed, suggestions come
  from the outlines, then from rounds, which start after so many commits (``--rounds``). Each is
  used from the time on at which it would be ready (`effort_learning.py`).

Everything is written into ``OUT/effort/NAME``: the project, and ``log.jsonl`` with a line for each
slice and each job. A run that was interrupted goes on. ``OUT/cache`` may hold the embeddings of the
other benchmarks; they are used. The last line is one JSON object (`summary`).

    python benchmarks/annotation_effort.py DATA_FOLDER --out OUT --task polyps --count 200
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from effort_annotator import Annotator
from effort_cases import TASKS, Case, cases
from effort_learning import Learning, LearningOptions

from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import CACHE_GB_BOUNDS
from napari_scsam.inference.segmenter import Segmenter
from napari_scsam.project import Project
from napari_scsam.project.ranking import QueueEntry, RankedQueue, write_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.core.geometry import SliceKey

ARMS = ("plain", "learning")
# Commits after which rounds start, and their pictures. Arbitrary: about one after the other.
ROUNDS, PICTURES = [10, 25, 45, 70, 100, 140], [480, 480, 600, 720, 960, 960]
# Parts of a session for which the prompts are given apart. Arbitrary.
PARTS = 4
# Bootstrap samples of an interval. Arbitrary.
RESAMPLES = 2000


class Run:
    """One session: all images of a set, by one arm.

    Parameters
    ----------
    folder : Path
        Of the session.
    cached : Path
        Embeddings that were computed before.
    options : argparse.Namespace
    arm : {'plain', 'learning'}
    """

    def __init__(self, folder: Path, cached: Path, options: argparse.Namespace, arm: str) -> None:
        self._folder, self._cached, self._options = folder, cached, options
        self._learns, self._task = arm == "learning", TASKS[options.task]
        self._log_path = folder / "log.jsonl"

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What was logged."""
        if not self._log_path.is_file():
            return []
        return [json.loads(line) for line in self._log_path.read_text().splitlines()]

    def log(self, line: dict[str, Any]) -> None:
        """Append a line."""
        with self._log_path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def work(self, chosen: Sequence[Case]) -> list[dict[str, Any]]:
        """Outline what is left; return the lines of all slices."""
        with self._project(chosen) as project:
            by_id = {record.id: record.path.name for record in project.images()}
            truths = {case.image.name: case for case in chosen}
            ids = {name: image_id for image_id, name in by_id.items()}
            keys = [(ids[case.image.name], Plane(0, at)) for case in chosen for at in case.planes]
            done = {line["slice"] for line in slices_of(self.lines)}
            left = [key for key in keys if f"{by_id[key[0]]}#{key[1].index}" not in done]
            if left:
                self._outline(project, left, {i: truths[n] for i, n in by_id.items()})
        return slices_of(self.lines)

    def _project(self, chosen: Sequence[Case]) -> Project:
        place = self._folder / "project"
        if place.exists():
            return Project.open(place)
        self._folder.mkdir(parents=True)
        names = [self._task.classes[c] for c in sorted(self._task.classes)]
        project = Project.create(place, names, modality=self._task.modality)
        project.change(cache_gb=CACHE_GB_BOUNDS[1])
        ids = project.add_images([case.image for case in chosen])
        entries = [
            QueueEntry(image_id, case.planes[0], None, "", "sequential", case.planes)
            for image_id, case in zip(ids, chosen, strict=True)
        ]
        write_queue(place, RankedQueue("sequential", None, tuple(entries)))
        _link(self._cached, place / "cache" / "embeddings")
        return project

    def _outline(self, project: Project, left: list[SliceKey], of: dict[str, Case]) -> None:
        segmenter = Segmenter(project.folder / "cache" / "embeddings", cache_gb=project.cache_gb)
        annotator = Annotator(project, segmenter, self._task, boxes=self._options.boxes)
        learning = self._learning(project, annotator)
        active = annotator.annotation.now.round
        segmenter.prepare(None if active is None else active.folder)  # as while a project opens
        annotator.open(annotator.annotation.navigation.queue.order.first() or left[0])
        for _ in range(len(left)):
            key = annotator.annotation.key
            assert key is not None and key in left
            left.remove(key)
            before = replace(annotator.clock)
            line = self._slice(annotator, of[key[0]], key)
            if learning is not None:
                learning.step(annotator.clock.seconds, project.commit_count())
            annotator.go_on()
            now = annotator.clock
            line |= {
                "seconds": round(now.seconds - before.seconds, 2),
                "waited": round(now.waited - before.waited, 3),
                "waited_wall": round(now.waited_wall - before.waited_wall, 3),
                "clock": round(now.seconds, 1),
            }
            self.log(line)
        annotator.annotation.close()
        segmenter.close()

    def _learning(self, project: Project, annotator: Annotator) -> Learning | None:
        lines = self.lines
        annotator.clock.seconds = max((line.get("clock", 0.0) for line in lines), default=0.0)
        if not self._learns:
            return None
        options = LearningOptions(
            dict(zip(self._options.rounds, self._options.pictures, strict=True)),
            self._options.seed,
            self._options.ranked,
            self._options.strategy,
        )
        learning = Learning(project, annotator.annotation, options, lines, self.log)
        learning.use_active()
        return learning

    def _slice(self, annotator: Annotator, case: Case, key: SliceKey) -> dict[str, Any]:
        """Outline and save one slice."""
        now = annotator.annotation.now
        effort = annotator.outline(case.truth()[key[1].index].astype(np.uint8))
        annotator.commit()
        return {
            "slice": f"{case.image.name}#{key[1].index}",
            "round": None if now.round is None else now.round.number,
            "tuned": now.tuned is not None,
            "prompts": effort.prompts,
            "actions": effort.actions,
            "dice": [{c: round(d, 3) for c, d in one.items()} for one in effort.dice],
        }


def slices_of(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines of slices."""
    return [line for line in lines if "slice" in line]


def summary(plain: Sequence[dict[str, Any]], learning: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compare both arms on the slices that both have done, in the order of `learning`.

    Returns
    -------
    dict
        ``slices``; for each arm the prompts and actions of a slice, the slices that were not good
        enough (``missed``), prompts by part of the session, and the share of time that it waited;
        ``fewer``, the share of prompts saved, with a 95 % interval by bootstrap over slices.
    """
    of_plain = {line["slice"]: line for line in plain}
    learned = [line for line in learning if line["slice"] in of_plain]
    pair = [[of_plain[line["slice"]] for line in learned], learned]
    both = len(learned)
    found: dict[str, Any] = {"slices": both}
    for name, lines in zip(ARMS, pair, strict=True):
        found[name] = _of_arm(lines)
    old, new = (np.array([line["prompts"] for line in lines]) for lines in pair)
    drawn = np.random.default_rng(0).integers(both, size=(RESAMPLES, both))
    fewer = 1 - new[drawn].sum(1) / old[drawn].sum(1)
    found["fewer"] = round(1 - float(new.sum() / old.sum()), 3)
    found["interval"] = [round(float(v), 3) for v in np.percentile(fewer, (2.5, 97.5))]
    return found


def _of_arm(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    prompts = np.array([line["prompts"] for line in lines])
    missed = [min(line["dice"][-1].values()) < 0.9 for line in lines]
    parts = np.array_split(prompts, PARTS)
    seconds = sum(line["seconds"] for line in lines)
    return {
        "prompts": round(float(prompts.mean()), 3),
        "actions": round(float(np.mean([line["actions"] for line in lines])), 3),
        "none": round(float((prompts == 0).mean()), 3),
        "missed": sum(missed),
        "by_part": [round(float(part.mean()), 2) for part in parts if len(part)],
        "seconds": round(seconds),
        "waiting": round(sum(line["waited"] for line in lines) / seconds, 4),
    }


def _link(source: Path, target: Path) -> None:
    """Link embeddings; the cache replaces whole files, so that the originals stay."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for path in source.glob("*.safetensors"):
            os.link(path, target / path.name)


def main() -> None:
    """Read the arguments, run both arms, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", choices=list(TASKS), default="polyps")
    parser.add_argument("--count", type=int, default=200, help="images")
    parser.add_argument("--slices", type=int, default=100, help="of each image, at most")
    parser.add_argument("--boxes", action="store_true", help="begin with a box, not with a click")
    parser.add_argument("--rounds", type=int, nargs="*", default=ROUNDS, help="commits")
    parser.add_argument("--pictures", type=int, nargs="*", default=PICTURES)
    parser.add_argument(
        "--ranked",
        action="store_true",
        help="rank the pictures at first and after each round, and label in that order",
    )
    parser.add_argument("--strategy", default="hybrid", help="of the ranking")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chosen = cases(options.data, options.task, options.count, options.seed, options.slices)
    kind = "boxes" if options.boxes else "clicks"
    stem = f"{options.task}-{options.count}-{kind}-{options.seed}"
    if options.ranked and options.slices > 1 and options.task == "hearts":
        parser.error("--ranked is for polyps: a ranking chooses other slices of a volume.")
    found = {arm: [] for arm in ARMS}
    for arm in options.arms:
        order = f"-{options.strategy}" if options.ranked and arm == "learning" else ""
        folder = options.out / "effort" / f"{stem}-{arm}{order}"
        found[arm] = Run(folder, options.out / "cache", options, arm).work(chosen)
    if all(found.values()):
        sys.stdout.write(json.dumps({"session": stem, **summary(*found.values())}) + "\n")


if __name__ == "__main__":
    main()
