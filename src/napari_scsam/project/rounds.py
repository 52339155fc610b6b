"""Rounds of co-training: their inputs, their results, and which one is active."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import INVALID, InputError, ProjectError
from napari_scsam.core.held_out import SplitImage, check_held_out
from napari_scsam.core.project_layout import CACHE_FOLDER, EMBEDDINGS_FOLDER, ROUNDS_FOLDER
from napari_scsam.core.round_contract import (
    CONFIG_FILE,
    FAILED,
    INPUTS_FILE,
    INPUTS_SCHEMA,
    MANIFEST_FILE,
    METRICS_FILE,
    PARTIAL,
)
from napari_scsam.core.settings import TrainSettings
from napari_scsam.core.windows import AUTO, Window, parse_window
from napari_scsam.io.atomic import make_folder, storage_error, write_bytes
from napari_scsam.io.real_files import is_plain_file, is_plain_tree, read_json
from napari_scsam.project import parsing
from napari_scsam.project.files import hash_file
from napari_scsam.project.interrupted import interrupted_round, resumable
from napari_scsam.project.numbered import numbered, remove_tree, unfinished
from napari_scsam.project.process import training_process
from napari_scsam.project.promotion import judge, not_compared
from napari_scsam.project.pruning import Pruned, Pruning
from napari_scsam.project.round_events import active_stack, begun_rounds, round_events
from napari_scsam.project.schema import (
    CommitRecord,
    ImageRecord,
    InterruptedRound,
    ProjectInfo,
    RoundRecord,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_scsam.project.journal import Journal


class Rounds:
    """The ``rounds`` folder of a project, and the events about rounds in its journal.

    Parameters
    ----------
    folder : Path
        The project folder.
    journal : Journal
        The project's.

    Attributes
    ----------
    pruning : Pruning
        Of old rounds.
    """

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._project = folder
        self._folder = folder / ROUNDS_FOLDER
        self._journal = journal
        self.pruning = Pruning(self._folder, journal)

    def begin(
        self,
        info: ProjectInfo,
        images: Sequence[tuple[ImageRecord, CommitRecord | None]],
        settings: TrainSettings,
        held_out: Sequence[str] = (),
    ) -> Path:
        """Write ``rounds/NNNN.partial/inputs.json`` and return that folder.

        Images whose file is missing are left out. The folders of failed rounds are deleted. If
        there is an interrupted round with the same inputs, its folder is returned instead, so
        that it is resumed.

        Raises
        ------
        InputError
            If the images `held_out` (IDs) can't be held out.
        ProjectError
            If there is no label to learn from, a round is being trained, or the disk
            is full.
        """
        present = [(image, label) for image, label in images if image.path.is_file()]
        if not any(label for _, label in present):
            lost = any(label for _, label in images)
            raise ProjectError(
                "The files of all labelled images are gone: put one back, then train."
                if lost
                else "There is no label to learn from yet: commit at least one slice, then train."
            )
        check_held_out(
            held_out, [SplitImage(i.id, i.name, i.case, label is not None) for i, label in present]
        )
        inputs = self._inputs(info, present, settings) | {"held_out": list(held_out)}
        interrupted = self._interrupted(inputs)
        if interrupted is not None:
            return interrupted
        self._clear_failed()
        number = self._next_number()
        folder = self._folder / f"{number:04d}{PARTIAL}"
        make_folder(folder)
        content = json.dumps({"round": number, **inputs}, indent=1)
        write_bytes(folder / INPUTS_FILE, content.encode())
        self._journal.append("begin", {"number": number})
        return folder

    def _inputs(
        self,
        info: ProjectInfo,
        images: Sequence[tuple[ImageRecord, CommitRecord | None]],
        settings: TrainSettings,
    ) -> dict[str, Any]:
        """The content of ``inputs.json``, without the round's number."""
        parent = self.active()
        return {
            "schema": INPUTS_SCHEMA,
            "project": info.name,
            "modality": info.modality,
            "window": info.window.name,
            "classes": [{"id": c.id, "name": c.name, "colour": c.colour} for c in info.classes],
            "images": [input_of(image, label) for image, label in images],
            "cache": str(self._project / CACHE_FOLDER / EMBEDDINGS_FOLDER),
            "cache_gb": info.cache_gb,
            "parent_round": parent and _parent_input(parent),
            "settings": settings.to_dict(),
        }

    def _interrupted(self, inputs: Mapping[str, Any]) -> Path | None:
        """The folder of a killed round that can be resumed and has the same `inputs`."""
        wanted = json.loads(json.dumps(inputs))
        for folder, found in resumable(self._folder):
            if {key: value for key, value in found.items() if key != "round"} == wanted:
                return folder
        return None

    def interrupted(self) -> InterruptedRound | None:
        """The last round that was killed and can be resumed; None if there is none."""
        return interrupted_round(self._folder)

    def discard(self, folder: Path) -> None:
        """Rename the folder of a cancelled or failed round to ``NNNN.failed``.

        It is kept until the next round starts, so that it can be inspected.
        """
        if folder.is_dir() and folder.name.endswith(PARTIAL):
            target = folder.with_suffix(FAILED)
            try:
                remove_tree(target)
                folder.rename(target)
            except OSError as exc:
                raise storage_error(exc, target) from exc

    def adopt(self, reason: str = "") -> list[RoundRecord]:
        """Check each finished round that is not in the journal, promote it or not, record it.

        With a `reason`, none is promoted, and the reason is recorded.
        """
        known = {event.number for event in round_events(self._journal) if event.kind == "round"}
        there = numbered(self._folder)
        found = sorted(n for n, suffix in there if not suffix and n not in known)
        for number in found:
            self._adopt_one(number, reason)
        return [record for record in self.all() if record.number in found]

    def all(self) -> list[RoundRecord]:
        """Every finished round in the order of numbers."""
        events = round_events(self._journal)
        active, pruned = active_stack(events)[-1:], self.pruning.done()
        records: dict[int, RoundRecord] = {}
        for event in events:
            number = event.number
            if event.kind == "round":
                folder = self._folder / f"{number:04d}"
                records[number] = RoundRecord(
                    number,
                    folder,
                    event.metrics,
                    [number] == active,
                    event.reason,
                    number in pruned,
                )
            elif number in records:
                records[number] = replace(records[number], reason=event.reason)
        return [records[number] for number in sorted(records)]

    def active(self) -> RoundRecord | None:
        """The round whose models make the suggestions; None before the first."""
        return next((record for record in self.all() if record.active), None)

    def promote(self, number: int) -> RoundRecord:
        """Make a round the active one, by a person's choice.

        Raises
        ------
        ProjectError
            If there is no such round, it was pruned, or its files are damaged.
        """
        numbers = [record.number for record in self.all()]
        if number not in numbers:
            raise ProjectError(f"There is no round {number}; there are {numbers or 'none yet'}.")
        self.pruning.refuse(number)
        fault = _fault_of(self._folder / f"{number:04d}")
        if fault:
            raise ProjectError(f"Round {number} can't be used: {fault}.")
        reason = f"Round {number} was made active by hand."
        self._journal.append("promote", {"number": number, "reason": reason})
        return self._record(number)

    def rollback(self) -> RoundRecord:
        """Return to the round that was active before this one.

        Raises
        ------
        ProjectError
            If there was none, or it was pruned.
        """
        stack = active_stack(round_events(self._journal))
        if len(stack) < 2:
            raise ProjectError("There is no earlier active round to go back to.")
        self.pruning.refuse(stack[-2])
        reason = f"Round {stack[-1]} was set aside by hand; round {stack[-2]} is active again."
        self._journal.append("rollback", {"number": stack[-1], "reason": reason})
        return self._record(stack[-2])

    def prune(self, keep: int) -> Pruned:
        """Remove the weights of all but the newest `keep` rounds; see `Training.prune`."""
        stack = active_stack(round_events(self._journal))
        return self.pruning.prune([record.number for record in self.all()], keep, stack)

    def _record(self, number: int) -> RoundRecord:
        return next(record for record in self.all() if record.number == number)

    def _adopt_one(self, number: int, why_not: str) -> None:
        folder = self._folder / f"{number:04d}"
        active = self.active()
        fault = _fault_of(folder)
        metrics: dict[str, Any] = {}
        if fault:
            promoted, reason = False, f"Round {number} can't be used: {fault}."
        else:
            metrics = parsing.metrics(read_json(folder / METRICS_FILE))
            promoted, reason = judge(number, metrics, active.number if active else None)
            if active is not None and not _goes_on_from(folder, active.folder):
                promoted, reason = False, not_compared(number, active.number)
            if why_not:
                promoted, reason = False, f"Round {number} {why_not}"
        payload = {"number": number, "metrics": metrics, "promoted": promoted, "reason": reason}
        self._journal.append("round", payload)

    def _clear_failed(self) -> None:
        for folder in unfinished(self._folder):
            if training_process(folder) is not None:
                raise ProjectError(
                    f"Round {int(folder.stem)} is being trained: wait for it or cancel it first."
                )
        for number, suffix in numbered(self._folder, links=True):
            if suffix:
                remove_tree(self._folder / f"{number:04d}{suffix}")

    def _next_number(self) -> int:
        taken = numbered(self._folder, links=True)
        return 1 + max([0, *begun_rounds(self._journal), *(number for number, _ in taken)])


