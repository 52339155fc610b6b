"""Loading of weight files: without running code, strictly, and identified by SHA-256."""

from __future__ import annotations

import hashlib
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_scsam.core.errors import ModelError

# Errors of torch.load(weights_only=True) and its readers for files of other formats.
_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    UnicodeError,
    RecursionError,
)
# Keys under which training scripts store weights among other things.
_WRAPPERS = ("model", "state_dict")
# Largest ratio of the bytes in a checkpoint to those of its file. Arbitrary; torch packs nothing.
_MAX_RATIO = 4
# Keys that a message names. Arbitrary.
_NAMED = 3


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits, read in blocks.

    Raises
    ------
    ModelError
        If the file can't be read.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise ModelError(f"The checkpoint {path} can't be read: it is no file.")
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise ModelError(f"The checkpoint {path} can't be read: {exc.strerror}.") from exc


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read weights from a ``.safetensors`` file or a torch checkpoint, on the CPU.

    No code in the file is ever run: torch checkpoints are read with
    ``weights_only=True``.

    Raises
    ------
    ModelError
        If the file is missing, is not a checkpoint, or contains anything but weights.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"There is no checkpoint file {path}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = _load_torch(path)
    except OSError as exc:
        raise ModelError(f"The checkpoint {path} can't be read: {exc.strerror}.") from exc
    except (*_UNREADABLE, SafetensorError) as exc:
        raise ModelError(
            f"{path.name} is not a checkpoint that can be loaded safely: it is damaged, or holds "
            "something other than weights. Use the file as its authors published it."
        ) from exc
    return _weights_in(content, path)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load `state` into `module`; names and shapes must match exactly.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    state : mapping of str to Tensor
        Parameters and persistent buffers.
    what : str
        Name of what is loaded, for the error message.

    Raises
    ------
    ModelError
        If names or shapes differ; the first few are listed.
    """
    own = module.state_dict()
    problems = [
        _listed("missing", sorted(own.keys() - state.keys())),
        _listed("unexpected", sorted(state.keys() - own.keys())),
        _listed(
            "of another shape",
            sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape),
        ),
    ]
    found = [text for text in problems if text]
    if found:
        raise ModelError(f"{what} has other weights than its network: {'; '.join(found)}.")
    module.load_state_dict(state, strict=True)


def _load_torch(path: Path) -> Any:
    _refuse_packed(path)
    with warnings.catch_warnings():
        # For files that are not from torch, it asks to file an issue.
        warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def _refuse_packed(path: Path) -> None:
    """Refuse a zip archive that unpacks to more than its bytes; torch stores weights unpacked."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(item.file_size for item in archive.infolist())
    if size > _MAX_RATIO * path.stat().st_size:
        raise ModelError(
            f"{path.name} unpacks to {size} bytes, so it is no checkpoint as torch writes it."
        )


def _weights_in(content: Any, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{path.name} holds no weights, but {type(content).__name__}.")
    strange = [k for k, v in content.items() if not isinstance(v, Tensor)]
    if strange:
        raise ModelError(f"{path.name} holds entries that are not weights, such as {strange[0]!r}.")
    return dict(content)


def _listed(problem: str, names: list[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:_NAMED])
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} {problem} ({shown}{rest})"
