"""Hides our helper layers in napari's list of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QListView

if TYPE_CHECKING:
    from collections.abc import Collection

# The role under which the list's model has the layer of a row. napari has no public name for it.
LAYER = int(Qt.ItemDataRole.UserRole)


class LayerRows:
    """Keeps rows out of a viewer's list of layers; the layers themselves are not changed.

    napari has no setting for this. If its list can't be found, all layers stay listed.
    """

    def __init__(self) -> None:
        self._layers: tuple[Any, ...] = ()
        self._list: QListView | None = None

    def hide(self, layers: Collection[Any]) -> None:
        """Hide the rows of these layers of a viewer, also after the list has changed."""
        self._layers = tuple(layers)
        found = next((view for view in _lists() if self._rows(view)), None)
        if found is not None and found is not self._list:
            self._list = found
            model = found.model()
            for changed in (model.rowsInserted, model.rowsMoved, model.layoutChanged):
                changed.connect(self._update)
        self._update()

    def close(self) -> None:
        """Stop hiding rows."""
        if self._list is None:
            return
        model = self._list.model()
        for changed in (model.rowsInserted, model.rowsMoved, model.layoutChanged):
            changed.disconnect(self._update)
        for row in self._rows(self._list):
            self._list.setRowHidden(row, False)
        self._list, self._layers = None, ()

    def _update(self, *_: Any) -> None:
        if self._list is not None:
            for row in self._rows(self._list):
                self._list.setRowHidden(row, True)

    def _rows(self, view: QListView) -> list[int]:
        """Rows of the layers in a list."""
        model, ours = view.model(), set(map(id, self._layers))
        rows = range(0 if model is None else model.rowCount())
        return [row for row in rows if id(model.index(row, 0).data(LAYER)) in ours]


def _lists() -> list[QListView]:
    """The lists of layers of all windows; napari does not export their class."""
    return [
        found
        for window in QApplication.topLevelWidgets()
        for found in window.findChildren(QListView)
        if type(found).__name__ == "QtLayerList"
    ]
