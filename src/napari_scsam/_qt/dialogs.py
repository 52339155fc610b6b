"""File dialogs that do not block the window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QMenu, QMessageBox, QWidget

from napari_scsam.io import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_scsam._qt.project_panel import NewProjectForm
    from napari_scsam.core.settings import ExportFormat

EXPORTS: tuple[tuple[ExportFormat, str], ...] = (
    ("nifti", "NIfTI, with the source's affine"),
    ("tiff", "TIFF, with its spacing"),
    ("png", "PNG, one file per slice"),
)


def ask_folder(parent: QWidget, title: str, on_chosen: Callable[[Path], object]) -> QFileDialog:
    """Open a folder dialog; `on_chosen` is called with the chosen folder."""
    dialog = QFileDialog(parent, title)
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly, True)
    dialog.fileSelected.connect(lambda path: on_chosen(Path(path)))
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()
    return dialog


def ask_images(
    parent: QWidget, title: str, on_chosen: Callable[[list[Path]], object]
) -> QFileDialog:
    """Open a dialog for image files; `on_chosen` is called with the chosen files."""
    dialog = QFileDialog(parent, title)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
    patterns = " ".join(f"*{suffix}" for suffix in IMAGE_SUFFIXES)
    dialog.setNameFilters([f"Images ({patterns})", "All files (*)"])
    dialog.filesSelected.connect(lambda paths: on_chosen([Path(p) for p in paths]))
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()
    return dialog


def browse_for(parent: QWidget, form: NewProjectForm) -> None:
    """Let the buttons of a new project's form open dialogs for its folder and its images."""
    form.browse_folder.connect(
        lambda: ask_folder(
            parent, "Folder of the new project", lambda p: form.folder.setText(str(p))
        )
    )
    form.browse_images.connect(
        lambda: ask_images(
            parent,
            "Images of the new project",
            lambda paths: form.images.setText("; ".join(map(str, paths))),
        )
    )


def ask_export(
    button: QWidget, parent: QWidget, on_chosen: Callable[[Path, ExportFormat], object]
) -> QMenu:
    """Open a menu of formats below `button`, then a dialog for the target folder."""
    menu = QMenu(parent)
    for format, text in EXPORTS:
        menu.addAction(text).triggered.connect(
            lambda _checked=False, format=format: ask_folder(
                parent, "Folder to export to", lambda folder: on_chosen(folder, format)
            )
        )
    menu.aboutToHide.connect(menu.deleteLater)
    menu.popup(button.mapToGlobal(button.rect().bottomLeft()))
    return menu


def ask_images_or_folder(
    button: QWidget, parent: QWidget, on_chosen: Callable[[list[Path]], object]
) -> QMenu:
    """Open a menu below `button`: image files, or a folder of them."""
    menu = QMenu(parent)
    menu.addAction("Files…").triggered.connect(
        lambda _checked=False: ask_images(parent, "Images to add", on_chosen)
    )
    menu.addAction("A folder…").triggered.connect(
        lambda _checked=False: ask_folder(
            parent, "Folder with images to add", lambda folder: on_chosen([folder])
        )
    )
    menu.aboutToHide.connect(menu.deleteLater)
    menu.popup(button.mapToGlobal(button.rect().bottomLeft()))
    return menu


def ask_to_add(parent: QWidget, found: str, on_yes: Callable[[], object]) -> QMessageBox:
    """Open a question on whether the images that were found are added."""
    box = QMessageBox(parent)
    box.setObjectName("add_question")
    box.setText(f"{found}. Add them to the project? They stay where they are.")
    add = box.addButton("Add", QMessageBox.ButtonRole.AcceptRole)
    add.setObjectName("add_found")
    box.setDefaultButton(add)
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.buttonClicked.connect(lambda pressed: on_yes() if pressed is add else None)
    box.finished.connect(box.deleteLater)
    box.open()
    return box


def ask_to_replace(
    parent: QWidget, paths: Sequence[Path], on_yes: Callable[[], object]
) -> QMessageBox:
    """Open a question on whether existing files are replaced; `on_yes` is called if so."""
    more = f" and {len(paths) - 1} more" if paths[1:] else ""
    box = QMessageBox(parent)
    box.setObjectName("replace_question")
    box.setText(f"{paths[0].name}{more} in {paths[0].parent} exist already. Replace them?")
    replace = box.addButton("Replace", QMessageBox.ButtonRole.AcceptRole)
    replace.setObjectName("replace_files")
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.buttonClicked.connect(lambda pressed: on_yes() if pressed is replace else None)
    box.finished.connect(box.deleteLater)
    box.open()
    return box
