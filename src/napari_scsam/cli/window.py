"""The default command, which opens napari with the dock."""

from __future__ import annotations

import difflib
from pathlib import Path

from napari_scsam.cli.signals import end_at_sigterm
from napari_scsam.core.errors import InputError, MissingDependencyError
from napari_scsam.core.project_layout import PROJECT_FILE

COMMANDS = (
    "add", "demo", "doctor", "evaluate", "export", "label", "merge", "new", "pack", "predict",
    "rank", "report", "rounds", "segment", "settings", "suggest", "train", "tune",
)  # fmt: skip


def window(*paths: Path) -> None:
    """Open napari with the SC-SAM dock.

    Parameters
    ----------
    paths
        A project folder, or scans.
    """
    open_window(*paths)


def open_window(*paths: Path) -> None:
    """Open napari on a project folder or on scans; return when it is closed.

    Raises
    ------
    InputError
        If a path does not exist, or a project is given together with other paths.
    MissingDependencyError
        If napari is not installed.
    """
    _check(paths)
    try:
        # The only line of the command line that may import a view.
        from napari_scsam._qt.window import run_window  # noqa: TID251
    except ImportError as exc:
        raise MissingDependencyError(
            f"The window needs napari and Qt ({exc.name!r} is missing). "
            'Install them with: pip install "napari-scsam[all]"',
            name=exc.name,
        ) from exc
    end_at_sigterm()
    run_window(paths)


def _check(paths: tuple[Path, ...]) -> None:
    for path in paths:
        if path.exists():
            continue
        if path.suffix or len(path.parts) > 1:
            raise InputError(f"There is no file or folder {path}.")
        close = difflib.get_close_matches(str(path), COMMANDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else " See --help."
        raise InputError(f"There is no command and no file or folder named {str(path)!r}.{hint}")
    projects = [path for path in paths if (path / PROJECT_FILE).is_file()]
    if projects and len(paths) > 1:
        raise InputError(f"Open one project at a time, without other paths: {projects[0]}.")
