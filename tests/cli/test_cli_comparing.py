"""What two rounds predict on a slice, as the dock has it computed in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import imageio.v3 as imageio
import numpy as np
import pytest
from command_line import ok
from untrained_round import add_round

from napari_scsam.core.labels import make_classes
from napari_scsam.project import Project
from napari_scsam.project.schema import read_info, write_info
from napari_scsam.workflows.comparing import Compared

if TYPE_CHECKING:
    from pathlib import Path

    from forked_child import ForkedChildren

SHAPE = (48, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a labelled picture and two rounds."""
    place = tmp_path_factory.mktemp("two")
    picture = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    imageio.imwrite(place / "a.png", picture)
    with Project.create(place / "project", ["spot"]) as project:
        (image,) = project.add_images([place / "a.png"])
        label = np.zeros(SHAPE, np.uint8)
        label[10:30, 20:40] = 1
        project.commit(image, label)
    add_round(place / "project", seed=0)
    add_round(place / "project", seed=1)
    return place / "project"


def compared(folder: Path, *arguments: object, run: Any = subprocess.run) -> dict[str, Any]:
    """Return the last event of the process."""
    module = "napari_scsam.workflows.comparing_process"
    command = [sys.executable, "-P", "-m", module, *map(str, (folder, *arguments))]
    done = run(command, capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def dice(one: np.ndarray, other: np.ndarray) -> float | None:
    total = one.sum() + other.sum()
    return float(2 * (one & other).sum() / total) if total else None


def test_each_round_predicts_as_it_does_by_itself(
    folder: Path, tmp_path: Path, forks: ForkedChildren
) -> None:
    with Project.open(folder) as project:
        image = project.images()[0].id
        truth = project.label(image)
    alone = [predicted(folder, number, tmp_path / str(number)) for number in (1, 2)]
    event = compared(folder, image, 0, 2, 1, run=forks.run)
    found = Compared.from_json(event)
    assert not np.array_equal(*alone)
    for label, expected in zip(found.labels, alone[::-1], strict=True):
        np.testing.assert_array_equal(label, expected)
    assert found.committed
    (row,) = found.classes
    one, other = (label == 1 for label in alone[::-1])
    assert row.between == pytest.approx(dice(one, other))
    assert row.with_label == tuple(pytest.approx(dice(m, truth == 1)) for m in (one, other))


def predicted(folder: Path, number: int, out: Path) -> np.ndarray:
    """What a round predicts, by the command line."""
    round_folder, picture = folder / "rounds" / f"{number:04d}", folder.parent / "a.png"
    ok("predict", round_folder, picture, "--out", out, "--format", "png")
    (made,) = out.glob("*.png")
    return np.asarray(imageio.imread(made))


def test_a_round_without_weights_is_named(folder: Path) -> None:
    with Project.open(folder) as project:
        image = project.images()[0].id
    assert compared(folder, image, 0, 7, 1) == {
        "event": "failed",
        "error": "Round 7 does not exist. Choose another one.",
    }


@pytest.fixture
def changed(tmp_path: Path, folder: Path) -> Path:
    """A copy of the project, whose table may be changed."""
    copy: Path = shutil.copytree(folder.parent, tmp_path / "copy") / "project"
    return copy


def test_a_class_that_was_not_judged_and_pixels_not_annotated_do_not_count(
    changed: Path, forks: ForkedChildren
) -> None:
    info = read_info(changed)
    write_info(changed, replace(info, classes=make_classes(["spot", "other"])))
    with Project.open(changed) as project:
        image = project.images()[0].id
        label = np.zeros(SHAPE, np.uint8)
        label[10:30, 20:40] = 2
        project.commit(image, label, judged=[2])
        found = Compared.from_json(compared(changed, image, 0, 2, 1, run=forks.run))
        spot = found.classes[0]
        assert spot.between is not None and spot.with_label == (None, None)
        label[label == 2] = 1
        guessed = np.argwhere(found.labels[0] == 1)[::2]
        label[tuple(guessed.T)] = 255
        project.commit(image, label, judged=[1])
    found = Compared.from_json(compared(changed, image, 0, 2, 1, run=forks.run))
    one, two = ((guess == 1) & (label != 255) for guess in found.labels)
    expected = tuple(pytest.approx(dice(m, label == 1)) for m in (one, two))
    assert found.classes[0].with_label == expected


def test_a_class_that_left_the_table_is_not_suggested(changed: Path) -> None:
    info = read_info(changed)
    write_info(changed, replace(info, classes=make_classes(["spot", "other"])))
    add_round(changed, seed=2)
    with Project.open(changed) as project:
        image = project.images()[0].id
    both = {p["class"] for p in ok("suggest", changed, image)["proposals"]}
    write_info(changed, info)
    left = {p["class"] for p in ok("suggest", changed, image)["proposals"]}
    assert both == {"spot", "other"} and left == {"spot"}
