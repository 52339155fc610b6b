"""The napari window with the dock, for the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.project_layout import PROJECT_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run_window(paths: Sequence[Path]) -> None:
    """Open napari on a project folder or on scans; returns when it is closed.

    Parameters
    ----------
    paths : sequence of Path
        One project folder, or files of images; may be empty.
    """
    import napari

    viewer = napari.Viewer(title="SC-SAM")
    _, dock = viewer.window.add_plugin_dock_widget("napari-scsam")
    if paths and (paths[0] / PROJECT_FILE).is_file():
        dock.open_project_folder(paths[0])
    else:
        for path in paths:
            is_nifti = path.name.endswith((".nii", ".nii.gz"))
            viewer.open(path, plugin="napari-scsam" if is_nifti else "napari")
    napari.run()
