"""A round as a real child process, forked: killed, found again, paused, cancelled."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings
from napari_scsam.project import Project
from napari_scsam.rounds.running_round import RunningRound, TrainingController

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Its process trains soon: it embeds nothing first.
ENDLESS = TrainSettings(
    recipe="supervised", steps=100_000, unet="pretrained", image_size=32, holdout=0.0
)


@pytest.fixture
def project(tmp_path: Path, forked_rounds: None) -> Iterator[Project]:
    pixels = np.random.default_rng(0).integers(0, 60, (4, 40, 48), np.uint8)
    pixels[:, 8:20, 10:30] += 120
    tifffile.imwrite(tmp_path / "scan.tif", pixels, photometric="minisblack")
    made = Project.create(tmp_path / "project", ["block"])
    (image,) = made.add_images([tmp_path / "scan.tif"])
    made.commit(image, (pixels[1] > 100).astype(np.uint8), plane=Plane(0, 1))
    yield made
    made.close()


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def until_training(running: RunningRound) -> None:
    wait_for(lambda: any(e.get("phase") == "training" for e in running.poll()))


def test_a_killed_round_is_one_line_and_costs_nothing(project: Project) -> None:
    (image,) = project.images()
    before = project.label(image.id)
    running = TrainingController(project).start(ENDLESS)
    until_training(running)
    running.kill()
    assert not running.alive
    with pytest.raises(ProjectError, match=r"ended unexpectedly.*Nothing you made is lost"):
        running.finish()
    assert project.rounds() == []
    np.testing.assert_array_equal(project.label(image.id), before)
    assert project.begin_round(ENDLESS).is_dir()  # the next one may begin


@pytest.mark.slow
def test_a_killed_round_goes_on_where_it_was(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scsam_train.checkpointing.FIRST_S", 0.0)  # saved after the first step
    small = {"labelled_batch": 2, "unlabelled_batch": 2, "sam_batch": 2, "unlabelled_planes": 2}
    settings = TrainSettings(steps=16, unet="pretrained", image_size=32, holdout=0.0, **small)
    running = TrainingController(project).start(settings)
    wait_for(lambda: any(e["event"] == "kept" for e in running.poll()))
    running.kill()
    with pytest.raises(ProjectError, match="to resume it"):
        running.finish()
    killed = project.interrupted_round()
    assert killed is not None and killed.settings == settings
    assert (killed.number, killed.folder) == (running.number, running.folder)
    # Other settings begin anew; the same ones go on.
    assert replace(settings, steps=17) != settings
    again = TrainingController(project).start(settings)
    assert again.number == running.number
    assert again.resumed and not running.resumed
    told = []
    record = again.run(told.append)
    assert record is not None and record.metrics["steps"] == 16
    texts = [str(event.get("text", "")) for event in told]
    (gone_on,) = [text for text in texts if text.startswith("Resuming from step")]
    assert int(gone_on.split()[-1].strip(".")) == killed.step > 0
    assert not (record.folder / "resume.pt").exists() and project.interrupted_round() is None
    # What the rest of it cost: every embedding was found, none made.
    rates = record.metrics["rates"]
    assert rates["embeddings"] == 0 and rates["seconds_per_embedding"] is None
    assert 0 < rates["seconds_per_step"] < 60 and 0.5 < rates["memory_gb"] < 8


def test_an_interrupted_round_of_other_labels_is_begun_anew(project: Project) -> None:
    settings = TrainSettings(steps=60, unet="scratch", image_size=32)
    first = project.begin_round(settings)
    (first / "resume.pt").write_bytes(b"state")
    assert project.begin_round(settings) == first
    (image,) = project.images()
    label = project.label(image.id)
    assert label is not None
    project.commit(image.id, (label[1] == 1).astype(np.uint8), plane=Plane(0, 2))
    assert project.begin_round(settings) != first and not first.exists()


def test_a_round_outlives_the_window_and_is_found_paused_and_cancelled(project: Project) -> None:
    started = TrainingController(project).start(ENDLESS)
    until_training(started)
    folder = project.folder
    project.close()

    with Project.open(folder) as again:
        controller = TrainingController(again)
        running = controller.running
        assert running is not None and running.number == 1 and running.alive
        with pytest.raises(ProjectError, match="still running"):
            controller.start(ENDLESS)

        running.pause()
        wait_for(lambda: any(e.get("text") == "Paused." for e in running.poll()))
        time.sleep(1)  # twice as long as between two reports of progress
        assert not [e for e in running.poll() if e["event"] == "progress"]

        running.resume()
        until_training(running)
        running.cancel()
        wait_for(lambda: not running.alive)
        wait_for(lambda: not started.alive)  # reaped by the one who started it
        assert running.finish() is None
        assert again.rounds() == []