def round_window(folder: Path) -> Window:
    """The intensity window that a round was trained with, and that its models need.

    "auto" for rounds of versions without windows, and for a damaged round, whose models are
    refused when they are loaded.
    """
    try:
        return parse_window(parsing.text(read_json(folder / CONFIG_FILE)["window"]))
    except (OSError, *INVALID):
        return AUTO


def round_settings(folder: Path) -> TrainSettings | None:
    """The settings that a finished round was trained with; None for a damaged one."""
    try:
        return TrainSettings.from_dict(read_json(folder / CONFIG_FILE)["settings"])
    except (OSError, *INVALID):
        return None


def manifest_hash(folder: Path) -> str | None:
    """What identifies a round in all copies of a project; None if its folder is incomplete."""
    manifest = folder / MANIFEST_FILE
    return hash_file(manifest) if is_plain_file(manifest) else None


def _fault_of(folder: Path) -> str:
    """Why a finished round's folder can't be used; an empty string if it can."""
    if not is_plain_tree(folder):
        return "its folder holds a link or a device, or is one"
    try:
        manifest = read_json(folder / MANIFEST_FILE)
        files = {str(name): str(sha256) for name, sha256 in manifest["files"].items()}
        if METRICS_FILE not in files:
            return f"its manifest names no {METRICS_FILE}"
        for name, sha256 in {**files, INPUTS_FILE: str(manifest["data"])}.items():
            path = (folder / name).resolve()
            if not path.is_relative_to(folder.resolve()):
                return f"its manifest names {name}, which is outside its folder"
            if hash_file(path) != sha256:
                return f"its file {name} is not what was trained (its hash differs)"
        metrics = parsing.metrics(read_json(folder / METRICS_FILE))
        judge(0, metrics, 0)  # raises if the metrics are incomplete
    except InputError as exc:  # a missing file
        return str(exc).rstrip(".")
    except (OSError, *INVALID) as exc:
        return f"its manifest or metrics can't be read ({exc})"
    return ""


