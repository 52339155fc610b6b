"""The model process by its front door: the same answers, clear errors, and a clean end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from napari_scsam.core.errors import Cancelled, InputError, ModelError, ScsamError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import PointPrompt, PromptSet
from napari_scsam.core.threads import MODELS
from napari_scsam.inference import process_client
from napari_scsam.inference.messages import Question
from napari_scsam.inference.process_client import SegmenterProcess
from napari_scsam.inference.process_server import reply_to
from napari_scsam.inference.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("torch")

ROWS, COLS = np.mgrid[:96, :80]
DISC = (ROWS - 34) ** 2 + (COLS - 58) ** 2 <= 14**2


def question(seed: int = 0) -> Question:
    noise = np.random.default_rng(seed).normal(0, 0.03, DISC.shape)
    pixels = (0.2 + 0.6 * DISC + noise).astype(np.float32)
    return Question(("a", Plane(0, seed)), pixels, PromptSet((PointPrompt(34, 58, 1),)), None)


def process_id(segmenter: SegmenterProcess) -> int | None:
    """Return the process id of the child; None if there is none."""
    return None if segmenter._child is None else segmenter._child.pid


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SegmenterProcess]:
    made = SegmenterProcess(tmp_path_factory.mktemp("project") / "cache" / "embeddings")
    yield made
    made.close()


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends within `seconds`."""
    try:
        psutil.Process(pid).wait(seconds)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def test_it_answers_what_a_segmenter_here_answers(started: SegmenterProcess) -> None:
    asked = question()
    there, here = started.decode(asked), Segmenter().decode(asked)
    np.testing.assert_array_equal(there.preview, here.preview)
    assert (there.prompts, there.via) == (here.prompts, here.via)
    assert DISC[there.preview > 0].mean() > 0.8
    assert started.describe().startswith("LiteMedSAM on ")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no niceness")
def test_it_steps_back_behind_the_window(started: SegmenterProcess) -> None:
    started.describe()
    assert psutil.Process(process_id(started)).nice() == max(MODELS, psutil.Process().nice())


def test_embeddings_stay_in_the_child(started: SegmenterProcess) -> None:
    assert started.embed(question()) is None
    assert started.prepare(None) is None


def test_an_error_of_ours_arrives_with_its_kind_and_line(started: SegmenterProcess) -> None:
    asked = question()
    before = process_id(started)
    with pytest.raises(InputError, match="too thin to segment"):
        started.decode(replace(asked, pixels=asked.pixels[:1]))
    assert process_id(started) == before


def test_any_other_error_is_one_line_and_its_traceback_is_in_the_log(
    started: SegmenterProcess,
) -> None:
    with pytest.raises(ModelError, match="The model failed on this slice") as caught:
        started.decode(replace(question(), prompts=None))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert "Traceback" in started.log_path.read_text()


def test_running_out_of_memory_is_said_so() -> None:
    class Full(Segmenter):
        def describe(self) -> str:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")

    succeeded, error = reply_to(Full(), ("describe", ()))
    assert not succeeded
    assert isinstance(error, ModelError)
    assert "ran out of memory" in str(error)


def test_a_killed_child_is_started_again_by_the_next_call_which_says_so(
    started: SegmenterProcess,
) -> None:
    started.prepare(None)
    killed = process_id(started)
    psutil.Process(killed).kill()
    answer = started.decode(question())
    assert answer.preview.any()
    assert process_id(started) not in (None, killed)
    assert answer.note.startswith("The model process stopped (exit code -9)")
    assert answer.note.endswith("It was started again.")
    assert "\n" not in answer.note
    assert started.decode(question()).note == ""


def test_a_child_that_ends_twice_is_one_line_and_the_next_call_starts_another(
    started: SegmenterProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(child: subprocess.Popen[bytes], *_: object) -> None:
        child.kill()
        raise EOFError

    with monkeypatch.context() as patch:
        patch.setattr(process_client, "_exchange", end)
        with pytest.raises(ModelError, match="The model process stopped") as caught:
            started.decode(question())
    assert "\n" not in str(caught.value)
    assert process_id(started) is None
    assert started.decode(question()).preview.any()


def test_closing_ends_a_call_at_work(tmp_path: Path) -> None:
    made = SegmenterProcess(tmp_path / "embeddings")
    ends: list[Exception] = []

    def work() -> None:
        try:
            made.decode(question())
        except ScsamError as error:
            ends.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    deadline = time.monotonic() + 10
    while process_id(made) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child = psutil.Process(process_id(made))
    began = time.monotonic()
    made.close()
    worker.join(5)
    assert time.monotonic() - began < 2
    assert not child.is_running()
    assert [type(e) for e in ends] == [Cancelled]
    with pytest.raises(Cancelled):
        made.describe()
    made.close()  # harmless


def test_the_child_ends_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from napari_scsam.inference.process_client import SegmenterProcess\n"
        "made = SegmenterProcess(Path(sys.argv[1]))\n"
        "made._running_child()\n"
        "print(made._child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "embeddings")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    assert gone(child)


def test_a_folder_that_cannot_be_written_only_costs_the_log(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    made = SegmenterProcess(tmp_path / "cache" / "embeddings")
    try:
        with pytest.raises(ModelError, match="The model failed"):
            made._call("nothing of that name")  # answered without loading any model
        assert process_id(made) is not None
    finally:
        made.close()
