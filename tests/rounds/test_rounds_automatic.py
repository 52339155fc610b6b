"""A round after so many commits, and what is said of it afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from annotation_desk import ManualRunner

from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.settings import TrainSettings
from napari_scsam.rounds.automatic import AutomaticRounds
from napari_scsam.workflows.effort import steps
from napari_scsam.workflows.project_report import collect_report
from napari_scsam.workflows.round_effect import round_effect

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo
    from pathlib import Path

    from napari_scsam.project import Project


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self, zone: tzinfo) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC).astimezone(zone) + timedelta(seconds=self.seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the journal."""
    made = Clock()
    monkeypatch.setattr("napari_scsam.project.journal.datetime", made)
    return made


def commit(project: Project, index: int, *points: dict[str, Any]) -> None:
    source = ("prompts", {"points": list(points), "boxes": [], "strokes": [], "drawn": []})
    label = np.ones((20, 30), np.uint8)
    project.commit(project.images()[0].id, label, plane=Plane(0, index), source=source)


def effect(project: Project) -> str:
    return round_effect(project.rounds(), steps(project.events()))


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
    project: Project, finish_round: Callable[..., Path], clock: Clock
) -> None:
    accepted, edited = ({"origin": "model", "state": s} for s in ("accepted", "edited"))
    own = {"origin": "person", "state": "accepted"}

    def later(seconds: float, index: int, *points: dict[str, Any]) -> None:
        clock.seconds += seconds
        commit(project, index, *points)

    assert effect(project) == ""
    commit(project, 0, own, own, own)
    later(20, 1, own, own)
    finish_round(project.begin_round(TrainSettings()), 0.8, None)
    project.adopt_rounds()
    assert effect(project) == "Round 1: prostate 0.80 on 6 held-out cases."
    later(400, 2, edited)  # after a break
    assert effect(project).endswith(
        "Suggestions accepted unedited: 0 % of 1 since. "
        "Actions a slice 2.5 → 1.0 (2 slices before, 1 since)."
    )
    later(9, 3, accepted)
    assert effect(project).endswith(
        "Suggestions accepted unedited: 50 % of 2 since. "
        "Actions a slice 2.5 → 0.5, seconds a slice 20 → 9 (2 slices before, 2 since)."
    )
    finish_round(project.begin_round(TrainSettings()), 0.83, 0.8, cases=1)
    project.adopt_rounds()
    later(4, 4, accepted)
    assert effect(project) == (
        "Round 2: prostate 0.83 (+0.03) on 1 held-out case. "
        "Suggestions accepted unedited: 50 % of 2 before, 100 % of 1 since. "
        "Actions a slice 0.5 → 0.0, seconds a slice 9 → 4 (2 slices before, 1 since)."
    )
    finish_round(project.begin_round(TrainSettings()), 0.7, 0.9)
    project.adopt_rounds()
    assert effect(project).startswith(
        "Round 3: prostate 0.70 (-0.20) on 6 held-out cases. It did not become active."
    )


def test_drafts_that_are_committed_together_count_as_so_many_slices(
    project: Project, finish_round: Callable[..., Path], clock: Clock
) -> None:
    own = {"origin": "person", "state": "accepted"}
    (volume, _) = project.images()
    commit(project, 0, own, own)
    clock.seconds += 12
    commit(project, 1, own, own)
    finish_round(project.begin_round(TrainSettings()), 0.8, None)
    project.adopt_rounds()
    clock.seconds += 30
    commit(project, 2, own)
    clock.seconds += 6
    # Along another axis none of the slices of the first is complete.
    planes = [{"axis": 1, "plane": index} for index in (3, 4, 5)]
    label = np.full(volume.shape, NOT_ANNOTATED, np.uint8)
    label[:, 3:6] = 1
    project.commit(volume.id, label, source=("drafts", {"planes": planes}))
    assert effect(project).endswith(
        "Actions a slice 2.0 → 0.2, seconds a slice 12 → 2 (2 slices before, 4 since)."
    )
    (before, since) = collect_report(project)["effort"]
    assert (before["slices"], since["slices"], since["commits"]) == (2, 4, 2)
    assert (since["actions_a_slice"], since["seconds_a_slice"]) == (0.25, 2.0)
