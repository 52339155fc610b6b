"""Panels outside of annotation: welcome, form for a new project, open and export."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_scsam._qt.class_colours import ClassColours
from napari_scsam._qt.fold import Fold
from napari_scsam._qt.style import GAP, PRIMARY_HEIGHT
from napari_scsam._qt.widgets import button, small_button, text_label, title
from napari_scsam.core.settings import Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.project.open_layers import OpenScan

WELCOME = (
    "Annotate scans with a model that learns from you.\n\n"
    "Click a structure, correct the outline, commit it. After a few slices, train a round: "
    "it suggests, you judge.\n\n"
    "Your images stay where they are; everything you make goes into one project folder."
)

IMAGES_HINT = "files or a folder"


@dataclass(frozen=True, eq=False)
class NewProject:
    """Content of the form for a new project.

    Attributes
    ----------
    folder : Path
    classes : tuple of str
    images : tuple of Path
        Files and folders.
    layers : tuple of OpenScan
        Scans that are open as layers.
    modality : {'mr', 'ct', 'us', 'rgb', 'other'}
    colours : tuple of str
        Of the classes, ``#RRGGBB``; empty for the usual ones.
    """

    folder: Path
    classes: tuple[str, ...]
    images: tuple[Path, ...]
    layers: tuple[OpenScan, ...]
    modality: Modality
    colours: tuple[str, ...] = ()


class WelcomePanel(QWidget):
    """What can be done while no project is open.

    Signals
    -------
    sample_wanted :
        The sample project was requested.
    """

    sample_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2 * GAP)
        layout.addWidget(text_label("welcome", WELCOME))
        tip = "A real brain scan with a few slices committed, ready for a first round"
        sample = button(
            "try_sample", "Try the sample project", self.sample_wanted.emit, tip, primary=True
        )
        sample.setMinimumHeight(PRIMARY_HEIGHT)
        layout.addWidget(sample)


class NewProjectForm(QWidget):
    """A form in the dock, never a modal dialog.

    Signals
    -------
    submitted : NewProject
    browse_folder, browse_images :
        A file dialog was requested.
    cancelled :
        The form was cancelled.
    """

    submitted = Signal(object)
    browse_folder = Signal()
    browse_images = Signal()
    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder = _line("new_folder", "a new or empty folder", "Folder of the project")
        self.images = _line("new_images", IMAGES_HINT, "Images to annotate, separated by ;")
        self.classes = _line(
            "new_classes",
            "prostate, tumour",
            "Structures to outline, separated by commas. They can be changed later",
        )
        self.colours = ClassColours()
        self.modality = QComboBox()
        self.modality.setObjectName("new_modality")
        self.modality.setToolTip("Kind of the images, which decides on the intensity windows")
        for value, text in zip(
            get_args(Modality), ("MR", "CT", "Ultrasound", "Colour picture", "Other"), strict=True
        ):
            self.modality.addItem(text, value)
        self._layers: tuple[OpenScan, ...] = ()
        self._note = text_label("new_note")
        self._needed = text_label("new_needed")
        self._create = button(
            "create_project", "Create project", self.submit, "Reads every image once", primary=True
        )
        for field in (self.folder, self.images, self.classes):
            field.textChanged.connect(self._validate)
            field.returnPressed.connect(self.submit)
        self._lay_out()
        self._validate()

    def _lay_out(self) -> None:
        form = self._rows = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Folder", _with_button(self.folder, "browse_folder", self.browse_folder))
        form.addRow("Images", _with_button(self.images, "browse_images", self.browse_images))
        form.addRow("Classes", self.classes)
        form.addRow("Colours", self.colours)
        form.addRow("Kind", self.modality)
        row = QHBoxLayout()
        row.setSpacing(GAP)
        row.addWidget(self._create, 2)
        row.addWidget(button("cancel_new", "Cancel", self.cancelled.emit, "Close the form"), 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(title("new_title", "New project"))
        layout.addLayout(form)
        layout.addWidget(self._note)
        layout.addWidget(self._needed)
        layout.addLayout(row)

    def set_layers(self, layers: Sequence[OpenScan]) -> None:
        """Use open layers instead of files."""
        self._layers = tuple(layers)
        names = ", ".join(layer.name for layer in layers)
        self._note.setText(f"Open layers: {names}" if names else "")
        self._note.setVisible(bool(names))
        self.images.setPlaceholderText("more files (optional)" if names else IMAGES_HINT)
        self._validate()

    def _validate(self) -> None:
        """Show what is still missing; the values are checked when the project is created."""
        self.colours.show_classes(self._class_names())
        self._rows.setRowVisible(self.colours, bool(self._class_names()))
        missing = [
            words
            for words, given in (
                ("a folder", self.folder.text().strip()),
                ("an image", self._layers or self._paths()),
                ("a class", self._class_names()),
            )
            if not given
        ]
        self._needed.setText(f"Still needed: {', '.join(missing)}." if missing else "")
        self._needed.setVisible(bool(missing))
        self._create.setEnabled(not missing)

    def _paths(self) -> tuple[Path, ...]:
        return tuple(Path(p.strip()) for p in self.images.text().split(";") if p.strip())

    def _class_names(self) -> tuple[str, ...]:
        return tuple(c.strip() for c in self.classes.text().split(",") if c.strip())

    def submit(self) -> None:
        """Emit the content of the form."""
        if self._create.isEnabled():
            self.submitted.emit(
                NewProject(
                    Path(self.folder.text().strip()),
                    self._class_names(),
                    self._paths(),
                    self._layers,
                    self.modality.currentData(),
                    self.colours.colours,
                )
            )


# object name, text in rows of three, text in a column, tool tip
BAR = (
    ("new_project", "New…", "New project…", "Create a project from images on this disk"),
    ("open_project", "Open…", "Open project…", "Open a project folder"),
    ("use_open_layers", "Layers…", "Use open layers…", "Add the open layers to a project"),
    ("add_images", "Add images…", "Add images…", "Add images to the project: files or a folder"),
    ("export", "Export…", "Export…", "Write the committed labels to files"),
)
# Row, column and columns spanned by each of these buttons, where a project is open.
PLACES = ((1, 0, 1), (1, 1, 1), (1, 2, 1), (2, 0, 2), (2, 2, 1))


FOLD_TIP = "Open, create and export projects"


class ProjectBar(QWidget):
    """Name of the project, and buttons to open, create and export one.

    Signals
    -------
    pressed : str
        ``open_project``, ``new_project``, ``use_open_layers``, ``add_images`` or ``export``.
    """

    pressed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._name = title("project_name")
        self._buttons = {
            name: button(name, text, partial(self.pressed.emit, name), tip)
            for name, text, _, tip in BAR
        }
        body = QWidget()
        self._grid = QGridLayout(body)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP)
        self._fold = Fold("project_fold", FOLD_TIP, self._name, [body])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._fold)
        self.show_project(None)

    @property
    def export_button(self) -> QWidget:
        """Button below which the menu of formats opens."""
        return self._buttons["export"]

    @property
    def add_button(self) -> QWidget:
        """Button below which the menu of files and folders opens."""
        return self._buttons["add_images"]

    def show_project(self, name: str | None, *, read_only: bool = False) -> None:
        """Show the project's name and a row of buttons; without a project, a column of buttons."""
        is_open = name is not None
        shown = f"{name} (read-only)" if read_only else name or ""
        self._name.setText(f"Project: {shown}")
        self._name.setToolTip(shown)
        self._fold.show_line(is_open)
        for place, (key, short, long, _) in enumerate(BAR):
            made = self._buttons[key]
            made.setText(short if is_open else long)
            if is_open:
                row, column, columns = PLACES[place]
                self._grid.addWidget(made, row, column, 1, columns)
            else:
                self._grid.addWidget(made, 1 + place, 0, 1, len(BAR))
        for key in ("export", "add_images"):
            self._buttons[key].setVisible(is_open)
        self._buttons["export"].setEnabled(is_open)
        self._buttons["add_images"].setEnabled(is_open and not read_only)


def _line(name: str, placeholder: str, tip: str) -> QLineEdit:
    made = QLineEdit()
    made.setToolTip(tip)
    made.setObjectName(name)
    made.setPlaceholderText(placeholder)
    return made


def _with_button(field: QLineEdit, name: str, signal: Signal) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(GAP)
    row.addWidget(field, 1)
    browse = small_button(name, "…", "Choose")
    browse.clicked.connect(lambda _checked=False: signal.emit())
    row.addWidget(browse)
    return row
