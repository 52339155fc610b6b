"""The status line expires, and the line below says what the models do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import QObject, Qt

from napari_scsam._qt import widgets
from napari_scsam._qt.models_line import ModelsLine
from napari_scsam._qt.widgets import StatusLine
from napari_scsam.core.geometry import Plane

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.gui


@pytest.fixture
def line(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> StatusLine:
    monkeypatch.setattr(widgets, "EXPIRES_MS", 50)
    made = StatusLine()
    qtbot.addWidget(made)
    return made


def test_a_message_expires_and_is_not_said_again(line: StatusLine, qtbot: QtBot) -> None:
    line.follow("Saved polyp: polyp.", 1)
    qtbot.waitUntil(lambda: line.text() == "", timeout=2000)
    line.follow("Saved polyp: polyp.", 1)  # as at each change of the state
    assert line.text() == ""
    line.follow("Saved polyp: polyp.", 2)  # the next slice
    assert line.text() == "Saved polyp: polyp."


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("The disk is full.", {"error": True}),
        ("Opening the project …", {}),
        ("Clicks do nothing in 3-D.", {"lasts": True}),
    ],
)
def test_errors_and_what_goes_on_stay(
    line: StatusLine, qtbot: QtBot, text: str, how: dict[str, Any]
) -> None:
    line.say(text, **how)
    qtbot.wait(150)
    assert text in line.text()


def test_what_went_on_is_gone_when_it_has_ended(line: StatusLine, qtbot: QtBot) -> None:
    line.follow("Clicks do nothing in 3-D.", 1, lasts=True)
    line.follow("", 1)
    assert line.text() == ""
    line.follow("Propagating: 3 of 9.", 1, lasts=True)
    line.follow("Propagating: 3 of 9.", 1)
    qtbot.waitUntil(lambda: line.text() == "", timeout=2000)


def test_an_old_message_does_not_come_back_over_a_newer_one(line: StatusLine) -> None:
    line.follow("Saved polyp: polyp.", 1)
    line.say("Round 2 is better by 0.03 Dice: now active.")
    line.follow("Saved polyp: polyp.", 1)
    line.follow("", 1)
    assert line.text().startswith("Round 2")


def test_what_was_said_about_a_slice_goes_when_it_is_left(hand: Any, loop: Any) -> None:
    hand.window_key(Qt.Key.Key_D)
    hand.trace([(20, 20), (20, 30)])
    assert hand.status().startswith("Painted")
    hand.viewer.dims.set_current_step(0, 6)
    assert hand.status() == ""


def test_what_j_saved_goes_along_with_its_name_and_is_not_said_again(hand: Any, loop: Any) -> None:
    hand.click(20, 20)
    hand.wait_for_mask()
    hand.window_key(Qt.Key.Key_J)
    hand.until(lambda: loop.now.plane == Plane(0, 5))
    said = "Saved slice 4 of scan: one. two: not there."
    assert hand.status() == said
    hand.viewer.dims.set_current_step(0, 6)
    assert hand.status() == said  # true wherever the view is
    number = loop.now.status.said
    hand.window_key(Qt.Key.Key_K)
    assert loop.now.plane == Plane(0, 7)
    assert loop.now.status.said == number


class Requests:
    """Stands in for the requests to the models."""

    doing = ""


def test_what_the_models_do_is_said_where_it_takes_longer(qtbot: QtBot) -> None:
    parent, requests, texts = QObject(), Requests(), list[str]()
    line: Any = ModelsLine(requests, texts.append, parent)  # type: ignore[arg-type]
    requests.doing = "Loading the model, the first time only"
    qtbot.waitUntil(lambda: bool(texts), timeout=3000)
    assert texts == ["Loading the model, the first time only …"]
    qtbot.waitUntil(lambda: texts[-1].endswith("… 1 s"), timeout=3000)
    requests.doing = ""
    line.describe("LiteMedSAM on CPU")
    assert texts[-1] == "LiteMedSAM on CPU"
    requests.doing = "Preparing the slice"
    line.describe("LiteMedSAM on CPU")  # just begun, and not worth a word
    assert texts[-1] == "LiteMedSAM on CPU"
    qtbot.waitUntil(lambda: texts[-1] == "Preparing the slice …", timeout=3000)
    line.close()


def test_short_texts_move_nothing(line: StatusLine, qtbot: QtBot) -> None:
    line.resize(300, 10)
    heights = set()
    for text in ("", "Saved.", "LiteMedSAM on CPU, 2 threads, trained in round 1, on your labels"):
        line.say(text)
        line.adjustSize()
        heights.add(max(line.heightForWidth(300), line.minimumSizeHint().height()))
    assert len(heights) == 1
    line.say("A long message. " * 30)
    assert line.heightForWidth(300) > heights.pop()
