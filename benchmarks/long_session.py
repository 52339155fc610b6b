"""Watch memory, open files, threads and blocks of the window over a long scripted session.

Opens napari with the dock on generated volumes and annotates slice after slice by mouse and keys:
click, wait for the mask, J. Now and then it undoes and redoes, looks through the volume, goes to
another volume, and switches between two projects. Once, the process of the models is killed, as
when memory runs out. 1,440 slices are 8 hours of an annotator who needs 20 seconds for each.

The last line is one JSON object. For the window and for the process of the models it gives the
resident memory in MB, the open files and the threads: at the end of the first tenth, at the end,
the highest after the first tenth, and the growth of the mean of the last tenth over the mean of the
second. ``blocks`` are the longest gap and the 99th percentile of the gaps between the ticks of a
5 ms timer in the Qt event loop, in ms, in the second tenth and in the last one.

Run it with a display, for example ``xvfb-run -a python benchmarks/long_session.py --slices 1440``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import napari
from interactive_latency import (
    SHAPE,
    Heartbeat,
    places,
    run_for,
    run_until,
    step_through,
    time_click,
    write_scan,
)
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel

from napari_scsam._qt.dock import ScsamDock

if TYPE_CHECKING:
    from collections.abc import Sequence

# Slices between these actions. Arbitrary.
UNDO_EVERY, STEP_EVERY, SWITCH_EVERY = 7, 24, 60
# Part of the command of the models' process.
MODELS = b"napari_scsam.inference.process_server"


@dataclass(frozen=True)
class Sample:
    """State of one process.

    Attributes
    ----------
    memory_mb : float
        Resident memory.
    files, threads : int
    """

    memory_mb: float
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Sample:
        """Read the state of a process from ``/proc``."""
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        return cls(
            round(int(status["VmRSS"].split()[0]) / 1024, 1),
            len(list(Path(f"/proc/{pid}/fd").iterdir())),
            int(status["Threads"]),
        )


class Session:
    """A scripted annotator in a real window.

    Parameters
    ----------
    folder : Path
        For scans and projects.
    slices : int
        To be annotated, half of them in each of two projects.
    """

    def __init__(self, folder: Path, slices: int) -> None:
        self.viewer = napari.Viewer()
        self.dock = ScsamDock(self.viewer)
        self.viewer.window.add_dock_widget(self.dock, name="SC-SAM")
        self.beat = Heartbeat()
        self._clicks = iter(places(1_000_000))
        volumes = slices // (2 * SHAPE[0]) + 2
        scans = [write_scan(folder, f"scan-{n}", n) for n in range(volumes)]
        self._projects = [folder / "one", folder / "two"]
        for project in self._projects:
            self.dock.create_project(project, ["object"], scans)
            self._wait_for_slice(project)

    def annotate(self, number: int) -> None:
        """Outline and commit the slice in view, which opens the next one."""
        loop = self.dock.session.annotation
        if not loop.now.prompts.is_empty:  # suggested already
            run_until(lambda: loop.preview is not None)
        else:
            time_click(self.viewer, next(self._clicks), lambda: loop.preview is not None)
        if number % UNDO_EVERY == 0:
            self._press(Qt.Key.Key_U)
            run_for(0.1)
            self._press(Qt.Key.Key_U, Qt.KeyboardModifier.ShiftModifier)
            run_until(lambda: loop.preview is not None)
        before = loop.key
        self._press(Qt.Key.Key_J)
        try:
            run_until(lambda: loop.key != before, 20.0)
        except TimeoutError:  # it was asked whether to save an empty slice, for example
            _write(json.dumps({"slice": number, "status": self._status()}))
            self._press(Qt.Key.Key_K)
            run_until(lambda: loop.key != before)
        if number % STEP_EVERY == 0:
            index = loop.key[1].index
            step_through(self.viewer, 2.0)
            self.viewer.dims.set_current_step(0, index)
        if number % SWITCH_EVERY == 0:
            self._projects.reverse()  # the last one is open
            self.dock.open_project_folder(self._projects[-1])
            self._wait_for_slice(self._projects[-1])

    def sample(self) -> dict[str, Sample]:
        """Return the state of the window and of the process of the models."""
        found = {"window": Sample.of(os.getpid())}
        pid = self.models_pid
        if pid is not None:
            found["models"] = Sample.of(pid)
        return found

    @property
    def models_pid(self) -> int | None:
        """Process of the models, if it is running."""
        for task in Path("/proc/self/task").iterdir():
            for pid in (task / "children").read_text().split():
                if MODELS in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        return None

    def close(self) -> None:
        """Close project and window."""
        self.dock.shut_down()
        self.viewer.close()

    def _press(self, key: Qt.Key, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        window = self.viewer.window._qt_window
        window.activateWindow()
        run_until(window.isActiveWindow)
        QTest.keyClick(window, key, modifier)

    def _status(self) -> str:
        return str(self.dock.findChild(QLabel, "status").text())

    def _wait_for_slice(self, project: Path) -> None:
        # The project before stays open until this one is.
        run_until(lambda: self.dock.session is not None and self.dock.session.is_in(project))
        run_until(lambda: self._open_key() is not None)

    def _open_key(self) -> Any:
        return self.dock.session.annotation.key


def main() -> None:
    """Run the session and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=144)
    options = parser.parse_args()
    samples: list[dict[str, Sample]] = []
    # Half a million in eight hours: as floats of Python they would take 20 MB in the window.
    gaps: list[array[float]] = []
    with tempfile.TemporaryDirectory() as name:
        session = Session(Path(name), options.slices)
        for number in range(1, options.slices + 1):
            session.beat.reset()
            session.annotate(number)
            gaps.append(array("f", session.beat.gaps))
            if number == options.slices // 2 and session.models_pid is not None:
                os.kill(session.models_pid, signal.SIGKILL)
            samples.append(session.sample())
            if number % 20 == 0:
                state = {who: asdict(sample) for who, sample in samples[-1].items()}
                _write(json.dumps({"slice": number, **state}))
        session.close()
    tenth = max(1, options.slices // 10)
    result = {
        who: _summary([s[who] for s in samples if who in s], tenth) for who in ("window", "models")
    }
    blocks = {
        "second tenth": _blocks(gaps[tenth : 2 * tenth]),
        "last tenth": _blocks(gaps[-tenth:]),
    }
    machine = {"processor": platform.processor(), "cores": os.cpu_count()}
    _write(json.dumps({"slices": options.slices, **result, "blocks": blocks, "machine": machine}))


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _summary(samples: Sequence[Sample], tenth: int) -> dict[str, Any]:
    second = mean(s.memory_mb for s in samples[tenth : 2 * tenth])
    last = mean(s.memory_mb for s in samples[-tenth:])
    return {
        "after the first tenth": asdict(samples[tenth - 1]),
        "at the end": asdict(samples[-1]),
        "most files": max(s.files for s in samples[tenth:]),
        "growth of memory": round(last / second - 1, 3),
    }


def _blocks(gaps: Sequence[Sequence[float]]) -> dict[str, float]:
    flat = sorted(gap for some in gaps for gap in some)
    return {"longest": round(flat[-1], 1), "p99": round(flat[int(0.99 * len(flat))], 1)}


if __name__ == "__main__":
    main()
