"""The commands train and tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from napari_scsam.cli.opening import opened
from napari_scsam.cli.options import Json, Many
from napari_scsam.cli.projects import round_data
from napari_scsam.cli.report import Report, StderrProgress
from napari_scsam.cli.signals import terminated
from napari_scsam.core.errors import Cancelled
from napari_scsam.core.jobs import CancelToken, Progress
from napari_scsam.core.round_contract import EventKind
from napari_scsam.core.settings import TrainSettings, TuneSettings
from napari_scsam.rounds.child_process import Event
from napari_scsam.rounds.cost_estimate import estimate_round
from napari_scsam.rounds.progress import early_stop_text, estimate_text
from napari_scsam.rounds.running_round import TrainingController
from napari_scsam.rounds.tuning import RunningTuning
from napari_scsam.workflows.effort import steps
from napari_scsam.workflows.round_effect import round_effect

DEFAULTS = TrainSettings()
TUNE_DEFAULTS = TuneSettings()
# Events printed as permanent lines.
PRINTED = {EventKind.ESTIMATE: estimate_text, EventKind.EARLY_STOP: early_stop_text}


def train(
    folder: Path,
    /,
    *,
    settings: Annotated[TrainSettings, Parameter(name="*")] = DEFAULTS,
    held_out: Annotated[list[str] | None, Many] = None,
    json: Json = False,
) -> Report:
    """Train one round on labelled and unlabelled images; Ctrl+C or SIGTERM cancels.

    Parameters
    ----------
    folder
        The project folder.
    held_out
        IDs or paths of labelled images for validation instead of training; by default cases are
        drawn at random, as given by --holdout.
    """
    stop = CancelToken()
    with opened(folder) as project, StderrProgress() as progress, terminated(stop):
        cost = estimate_round(project, settings)
        running = TrainingController(project).start(settings, held_out or ())
        if running.resumed:  # the estimate does not take into account what is already done
            cost = None
        # Not earlier, so that an error in starting is the only line.
        if cost is not None:
            progress.say(cost.sentence)
            if cost.note:
                progress.say(cost.note)
        try:
            record = running.run(lambda event: _show(event, progress), stop)
        except KeyboardInterrupt:
            stop.cancel()
            record = running.run(lambda event: None, stop)
        if record is None:
            raise Cancelled("Cancelled.")
        effect = round_effect(project.rounds(), steps(project.events()))
    estimated = None if cost is None else cost.to_dict()
    data = {"round": round_data(record), "estimate": estimated, "effect": effect}
    return Report(data, f"{record.reason}\n{effect}", json)


def tune(
    folder: Path,
    /,
    *,
    settings: Annotated[TuneSettings, Parameter(name="*")] = TUNE_DEFAULTS,
    json: Json = False,
) -> Report:
    """Tune the SAM that decodes clicks on the committed labels; Ctrl+C cancels.

    It is kept and used in the window if it is not worse on committed slices that were held out.

    Parameters
    ----------
    folder
        The project folder.
    """
    with opened(folder) as project, StderrProgress() as progress:
        running = RunningTuning.start(project, settings)
        try:
            record = running.run(lambda event: _show(event, progress))
        except KeyboardInterrupt:
            running.cancel()
            record = None
    if record is None:
        raise Cancelled("Cancelled.")
    data = {"number": record.number, "kept": record.kept, "folder": record.folder}
    return Report({"tuning": {**data, "report": record.report}}, record.reason, json)


def _show(event: Event, progress: StderrProgress) -> None:
    if event["event"] in PRINTED:
        progress.say(PRINTED[event["event"]](event))
    elif event["event"] == EventKind.MESSAGE:
        progress(Progress(0.0, str(event["text"])))
    elif event["event"] == EventKind.PROGRESS and event.get("steps"):
        progress(
            Progress(
                event.get("fraction", event["step"] / event["steps"]),
                str(event["phase"]).capitalize(),
            )
        )
