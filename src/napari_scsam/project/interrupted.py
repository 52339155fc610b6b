"""Rounds whose process was killed, and that can be resumed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import INVALID
from napari_scsam.core.round_contract import (
    EVENTS_FILE,
    INPUTS_FILE,
    PARTIAL,
    RESUME_FILE,
    EventKind,
)
from napari_scsam.core.settings import TrainSettings
from napari_scsam.io.real_files import (
    MAX_JSON_BYTES,
    is_plain_tree,
    parse_json,
    read_json,
    read_real,
)
from napari_scsam.project.numbered import numbered
from napari_scsam.project.process import training_process
from napari_scsam.project.schema import InterruptedRound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


def resumable(rounds: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folders with the checkpoint of a killed round, and its inputs, in the order of numbers.

    Parameters
    ----------
    rounds : Path
        A project's ``rounds`` folder.
    """
    for number, suffix in sorted(numbered(rounds)):
        folder = rounds / f"{number:04d}{suffix}"
        if (
            suffix != PARTIAL
            or not (folder / RESUME_FILE).is_file()
            or training_process(folder) is not None
        ):
            continue
        # It was cancelled or has failed, but the folder was not renamed.
        if any(
            event["event"] in (EventKind.CANCELLED, EventKind.FAILED)
            for event in _events(folder)[-1:]
        ):
            continue
        try:
            if not is_plain_tree(folder):
                continue
            inputs = read_json(folder / INPUTS_FILE)
        except (OSError, ValueError):
            continue
        if isinstance(inputs, dict):
            yield folder, inputs


def interrupted_round(rounds: Path) -> InterruptedRound | None:
    """The last round in the folder that was killed and can be resumed; None if there is none."""
    found = None
    for folder, inputs in resumable(rounds):
        try:
            settings = TrainSettings.from_dict(inputs["settings"])
            held_out = tuple(str(image) for image in inputs.get("held_out") or ())
        except INVALID:  # written by another version
            continue
        step = _kept_step(_events(folder))
        found = InterruptedRound(int(folder.stem), folder, step, settings, held_out)
    return found


def _events(folder: Path) -> list[dict[str, Any]]:
    """The events of the training process, without lines that a power cut left incomplete."""
    found = []
    with suppress(OSError):
        for line in read_real(folder / EVENTS_FILE, MAX_JSON_BYTES).splitlines():
            with suppress(ValueError):
                event = parse_json(line)
                if isinstance(event, dict) and "event" in event:
                    found.append(event)
    return found


def _kept_step(events: Sequence[Mapping[str, Any]]) -> int:
    """The step of the last checkpoint; 0 if there is none."""
    kept = (e.get("step") for e in reversed(events) if e["event"] == EventKind.KEPT)
    return next((step for step in kept if isinstance(step, int)), 0)
