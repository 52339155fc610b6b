"""The number of files to read to follow a click, a commit, and a round."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from call_path import CallPath

from napari_scsam.inference.process_client import SegmenterProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gui.conftest import Hand

    from napari_scsam._qt.dock import ScsamDock

PLACES = (
    "ThreadJobRunner.run",  # to another thread
    "ThreadJobRunner._deliver",  # and back
    "send",  # to the model process
    "PreviewPainter._paint",  # the mask, on the canvas
    "write_bytes",  # to the disk
    "Journal._transaction",  # into the journal
    "start_child",  # to a round's process
    "ChildEvents.poll",  # and back
    "AnnotationController.round_changed",  # clicks use its models
    "StatusLine.say",  # the status line
)


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[CallPath]:
    """Follows the dock created after it; model process and round are stand-ins."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    monkeypatch.setattr("napari_scsam.inference.process_client.SERVER", "model_stand_in")
    monkeypatch.setattr("napari_scsam.rounds.running_round.ROUND_MODULE", "round_stand_in")
    made = CallPath(PLACES)
    yield made
    made.close()


@pytest.fixture
def segmenter(path: CallPath, tmp_path: Path) -> Iterator[SegmenterProcess]:
    """A process that answers every click with a square."""
    made = SegmenterProcess(tmp_path / "cache" / "embeddings")
    yield made
    made.close()


def test_an_action_is_followed_through_few_files(
    path: CallPath, hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path
) -> None:
    dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    hand.wait_for_image()
    hand.click(60, 20)  # so that what happens only once is not counted
    hand.wait_for_mask()
    hand.qtbot.wait(500)

    path.start()
    hand.click(34, 58)
    hand.wait_for_mask()
    path.stop()
    assert {"send", "PreviewPainter._paint"} <= path.reached
    assert len(path.path) <= 18, path.path

    path.start(last=lambda frame: frame.f_locals.get("text", "").startswith("Saved"))
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    path.stop()
    assert {"write_bytes", "Journal._transaction", "StatusLine.say"} <= path.reached
    assert len(path.path) <= 12, path.path

    hand.qtbot.wait(500)
    path.start(last=lambda frame: frame.f_code.co_name == "round_changed")
    hand.press("train")
    hand.until(lambda: hand.find("rounds").count() == 1)
    path.stop()
    assert {"start_child", "AnnotationController.round_changed"} <= path.reached
    assert len(path.path) <= 15, path.path
