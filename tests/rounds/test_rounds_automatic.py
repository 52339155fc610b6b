"""A round after so many commits, and what is said of it afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from annotation_desk import ManualRunner

from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings
from napari_scsam.rounds.automatic import AutomaticRounds
from napari_scsam.workflows.round_effect import round_effect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_scsam.project import Project


def commit(project: Project, index: int, *points: dict[str, Any]) -> None:
    source = ("prompts", {"points": list(points), "boxes": [], "strokes": [], "drawn": []})
    label = np.ones((20, 30), np.uint8)
    project.commit(project.images()[0].id, label, plane=Plane(0, index), source=source)


def test_a_round_is_due_after_so_many_commits_since_the_last_began(project: Project) -> None:
    runner, started = ManualRunner(), list[int]()
    automatic = AutomaticRounds(project, runner, lambda: started.append(1))

    def committed(index: int) -> None:
        commit(project, index)
        automatic.committed()
        runner.work()

    committed(0)
    assert not automatic.every and not started  # off by default
    automatic.set_every(3)
    committed(1)
    assert not started
    committed(2)
    assert len(started) == 1
    project.begin_round(TrainSettings())
    committed(3)
    committed(4)
    assert len(started) == 1
    committed(0)
    assert len(started) == 2
    again = AutomaticRounds(project, runner, lambda: None)
    assert again.every == 3
    again.set_every(0)
    runner.work()
    assert AutomaticRounds(project, runner, lambda: None).every == 0
    project.record("automatic_rounds", {"every": "many"})  # of another program
    assert AutomaticRounds(project, runner, lambda: None).every == 0


def test_what_a_round_changed_is_one_line(
    project: Project, finish_round: Callable[..., Path]
) -> None:
    accepted, edited = ({"origin": "model", "state": s} for s in ("accepted", "edited"))
    assert round_effect(project) == ""
    commit(project, 0)
    finish_round(project.begin_round(TrainSettings()), 0.8, None)
    project.adopt_rounds()
    assert round_effect(project) == "Round 1: prostate 0.80 on 6 held-out cases."
    commit(project, 1, edited)
    commit(project, 2, accepted)
    said = "Suggestions accepted unedited: 50 % of 2 since."
    assert round_effect(project).endswith(said)
    finish_round(project.begin_round(TrainSettings()), 0.83, 0.8, cases=1)
    project.adopt_rounds()
    commit(project, 3, accepted)
    assert round_effect(project) == (
        "Round 2: prostate 0.83 (+0.03) on 1 held-out case. "
        "Suggestions accepted unedited: 50 % of 2 before, 100 % of 1 since."
    )
    finish_round(project.begin_round(TrainSettings()), 0.7, 0.9)
    project.adopt_rounds()
    assert round_effect(project).startswith(
        "Round 3: prostate 0.70 (-0.20) on 6 held-out cases. It did not become active."
    )
