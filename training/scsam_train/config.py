"""The inputs of one round: ``inputs.json``, read and validated."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_scsam.core.errors import INVALID, InputError
from napari_scsam.core.held_out import SplitImage, check_held_out
from napari_scsam.core.judged import Judged
from napari_scsam.core.round_contract import INPUTS_FILE, INPUTS_SCHEMA
from napari_scsam.core.settings import CACHE_GB, TrainSettings
from napari_scsam.core.windows import AUTO, Window, parse_window
from napari_scsam.io.label_parts import LabelPart


@dataclass(frozen=True)
class FileRef:
    """A file and its expected SHA-256."""

    path: Path
    sha256: str

    def check(self) -> Path:
        """Check the content and return the path.

        Raises
        ------
        InputError
            If the file is missing or was changed.
        """
        try:
            with self.path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as exc:
            raise InputError(f"{self.path} can't be read: {exc.strerror}.") from exc
        if found != self.sha256:
            raise InputError(
                f"{self.path} is not the file that was added to the project: it was changed. "
                "Add it again."
            )
        return self.path


@dataclass(frozen=True)
class SlicedLabel:
    """A committed label map that is stored in several files.

    Attributes
    ----------
    parts : tuple of LabelPart
        The whole volume first, if there is one, then single slices.
    """

    parts: tuple[LabelPart, ...]


@dataclass(frozen=True)
class ImageInput:
    """One image of the project, and its committed label map if it has one.

    `judged` holds the classes that were judged on its planes; None means all classes.
    """

    id: str
    case: str
    file: FileRef
    label: FileRef | SlicedLabel | None
    judged: Judged | None = None


@dataclass(frozen=True)
class Inputs:
    """Everything that a round may read.

    Attributes
    ----------
    class_names : dict of int to str
        Classes by id, ascending.
    images : tuple of ImageInput
    parent : Path or None
        Folder of the round whose weights are the starting point.
    settings : TrainSettings
    sha256 : str
        Hash of inputs.json itself.
    window : Window
        Intensity window, applied to every plane before it goes to a model.
    cache : Path or None
        Folder of the embedding cache, shared with the annotation window.
    cache_gb : float
        Size limit of the cache, in GB of 10^9 bytes.
    held_out : tuple of str
        Ids of the images that the user holds out. Empty: the split is drawn at random.
    """

    class_names: dict[int, str]
    images: tuple[ImageInput, ...]
    parent: Path | None
    settings: TrainSettings
    sha256: str
    window: Window = AUTO
    cache: Path | None = None
    cache_gb: float = CACHE_GB
    held_out: tuple[str, ...] = ()

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Class ids, ascending."""
        return tuple(self.class_names)


def read_inputs(folder: Path) -> Inputs:
    """Read ``inputs.json`` from the folder of a round.

    Raises
    ------
    InputError
        If it is missing or damaged, has another schema, lists no label, or holds out images
        that can't be held out.
    """
    path = folder / INPUTS_FILE
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
        schema = content["schema"]
    except (OSError, *INVALID) as exc:
        raise InputError(f"{folder} is not the folder of a round: no valid {INPUTS_FILE}.") from exc
    if schema != INPUTS_SCHEMA:
        raise InputError(
            f"{path} has schema {schema}, this version reads {INPUTS_SCHEMA}: update it."
        )
    try:
        inputs = _parse(content, hashlib.sha256(raw).hexdigest())
    except INVALID as exc:
        raise InputError(f"{path} is damaged: {exc!r} while reading it.") from exc
    if not any(image.label for image in inputs.images):
        raise InputError("There is no label to learn from: commit at least one first.")
    check_held_out(inputs.held_out, [_split_image(image) for image in inputs.images])
    return inputs


def _split_image(image: ImageInput) -> SplitImage:
    return SplitImage(image.id, image.file.path.name, image.case, image.label is not None)


def _parse(content: dict[str, Any], sha256: str) -> Inputs:
    names = {int(c["id"]): str(c["name"]) for c in content["classes"]}
    parent, cache = content["parent_round"], content.get("cache")
    return Inputs(
        class_names=dict(sorted(names.items())),
        images=tuple(image_input(item) for item in content["images"]),
        parent=None if parent is None else Path(parent["folder"]),
        settings=TrainSettings.from_dict(content["settings"]),
        sha256=sha256,
        window=parse_window(str(content.get("window", AUTO.name))),
        cache=None if cache is None else Path(cache),
        cache_gb=float(content.get("cache_gb", CACHE_GB)),
        held_out=tuple(str(image_id) for image_id in content.get("held_out") or ()),
    )


def image_input(item: dict[str, Any]) -> ImageInput:
    """Parse one entry of ``images``; raises KeyError, TypeError or ValueError if it is damaged.

    Entries of older versions have no ``judged``: all classes were judged.
    """
    label = item["label"]
    judged = None if label is None else label.get("judged")
    return ImageInput(
        id=str(item["id"]),
        case=str(item["case"]),
        file=FileRef(Path(item["path"]), item["sha256"]),
        label=None if label is None else _label_input(label),
        judged=None if judged is None else Judged.from_json(judged),
    )


def _label_input(label: dict[str, Any]) -> FileRef | SlicedLabel:
    if "parts" not in label:
        return FileRef(Path(label["path"]), label["sha256"])
    return SlicedLabel(
        tuple(LabelPart(p["plane"], Path(p["path"]), str(p["sha256"])) for p in label["parts"])
    )
