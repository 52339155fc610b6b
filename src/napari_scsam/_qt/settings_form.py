"""Form made from a settings dataclass: names, bounds, units and help."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_args, get_type_hints

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from napari_scsam._qt.style import GAP
from napari_scsam.core.settings import TrainSettings

# Shares are shown in percent.
PERCENT = 100
# Percent per step of the arrows. Arbitrary.
SHARE_STEP = 5
# What a round starts with in the dock: it never takes the machine for longer than this without
# being asked to. Arbitrary, and several times what a round of the sample takes.
DOCK_MINUTES = 15.0


class SettingsForm(QWidget):
    """Edits the settings of a round that have a title; the others have options only.

    Signals
    -------
    changed :
        A setting was changed by hand or by `show_settings`.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._editors: dict[str, QWidget] = {}
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(GAP)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        hints = get_type_hints(TrainSettings)
        for item in fields(TrainSettings):
            if item.metadata["title"]:
                self._add(form, item.name, hints[item.name], item.default, item.metadata)
        self.set_value("minutes", DOCK_MINUTES)
        self._keep(TrainSettings(minutes=DOCK_MINUTES))

    def _add(self, form: QFormLayout, name: str, hint: Any, default: Any, meta: Any) -> None:
        editor, edited = _make_editor(hint, default, meta)
        editor.setObjectName(f"setting_{name}")
        editor.setToolTip(meta["help"])
        editor.setWhatsThis(meta["help"])
        editor.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        editor.installEventFilter(self)
        edited.connect(lambda *_: self.changed.emit())
        self._editors[name] = editor
        form.addRow(meta["title"], editor)
        form.labelForField(editor).setToolTip(meta["help"])

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ignore the wheel over an editor without focus, so that scrolling changes nothing."""
        unfocused = isinstance(watched, QWidget) and not watched.hasFocus()
        if unfocused and event is not None and event.type() == QEvent.Type.Wheel:
            event.ignore()
            return True
        return bool(super().eventFilter(watched, event))

    def settings(self) -> TrainSettings:
        """Return the settings; raises InputError if two of them contradict each other."""
        # A value with more digits than its editor shows is kept unless it is edited.
        found = {name: _value(editor) for name, editor in self._editors.items()}
        edited = {name: value for name, value in found.items() if value != self._shown[name]}
        return replace(self._base, **edited)

    def show_settings(self, settings: TrainSettings) -> None:
        """Show the settings of a round, and keep those without an editor."""
        for name in self._editors:
            self.set_value(name, getattr(settings, name))
        self._keep(settings)
        self.changed.emit()

    def forget_untitled(self) -> None:
        """Reset the settings without an editor to their defaults."""
        found = {name: _value(editor) for name, editor in self._editors.items()}
        self._keep(TrainSettings(**found))
        self.changed.emit()

    def _keep(self, base: TrainSettings) -> None:
        self._base = base
        self._shown = {name: _value(editor) for name, editor in self._editors.items()}

    def set_value(self, name: str, value: Any) -> None:
        """Set the value of one editor."""
        editor = self._editors[name]
        if isinstance(editor, QComboBox):
            editor.setCurrentIndex(editor.findData(value))
        elif isinstance(editor, QCheckBox):
            editor.setChecked(bool(value))
        else:
            _set_spin_box(editor, value)


def _make_editor(hint: Any, default: Any, meta: Any) -> tuple[QWidget, Any]:
    """Return an editor and the signal that it emits when it is changed."""
    choices = [c for c in get_args(hint) if isinstance(c, str)]
    if choices:
        combo = QComboBox()
        for choice in choices:
            combo.addItem(meta["choices"].get(choice, choice), choice)
        combo.setCurrentIndex(choices.index(default))
        # The longest choice must not widen the dock.
        combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        return combo, combo.currentIndexChanged
    if hint is bool:
        box = QCheckBox()
        box.setChecked(default)
        return box, box.toggled
    spin = _make_spin_box(hint, default, meta)
    return spin, spin.valueChanged


def _make_spin_box(hint: Any, default: Any, meta: Any) -> Any:
    optional = type(None) in get_args(hint)
    whole = int in (hint, *get_args(hint))
    share = not whole and meta["high"] <= 1
    scale = PERCENT if share else 1
    spin: Any = QSpinBox() if whole or share else QDoubleSpinBox()
    spin.setProperty("optional", optional)
    spin.setProperty("scale", scale)
    low = 0 if optional else meta["low"]
    spin.setRange(round(scale * low) if share else low, round(scale * meta["high"]))
    spin.setSpecialValueText(meta["unset"] if optional else "")
    if share:
        spin.setSingleStep(SHARE_STEP)
    unit = "%" if share else meta["unit"]
    spin.setSuffix(f" {unit}" if unit else "")
    _set_spin_box(spin, default)
    return spin


def _set_spin_box(spin: Any, value: Any) -> None:
    scale = spin.property("scale")
    spin.setValue(0 if value is None else value if scale == 1 else round(scale * value))


def _value(editor: Any) -> Any:
    if isinstance(editor, QComboBox):
        return editor.currentData()
    if isinstance(editor, QCheckBox):
        return editor.isChecked()
    value, scale = editor.value(), editor.property("scale")
    if editor.property("optional") and value == 0:
        return None
    return value if scale == 1 else value / scale
