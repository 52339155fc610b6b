"""The Qt event loop of a benchmark: run it for a time, and record how long it is blocked."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QCoreApplication, QEvent, Qt, QTimer
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from collections.abc import Callable

# Milliseconds between the ticks that show whether the window is blocked. Arbitrary.
TICK_MS = 5
# Bins of the histogram, in ms; 33 ms is a frame at 30 Hz. Arbitrary.
EDGES = (0, 10, 20, 33, 50, 100, 200, 100_000)


class Heartbeat:
    """Records the gaps between the ticks of a timer in the Qt event loop."""

    def __init__(self) -> None:
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._last = 0.0
        self.gaps: list[float] = []
        self._timer.start(TICK_MS)

    def _tick(self) -> None:
        now = time.perf_counter()
        if self._last:
            self.gaps.append((now - self._last) * 1000)
        self._last = now

    def reset(self) -> None:
        """Start a new phase."""
        self.gaps.clear()
        self._last = 0.0

    def report(self) -> dict[str, Any]:
        """Return the longest gap, percentiles, and a histogram of the gaps, in ms."""
        gaps = np.asarray(self.gaps or [0.0])
        counts, _ = np.histogram(gaps, EDGES)
        ranges = [f"{low}-{high}" for low, high in pairwise(EDGES)]
        return {
            "longest": round(float(gaps.max()), 1),
            "p95": round(float(np.percentile(gaps, 95)), 1),
            "p99": round(float(np.percentile(gaps, 99)), 1),
            "histogram": dict(zip(ranges, counts.tolist(), strict=True)),
        }


def run_until(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Run the event loop until `condition` holds."""
    app, end = QApplication.instance(), time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"The benchmark waited for more than {seconds:g} s.")
        app.processEvents()
        # What is to be deleted later is only deleted in a loop that Qt runs itself; without this,
        # all removed widgets would stay.
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        time.sleep(0.0005)


def run_for(seconds: float) -> None:
    """Run the event loop for `seconds`."""
    end = time.monotonic() + seconds
    run_until(lambda: time.monotonic() > end)
