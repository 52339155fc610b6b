"""A round ends when it has learned: looks without a gain, and the rest of the schedule."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from napari_scsam.core.settings import TrainSettings
from scsam_train.clock import COOL_DOWN, Clock, Ending
from scsam_train.early_stopping import EarlyStopping


def test_two_looks_without_a_gain_end_a_round_and_a_gain_starts_anew() -> None:
    stopping = EarlyStopping()
    dice = [0.5, 0.6, 0.6, 0.7, 0.7009, 0.69]
    found = [stopping.should_stop(one, 100 * at) for at, one in enumerate(dice)]
    assert found == [False] * 5 + [True]
    assert stopping.best_pictures == 300
    again = EarlyStopping()
    again.restore(stopping.state())
    assert again.best_pictures == 300 and again.should_stop(0.7, 600)
    assert not EarlyStopping().should_stop(None, 1)  # nothing is known of it


class Written(list):
    def write(self, event: Any, **values: Any) -> None:
        self.append((event, values))


def clock_of(ending: Any = None, **settings: Any) -> tuple[Clock, Any]:
    chosen = TrainSettings(**settings)
    session = SimpleNamespace(
        settings=chosen,
        budget=chosen.budget(12),
        control=SimpleNamespace(paused_s=0.0),
        split=SimpleNamespace(held_out=[]),
        meter=SimpleNamespace(latest=lambda what: None),
        world=SimpleNamespace(broadcast=lambda value: value),
        log=Written(),
        deadline=lambda share: math.inf,
    )
    return Clock(session, ending=ending), session.log


def test_a_rounds_length_is_its_pictures_or_its_steps() -> None:
    assert clock_of()[0].fraction(0, 360) == pytest.approx(0.5)
    assert clock_of(pictures=400)[0].fraction(9, 100) == pytest.approx(0.25)
    assert clock_of(steps=20)[0].fraction(5, 10**6) == pytest.approx(0.25)
    assert clock_of(steps=20, pictures=400)[0].fraction(5, 200) == pytest.approx(0.5)


def test_the_rest_of_the_schedule_passes_in_fewer_pictures_without_a_jump() -> None:
    clock, _ = clock_of(pictures=1000)
    assert clock.end_early(400, 0.4)
    last = 400 + COOL_DOWN * 1000
    assert clock.fraction(0, 400) == pytest.approx(0.4)
    assert clock.fraction(0, (400 + last) / 2) == pytest.approx(0.7)
    assert clock.fraction(0, last) == pytest.approx(1)
    assert not clock.end_early(450, 0.5)  # once is enough
    resumed, _ = clock_of(Ending(**vars(clock.ending)), pictures=1000)
    assert resumed.fraction(0, 475) == clock.fraction(0, 475)


def test_a_round_near_its_end_or_counted_in_steps_does_not_end_early() -> None:
    assert not clock_of(pictures=1000)[0].end_early(900, 0.9)
    assert not clock_of(steps=20)[0].end_early(40, 0.5)


def test_what_a_round_takes_is_said_once_after_some_pictures_and_seconds() -> None:
    clock, log = clock_of(pictures=1000)
    clock.estimate(50, 0.05, 20.0)
    clock.estimate(200, 0.2, 1.0)
    assert not log
    clock.estimate(200, 0.2, 20.0)
    clock.estimate(400, 0.4, 50.0)
    ((event, values),) = log
    assert event == "estimate" and values["pictures"] == 1000
    assert values["seconds_per_picture"] == pytest.approx(0.1)
    assert values["seconds"] == pytest.approx(clock.trained_s() * 4, abs=0.2)
