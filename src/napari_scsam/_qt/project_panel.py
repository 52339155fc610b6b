"""Before and around a project: the empty state, the form for a new one, open and export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_scsam._qt.widgets import button, small_button, text_label
from napari_scsam.controllers.open_layers import OpenScan
from napari_scsam.core.settings import Modality

WELCOME = (
    "Annotate scans with a model that learns from you.\n\n"
    "Click a structure, correct the outline, commit it. After a few slices, train a round: "
    "it suggests, you judge.\n\n"
    "Your images stay where they are; everything you make goes into one project folder."
)


@dataclass(frozen=True, eq=False)
class NewProject:
    """What the form asks for.

    Attributes
    ----------
    folder : Path
    classes : tuple of str
    images : tuple of Path
        Files and folders.
    layers : tuple of OpenScan
        Scans that are open as layers.
    modality : {'mr', 'ct', 'us', 'rgb', 'other'}
    """

    folder: Path
    classes: tuple[str, ...]
    images: tuple[Path, ...]
    layers: tuple[OpenScan, ...]
    modality: Modality


class WelcomePanel(QWidget):
    """What to do while no project is open.

    Signals
    -------
    sample_wanted :
        The person wants to try the sample project.
    """

    sample_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(text_label("welcome", WELCOME))
        layout.addWidget(button("try_sample", "Try the sample project", self.sample_wanted.emit))


class NewProjectForm(QWidget):
    """A form in the dock, never a modal dialog.

    Signals
    -------
    submitted : NewProject
    browse_folder, browse_images :
        The person wants a file dialog.
    cancelled :
        The form is no longer wanted.
    """

    submitted = Signal(object)
    browse_folder = Signal()
    browse_images = Signal()
    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder = QLineEdit()
        self.folder.setObjectName("new_folder")
        self.folder.setPlaceholderText("a new or empty folder")
        self.images = QLineEdit()
        self.images.setObjectName("new_images")
        self.images.setPlaceholderText("files or a folder")
        self.classes = QLineEdit()
        self.classes.setObjectName("new_classes")
        self.classes.setPlaceholderText("prostate, tumour")
        self.modality = QComboBox()
        self.modality.setObjectName("new_modality")
        for value, text in zip(
            get_args(Modality), ("MR", "CT", "Ultrasound", "Colour picture", "Other"), strict=True
        ):
            self.modality.addItem(text, value)
        self._layers: tuple[OpenScan, ...] = ()
        self._note = text_label("new_note")
        self._lay_out()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Folder", _with_button(self.folder, "browse_folder", self.browse_folder))
        form.addRow("Images", _with_button(self.images, "browse_images", self.browse_images))
        form.addRow("Classes", self.classes)
        form.addRow("Kind", self.modality)
        row = QHBoxLayout()
        row.addWidget(button("create_project", "Create project", self.submit), 2)
        row.addWidget(button("cancel_new", "Cancel", self.cancelled.emit), 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("New project"))
        layout.addLayout(form)
        layout.addWidget(self._note)
        layout.addLayout(row)

    def set_layers(self, layers: Sequence[OpenScan]) -> None:
        """Take open layers in place of files."""
        self._layers = tuple(layers)
        names = ", ".join(layer.name for layer in layers)
        self._note.setText(f"Open layers: {names}" if names else "")
        self._note.setVisible(bool(names))
        self.images.setPlaceholderText("more files (optional)" if names else "files or a folder")

    def submit(self) -> None:
        """Hand on what was filled in; the project room checks it."""
        images = tuple(Path(p.strip()) for p in self.images.text().split(";") if p.strip())
        classes = tuple(c.strip() for c in self.classes.text().split(",") if c.strip())
        folder = self.folder.text().strip()
        modality = self.modality.currentData()
        self.submitted.emit(
            NewProject(Path(folder) if folder else Path(), classes, images, self._layers, modality)
        )


class ProjectBar(QWidget):
    """Name of the project, and what opens, makes and exports one.

    Signals
    -------
    pressed : str
        ``open_project``, ``new_project``, ``use_open_layers`` or ``export``.
    """

    pressed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._name = text_label("project_name", "No project")
        font = self._name.font()
        font.setBold(True)
        self._name.setFont(font)
        self._buttons = {
            name: button(name, text, lambda name=name: self.pressed.emit(name), tip)
            for name, text, tip in (
                ("open_project", "Open…", "Open a project folder"),
                ("new_project", "New…", "Make a project"),
                ("use_open_layers", "Layers…", "Take the scans that are open into a project"),
                ("export", "Export…", "Write the committed labels for the next tool"),
            )
        }
        row = QHBoxLayout()
        row.setSpacing(4)
        for made in self._buttons.values():
            row.addWidget(made)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._name)
        layout.addLayout(row)
        self.show_project(None)

    @property
    def export_button(self) -> QWidget:
        """Where the menu of formats drops down from."""
        return self._buttons["export"]

    def show_project(self, name: str | None, *, read_only: bool = False) -> None:
        """Show the open project's name; None when there is none."""
        self._name.setText(
            "No project" if name is None else f"{name} (read-only)" if read_only else name
        )
        self._buttons["export"].setEnabled(name is not None)


def _with_button(field: QLineEdit, name: str, signal: Signal) -> QHBoxLayout:
    row = QHBoxLayout()
    row.addWidget(field, 1)
    browse = small_button(name, "…", "Choose")
    browse.clicked.connect(lambda _checked=False: signal.emit())
    row.addWidget(browse)
    return row
