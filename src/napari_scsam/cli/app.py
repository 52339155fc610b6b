"""The application with all commands."""

from __future__ import annotations

from cyclopts import App

import napari_scsam
from napari_scsam.cli import (
    demo,
    doctor,
    handover,
    models,
    projects,
    ranking,
    reporting,
    tagging,
    training,
    window,
)

HELP = """Suggest, correct and co-train: SC-SAM segmentation of medical scans.

Without a command, opens napari with the SC-SAM dock on a project folder or on scans."""


def build_app() -> App:
    """Build the application with every command registered."""
    app = App(
        name="napari-scsam",
        help=HELP,
        help_format="plaintext",
        version=napari_scsam.__version__,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        help_on_error=False,
        suppress_keyboard_interrupt=False,  # our own line says that it was cancelled
    )
    app.default(window.window)
    for command in (
        demo.demo,
        projects.new,
        projects.add,
        projects.label,
        projects.settings,
        tagging.tag,
        training.train,
        training.tune,
        ranking.rank,
        reporting.report,
        handover.merge,
        handover.pack,
        projects.rounds,
        models.suggest,
        models.predict,
        models.segment,
        models.evaluate,
        projects.export,
        doctor.doctor,
    ):
        app.command(command)
    return app
