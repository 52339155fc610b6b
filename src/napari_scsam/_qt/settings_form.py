"""A form made from a settings dataclass: its names, bounds, units and help."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args, get_type_hints

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLineEdit,
    QSpinBox,
    QWidget,
)

from napari_scsam.core.settings import TrainSettings

# What a person changes, and its name in the form; the rest is for the command line.
SHOWN = {
    "steps": "Steps",
    "minutes": "Time limit",
    "device": "Train on",
    "unlabelled_planes": "Unlabelled slices",
    "holdout": "Held out",
    "mirror": "Mirror left-right",
    "seed": "Seed",
}


class SettingsForm(QWidget):
    """Edits a TrainSettings; what is not shown keeps its default."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._editors: dict[str, QWidget] = {}
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        hints = get_type_hints(TrainSettings)
        known = {item.name: item for item in fields(TrainSettings)}
        for name, text in SHOWN.items():
            editor = _make_editor(hints[name], known[name].default, known[name].metadata)
            editor.setObjectName(f"setting_{name}")
            editor.setToolTip(known[name].metadata["help"])
            editor.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            editor.installEventFilter(self)
            self._editors[name] = editor
            form.addRow(text, editor)
            form.labelForField(editor).setToolTip(known[name].metadata["help"])

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep the wheel from an editor without focus: scrolling past must change nothing."""
        if event.type() == QEvent.Type.Wheel and not watched.hasFocus():
            event.ignore()
            return True
        return super().eventFilter(watched, event)

    def settings(self) -> TrainSettings:
        """The settings as they stand; raises InputError where two clash."""
        return TrainSettings.from_dict({n: _value(e) for n, e in self._editors.items()})

    def set_value(self, name: str, value: Any) -> None:
        """Put a value into the form."""
        editor = self._editors[name]
        if isinstance(editor, QComboBox):
            editor.setCurrentText(str(value))
        elif isinstance(editor, QCheckBox):
            editor.setChecked(bool(value))
        elif isinstance(editor, QLineEdit):
            editor.setText(str(value))
        else:
            editor.setValue(0 if value is None else value)


def _make_editor(hint: Any, default: Any, meta: Any) -> QWidget:
    choices = [c for c in get_args(hint) if isinstance(c, str)]
    if choices:
        combo = QComboBox()
        combo.addItems(choices)
        combo.setCurrentText(default)
        return combo
    if hint is bool:
        box = QCheckBox()
        box.setChecked(default)
        return box
    if hint is str:
        return QLineEdit(default)
    return _make_spin_box(hint, default, meta)


def _make_spin_box(hint: Any, default: Any, meta: Any) -> QWidget:
    optional = type(None) in get_args(hint)
    whole = int in (hint, *get_args(hint))
    spin: Any = QSpinBox() if whole else QDoubleSpinBox()
    low = 0 if optional else meta["low"]
    spin.setRange(low, meta["high"])
    spin.setSpecialValueText("automatic" if optional else "")
    if not whole:
        spin.setSingleStep(0.05 if meta["high"] <= 1 else 1.0)
    spin.setSuffix(f" {meta['unit']}" if meta["unit"] else "")
    spin.setProperty("optional", optional)
    spin.setValue(low if default is None else default)
    return spin


def _value(editor: Any) -> Any:
    if isinstance(editor, QComboBox):
        return editor.currentText()
    if isinstance(editor, QCheckBox):
        return editor.isChecked()
    if isinstance(editor, QLineEdit):
        return editor.text()
    value = editor.value()
    return None if editor.property("optional") and value == 0 else value
