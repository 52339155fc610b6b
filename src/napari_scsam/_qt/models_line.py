"""Says what the models do where that takes longer than a moment, and else which they are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.inference.previews import Previewer

# Interval at which it is looked at, and how long it goes unmentioned. Arbitrary: a click that is
# answered at once must not flicker.
WATCH_MS, UNMENTIONED_S = 250, 0.4


class ModelsLine(QObject):
    """Watches the requests to the models.

    Parameters
    ----------
    previewer : Previewer
    show : callable
        Called with each new text.
    parent : QObject
    """

    def __init__(self, previewer: Previewer, show: Callable[[str], None], parent: QObject) -> None:
        super().__init__(parent)
        self._previewer, self._show = previewer, show
        self._described, self._shown = "", ""
        # What the models do, and since when, in seconds of a monotonic clock.
        self._doing, self._since = "", 0.0
        self._watch = QTimer(self)
        self._watch.setInterval(WATCH_MS)
        self._watch.timeout.connect(self._look)
        self._watch.start()

    def describe(self, text: str) -> None:
        """Show which models are ready on which device."""
        self._described = text
        self._look()

    def close(self) -> None:
        """Stop watching."""
        self._watch.stop()

    def _look(self) -> None:
        now = time.monotonic()
        if self._previewer.doing != self._doing:
            self._doing, self._since = self._previewer.doing, now
        text, seconds = self._described, now - self._since
        if self._doing and seconds >= UNMENTIONED_S:
            text = f"{self._doing} …" if seconds < 1 else f"{self._doing} … {seconds:.0f} s"
        if text != self._shown:
            self._shown = text
            self._show(text)
