"""Settings, undo and jobs."""

from __future__ import annotations

import threading
from dataclasses import fields
from typing import Any

import pytest

from napari_scsam.core.errors import Cancelled, InputError
from napari_scsam.core.history import History
from napari_scsam.core.jobs import CancelToken
from napari_scsam.core.settings import MAX_STEPS, TrainSettings


def test_settings_survive_a_config_file() -> None:
    settings = TrainSettings(steps=5, minutes=2, holdout=0.0)
    assert TrainSettings.from_dict(settings.to_dict()) == settings
    with pytest.raises(InputError, match=r"Unknown setting stepz; there are .*steps"):
        TrainSettings.from_dict({"stepz": 5})


def test_every_setting_explains_itself() -> None:
    for item in fields(TrainSettings):
        assert item.metadata["help"].endswith(".")
        assert (item.metadata["low"] is None) == (item.metadata["high"] is None)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", 0, "steps is between 1 and 1000000 steps; got 0"),
        ("steps", 1.5, "steps is of type int or none; got 1.5"),
        ("steps", "5", "steps is of type int or none; got '5'"),
        ("steps", True, "steps is of type int or none"),
        ("seed", None, "seed is of type int; got None"),
        ("minutes", float("nan"), "minutes is between"),
        ("minutes", "2", "minutes is of type float or none"),
        ("holdout", 0.95, "holdout is between"),
        ("device", "gpu", "device is one of auto, cpu, cuda, mps; got 'gpu'"),
        ("sam", 3, "sam is of type str"),
        ("mirror", 1, "mirror is of type bool"),
    ],
)
def test_settings_out_of_bounds_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainSettings(**{name: value})


def test_a_round_ends_by_pictures_by_steps_by_time_or_by_what_comes_first() -> None:
    assert [TrainSettings().budget(n) for n in (1, 12, 25, 100)] == [480, 720, 1500, 3200]
    assert TrainSettings(steps=9).budget(12) is None
    assert TrainSettings(steps=9, pictures=50).budget(12) == 50
    assert TrainSettings().max_steps == MAX_STEPS
    assert TrainSettings(steps=9, minutes=1).max_steps == 9
    # Only the clock ends it: no number of steps may come before.
    assert TrainSettings(minutes=10_000).max_steps == MAX_STEPS


def test_undo_and_redo() -> None:
    history = History("a", limit=2)
    assert not history.can_undo
    assert history.undo() == "a"
    for state in "bcd":
        history.push(state)
    assert [history.undo(), history.undo(), history.undo()] == ["c", "b", "b"]
    assert history.can_redo
    assert history.redo() == "c"
    history.push("e")
    assert not history.can_redo
    assert history.redo() == "e"
    assert history.undo() == "c"


def test_a_cancel_from_another_thread_is_seen() -> None:
    token = CancelToken()
    token.check()
    worker = threading.Thread(target=token.cancel)
    worker.start()
    worker.join()
    assert token.cancelled
    with pytest.raises(Cancelled):
        token.check()
