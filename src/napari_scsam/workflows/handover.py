"""Handing a project over to another machine, and taking a round back that was trained there."""

from __future__ import annotations

import re
import shutil
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import INVALID, InputError
from napari_scsam.core.jobs import Progress, ProgressFn, ignore_progress
from napari_scsam.core.project_layout import (
    JOURNAL_FILE,
    LABELS_FOLDER,
    PENDING_FOLDER,
    PROJECT_FILE,
    ROUNDS_FOLDER,
    SCANS_FOLDER,
    TUNED_FOLDER,
)
from napari_scsam.core.round_contract import INPUTS_FILE, MANIFEST_FILE
from napari_scsam.io.atomic import TEMPORARY, flush_folder, make_folder, storage_error
from napari_scsam.io.real_files import (
    is_link,
    is_plain_file,
    is_plain_tree,
    make_real_folder,
    read_json,
)
from napari_scsam.project.backups import clear_errors, connect
from napari_scsam.project.files import hash_file, place_of
from napari_scsam.project.images import Images
from napari_scsam.project.journal import Journal
from napari_scsam.project.numbered import numbered
from napari_scsam.project.rounds import Rounds, manifest_hash
from napari_scsam.workflows.anonymising import (
    LEFT_IN,
    copy_images,
    write_anonymous_journal,
    write_anonymous_settings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_scsam.project import ImageRecord, Project, RoundRecord


@dataclass(frozen=True)
class Packed:
    """A portable copy of a project.

    Attributes
    ----------
    folder : Path
    images : int
        Images in it; the others are referenced where they are.
    missing : tuple of str
        Names of images that are not in it because their file is gone or has changed.
    left_in : tuple of str
        What an anonymised copy still tells, for the person.
    """

    folder: Path
    images: int
    missing: tuple[str, ...]
    left_in: tuple[str, ...] = ()


def pack(
    project: Project,
    out: Path,
    *,
    with_images: bool = False,
    anonymise: bool = False,
    progress: ProgressFn = ignore_progress,
) -> Packed:
    """Copy a project into a new folder, without its cache and its unfinished rounds.

    The project may be open read-only, and in use: what is committed meanwhile is not in the copy.
    The journal of the copy goes on by itself; what is labelled there comes back by `merge`, and a
    round by `take_round`.

    Parameters
    ----------
    project : Project
    out : Path
        New or empty; not in the project.
    with_images : bool
        Copy the images into it, too; otherwise they are referenced by their paths, but for those
        that are in the project's own folder.
    anonymise : bool
        Leave out names, paths, cases and the texts in the headers of the images, which are in the
        copy then; see `anonymising`. Labels still come back by `merge`.
    progress : callable
        Called before each step.

    Raises
    ------
    InputError
        If `out` can't be used, or `anonymise` is given without `with_images`.
    ProjectError
        If the disk is full or can't be written; then nothing is left there.
    """
    if out.resolve().is_relative_to(project.folder.resolve()):
        raise InputError(f"{out} is in the project itself: name a folder outside of it.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty: name a new folder.")
    if anonymise and not with_images:
        raise InputError("An anonymous copy can't refer to images by their paths: add --images.")
    make_folder(out)
    try:
        if anonymise:
            return _pack_anonymously(project, out, progress)
        return _pack(project, out, with_images, progress)
    except OSError as exc:
        _clear(out)
        raise storage_error(exc, out) from exc
    except BaseException:
        _clear(out)
        raise


def take_round(project: Project, folder: Path) -> RoundRecord:
    """Take a round that was trained in a copy of this project; it is promoted if it is better.

    A round that was not compared with the one that is active here is taken, and not promoted. All
    of its files are checked by their hashes, and its labels against those of this project.

    Parameters
    ----------
    project : Project
        Open for writing.
    folder : Path
        The finished round, such as ``copy/rounds/0002``.

    Raises
    ------
    InputError
        If it is no finished round, is damaged, is here already, or was not trained on labels of
        this project.
    ProjectError
        If the disk is full or can't be written.
    """
    inputs = _checked_round(folder)
    _check_origin(project, folder, inputs)
    number = _copied_round(project, folder)
    return next(record for record in project.adopt_rounds() if record.number == number)


def merge_rounds(project: Project, other: Project) -> tuple[list[int], list[str]]:
    """Copy the finished rounds of another project that this one lacks; none becomes active.

    Returns
    -------
    numbers : list of int
        Their numbers here.
    problems : list of str
        Rounds that can't be copied, and why.
    """
    here = {manifest_hash(record.folder) for record in project.rounds()}
    numbers, problems = [], []
    for record in other.rounds():
        known = manifest_hash(record.folder)
        if record.pruned or known is None or known in here:
            continue
        try:
            inputs = _checked_round(record.folder)
            _check_classes(project, record.folder, _classes_of(record.folder, inputs))
            project.adopt_rounds()  # what has just finished here is judged as ever
            numbers.append(_copied_round(project, record.folder))
            project.adopt_rounds(
                f"was merged from {other.folder}: to use it, make it active (rounds --promote)."
            )
        except InputError as exc:
            problems.append(f"Round {record.number} was not merged: {exc}")
    return numbers, problems


def round_numbers(project: Project, other: Project) -> dict[int, int]:
    """Return this project's number of each finished round of another one that both have."""
    here = {manifest_hash(record.folder): record.number for record in project.rounds()}
    hashes = {record.number: manifest_hash(record.folder) for record in other.rounds()}
    return {n: here[known] for n, known in hashes.items() if known is not None and known in here}


def _copied_round(project: Project, folder: Path) -> int:
    """Copy a round that was checked under the next number."""
    rounds = make_real_folder(project.folder, ROUNDS_FOLDER)
    begun = [e.payload.get("number") for kind in ("begin", "round") for e in project.events(kind)]
    taken = [number for number, _ in numbered(rounds, links=True)]
    number = 1 + max([0, *taken, *(n for n in begun if isinstance(n, int))])
    temporary = rounds / f".{number:04d}.taken"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(folder, temporary)
        _checked_round(temporary)
        temporary.rename(rounds / f"{number:04d}")
        flush_folder(rounds)
    except OSError as exc:
        raise storage_error(exc, rounds) from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return number


def _pack(project: Project, out: Path, with_images: bool, progress: ProgressFn) -> Packed:
    source = project.folder
    # First: a label that it names is there before it, and stays there.
    _copy_journal(source / JOURNAL_FILE, out / JOURNAL_FILE)
    with closing(Journal(out / JOURNAL_FILE)) as journal:
        progress(Progress(0, "Copying labels"))
        for name in (LABELS_FOLDER, TUNED_FOLDER, PENDING_FOLDER):
            _copy_files(source / name, out / name)
        progress(Progress(0, "Copying rounds"))
        for record in Rounds(source, journal).all():
            _copy_files(record.folder, out / ROUNDS_FOLDER / record.folder.name)
        images = Images(source, journal).all()
        own = None if with_images else source.resolve() / SCANS_FOLDER
        places, packed = _place_images(images, out, own, progress)
        journal.append_all(
            ("located", place_of(path.absolute(), out), image) for image, path in places.items()
        )
    # Last, because this file makes the folder a project.
    shutil.copy2(source / PROJECT_FILE, out / PROJECT_FILE)
    missing = tuple(record.name for record in images if record.id not in places)
    return Packed(out, packed, missing)


def _pack_anonymously(project: Project, out: Path, progress: ProgressFn) -> Packed:
    events = project.events()  # first, for the same reason
    known = {event.image for event in events if event.kind == "image"}
    images = [record for record in project.images() if record.id in known]
    progress(Progress(0, "Copying labels"))
    _copy_files(project.folder / LABELS_FOLDER, out / LABELS_FOLDER)
    copied, missing = copy_images(images, out, _file_of, progress)
    write_anonymous_journal(events, out, copied)
    write_anonymous_settings(project, out)
    return Packed(out, len(copied), tuple(missing), LEFT_IN)


def _copy_journal(source: Path, target: Path) -> None:
    """Copy the events of a journal that may be in use, as they are at one moment."""
    with (
        clear_errors(source),
        closing(connect(source)) as journal,
        closing(connect(target)) as copy,
    ):
        journal.backup(copy)


def _copy_files(source: Path, target: Path) -> None:
    """Copy a folder that may be in use, without links and temporary files."""
    if is_link(source) or not source.is_dir():
        return
    target.mkdir(parents=True)
    for path in list(source.iterdir()):
        if is_plain_file(path) and not re.match(TEMPORARY, path.name):
            with suppress(FileNotFoundError):  # such as uncommitted work that was just committed
                shutil.copy2(path, target / path.name)
        else:
            _copy_files(path, target / path.name)


def _place_images(
    images: Sequence[ImageRecord], out: Path, own: Path | None, progress: ProgressFn
) -> tuple[dict[str, Path], int]:
    """Copy the images in the folder `own`, or all of them without it.

    Returns
    -------
    places : dict of str to Path
        Where each image of the copy is; one that is gone or has changed is left out.
    count : int
        How many were copied.
    """
    places, count = {}, 0
    for number, record in enumerate(images):
        progress(Progress(number / len(images), "Copying images"))
        path = _file_of(record)
        if path is None:
            continue
        if own is None or path.resolve().is_relative_to(own):
            target = out / SCANS_FOLDER / f"{record.id}-{path.name}"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
            path = target
            count += 1
        places[record.id] = path
    return places, count


def _file_of(record: ImageRecord) -> Path | None:
    there = (path for path in record.places if path.is_file())
    return next((path for path in there if hash_file(path) == record.sha256), None)


def _clear(out: Path) -> None:
    """Remove what was copied into a folder that was empty."""
    for path in list(out.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _checked_round(folder: Path) -> dict[str, Any]:
    """Return a finished round's inputs, after a check of all its files by their hashes."""
    if not (folder / MANIFEST_FILE).is_file():
        raise InputError(f"{folder} is no finished round: it has no {MANIFEST_FILE}.")
    if not is_plain_tree(folder):
        raise InputError(f"{folder} has a link or a device in it, which a round may not have.")
    try:
        manifest = read_json(folder / MANIFEST_FILE)
        expected = {**manifest["files"], INPUTS_FILE: manifest["data"]}
        for name, sha256 in expected.items():
            path = (folder / name).resolve()
            if not path.is_relative_to(folder.resolve()) or hash_file(path) != sha256:
                raise InputError(f"{folder / name} is not what was trained (its hash differs).")
        inputs = read_json(folder / INPUTS_FILE)
        if not isinstance(inputs, dict):
            raise TypeError("its inputs are no table")
    except (OSError, *INVALID) as exc:
        if isinstance(exc, InputError):
            raise
        raise InputError(f"{folder} is damaged: {exc}.") from exc
    return inputs


def _check_origin(project: Project, folder: Path, inputs: dict[str, Any]) -> None:
    """Refuse a round that is here already, or of other labels or classes."""
    taken = {manifest_hash(record.folder): record.number for record in project.rounds()}
    number = taken.get(manifest_hash(folder))
    if number is not None:
        raise InputError(
            f"{folder} is round {number} of {project.name} already: to use it, make it active "
            f"(rounds --promote {number})."
        )
    _check_classes(project, folder, _classes_of(folder, inputs))
    known = {event.payload.get("sha256") for event in project.events("commit")}
    if not _label_hashes(folder, inputs) <= known:
        raise InputError(
            f"{folder} was trained on labels that {project.name} does not have: merge the project "
            "that it was trained in first."
        )


def _label_hashes(folder: Path, inputs: dict[str, Any]) -> set[str]:
    """The hashes of all files of the labels that a round was trained on."""
    try:
        labels = [image["label"] for image in inputs["images"] if image["label"]]
        files = chain(*(label.get("parts", [label]) for label in labels))
        return {file["sha256"] for file in files}
    except INVALID as exc:
        raise InputError(f"{folder / INPUTS_FILE} is damaged: {exc!r}.") from exc


def _classes_of(folder: Path, inputs: dict[str, Any]) -> list[tuple[int, str]]:
    try:
        return [(int(c["id"]), str(c["name"])) for c in inputs["classes"]]
    except INVALID as exc:
        raise InputError(f"{folder / INPUTS_FILE} is damaged: {exc}.") from exc


def _check_classes(project: Project, folder: Path, classes: list[tuple[int, str]]) -> None:
    if classes != [(c.id, c.name) for c in project.classes]:
        raise InputError(f"{folder} has other classes than {project.name}: it can't be taken.")
