"""Tunings in the project folder: what a child is told, which one counts, what is cleared away."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_scsam.core.errors import ProjectError, ReadOnlyError
from napari_scsam.core.settings import TrainSettings, TuneSettings
from napari_scsam.project import Project
from napari_scsam.project.process import record_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def labelled(project: Project) -> Project:
    image = project.images()[0]
    project.commit(image.id, np.ones(image.shape, np.uint8))
    return project


def finish(project: Project, *, kept: bool = True) -> Path:
    """Begin a tuning and end it as the child does."""
    partial = project.begin_tuning(TuneSettings())
    files = {}
    if kept:
        (partial / "sam_adapter").mkdir()
        (partial / "sam_adapter" / "weights").write_bytes(b"w")
        files = {"sam_adapter/weights": hashlib.sha256(b"w").hexdigest()}
    report = {"kept": kept, "reason": "why", "planes": 5, "files": files}
    (partial / "report.json").write_text(json.dumps(report))
    return partial.rename(partial.with_suffix(""))


def test_the_child_is_told_of_labelled_images_only(labelled: Project) -> None:
    folder = labelled.begin_tuning(TuneSettings(seed=7))
    assert folder == labelled.folder / "tuned" / "0001.partial"
    told = json.loads((folder / "inputs.json").read_text())
    (image,) = told["images"]
    assert image["id"] == labelled.images()[0].id and image["label"]["version"] == 1
    assert told["settings"]["seed"] == 7 and told["commits"] == 1 and told["after_round"] == 0
    assert told["window"] == labelled.window.name
    assert told["cache"] == str(labelled.folder / "cache" / "embeddings")


def test_without_a_label_there_is_nothing_to_tune_on(project: Project) -> None:
    with pytest.raises(ProjectError, match="commit a few slices first"):
        project.begin_tuning(TuneSettings())


def test_one_at_a_time_and_a_dead_one_is_cleared_away(labelled: Project) -> None:
    folder = labelled.begin_tuning(TuneSettings())
    record_process(folder, os.getpid())
    with pytest.raises(ProjectError, match="at work already"):
        labelled.begin_tuning(TuneSettings())
    (folder / "process.json").unlink()
    assert labelled.begin_tuning(TuneSettings()) == folder  # the same number again
    labelled.close()
    with Project.open(labelled.folder):
        assert not folder.exists()


def test_the_last_kept_one_counts_until_the_next_also_after_a_round(
    labelled: Project, finish_round: Callable[..., Path]
) -> None:
    assert labelled.active_tuning() is None
    kept = finish(labelled)
    finish(labelled, kept=False)
    assert labelled.active_tuning().folder == kept
    assert labelled.active_tuning().reason == "Tuned on 5 slices: why."
    finish_round(labelled.begin_round(TrainSettings()), 0.8, None)
    labelled.adopt_rounds()
    # A round's own SAM follows corrections less well (docs/results/effort.md).
    assert labelled.active_tuning().folder == kept
    later = finish(labelled)
    assert labelled.active_tuning().folder == later
    assert labelled.active_tuning().after_round == 1


def test_damaged_ones_are_left_out_and_old_ones_removed(labelled: Project) -> None:
    kept = finish(labelled)
    for _ in range(4):
        finish(labelled, kept=False)
    labelled.adopt_tunings()
    numbers = [t.number for t in labelled.tunings()]
    assert numbers == [1, 3, 4, 5]  # the last kept one, and the last three
    (kept / "sam_adapter" / "weights").write_bytes(b"x")
    assert labelled.active_tuning() is None
    (labelled.folder / "tuned" / "0004" / "report.json").write_text("{")
    assert [t.number for t in labelled.tunings()] == [3, 5]


def test_a_project_that_is_open_elsewhere_is_not_tuned(labelled: Project) -> None:
    finish(labelled)
    with Project.open(labelled.folder, read_only=True) as other:
        assert other.active_tuning() is not None
        with pytest.raises(ReadOnlyError):
            other.begin_tuning(TuneSettings())
