"""Time the list of images with 10,000 rows: opening, searching, and painting while scrolling.

The last line is one JSON object, in ms. Run it with a display, for example
``xvfb-run -a python benchmarks/list_rows.py``.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QApplication, QLineEdit

from napari_scsam._qt.queue_panel import QueuePanel
from napari_scsam.project.image_queue import QueueRow

if TYPE_CHECKING:
    from collections.abc import Callable

# Rows, searches and positions of the scroll bar. Arbitrary.
ROWS = 10_000
POSITIONS = 100
SEARCHES = ("c", "case_09", "case_0999", "case_09999", "")


def timed(action: Callable[[], object]) -> float:
    """Return the milliseconds of an action and of the events that it causes."""
    began = time.perf_counter()
    action()
    QApplication.processEvents()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Print one line of JSON."""
    app = QApplication([])
    rows = [QueueRow(str(i), f"case_{i:05d}", i % 3, 9, f"patient {i // 2}") for i in range(ROWS)]
    panel = QueuePanel()
    panel.resize(320, 400)

    def opened() -> None:
        panel.show_rows(rows)
        panel.show()

    opening = timed(opened)
    search, bar = panel.findChild(QLineEdit, "queue_search"), panel.list.verticalScrollBar()
    searching = [timed(partial(search.setText, text)) for text in SEARCHES]

    def scroll(place: int) -> None:
        bar.setValue(place)
        panel.list.viewport().repaint()

    places = np.linspace(0, bar.maximum(), POSITIONS).astype(int).tolist()
    painting = [timed(partial(scroll, place)) for place in places]
    result = {
        "open": round(opening, 1),
        "search, longest": round(max(searching), 1),
        "paint while scrolling, p95": round(float(np.percentile(painting, 95)), 1),
    }
    sys.stdout.write(json.dumps(result) + "\n")
    app.quit()


if __name__ == "__main__":
    main()