def input_of(image: ImageRecord, label: CommitRecord | None) -> dict[str, Any]:
    """An image and its label, as ``inputs.json`` lists them for the training process."""
    return {
        "id": image.id,
        "case": image.case,
        "path": str(image.path),
        "sha256": image.sha256,
        "shape": list(image.shape),
        "rgb": image.rgb,
        "label": label and _label_input(label),
    }


def _parent_input(parent: RoundRecord) -> dict[str, Any]:
    """The round that a new one goes on from, as ``inputs.json`` names it.

    In copies of the project it may have another number, but the same manifest.
    """
    manifest = manifest_hash(parent.folder)
    return {"number": parent.number, "folder": str(parent.folder), "manifest": manifest}


def _goes_on_from(folder: Path, parent: Path) -> bool:
    """Whether the round in `folder` was trained from, and so compared with, that in `parent`."""
    try:
        manifest = parsing.sha256(read_json(folder / INPUTS_FILE)["parent_round"]["manifest"])
    except (OSError, *INVALID):  # it has no parent, or an earlier version began it
        return False
    return manifest == manifest_hash(parent)


def _label_input(label: CommitRecord) -> dict[str, Any]:
    """A label, as ``inputs.json`` lists it: by its file, or by all files if there are several."""
    about = {"version": label.version, "judged": label.judged.to_json()}
    if not label.is_slice:
        return {"path": str(label.path), "sha256": label.sha256, **about}
    parts = [{"plane": p.plane, "path": str(p.path), "sha256": p.sha256} for p in label.parts]
    return {"parts": parts, **about}
