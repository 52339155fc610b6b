"""Results of a run, stored in one small file, and the key that identifies the run."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import zlib
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari_scsam
import scsam_train
from napari_scsam.core.errors import InputError
from scsam_train.benchmark.machines import is_ordinary
from scsam_train.benchmark.plan import embeds
from scsam_train.engine import ENGINE_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_scsam.core.settings import TrainSettings
    from scsam_train.benchmark.semi_sets import Member, SemiSet

SUFFIX = ".json.gz"
# Decimals kept in a record: differences of 0.005 are already within noise.
DECIMALS = 4


def key_of(
    chosen: SemiSet,
    settings: Sequence[TrainSettings],
    roles: Mapping[str, Sequence[Member]],
    **more: Any,
) -> str:
    """Return the key of a run: a hash of its engine, settings and files, wherever they are.

    Parameters
    ----------
    chosen : SemiSet
    settings : sequence of TrainSettings
        Settings of each round of the run. Only values that differ from the defaults count, so that
        a new setting outdates nothing; a changed default is a new engine.
    roles : mapping of str to sequence of Member
        Members by role, such as ``labelled`` and ``tested``.
    **more
        Anything else that distinguishes the run, JSON-serialisable.

    Returns
    -------
    str
        16 hex digits. SAM's weights are included if it is used; renamed modules change nothing.
    """
    known = {
        "engine": ENGINE_VERSION,
        "ordinary": is_ordinary(),
        "weights": weights_hash() if any(map(embeds, settings)) else None,
        "classes": chosen.classes,
        "settings": [_changed(one) for one in settings],
        "members": {role: [_named(member) for member in of] for role, of in roles.items()},
        **more,
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def _changed(settings: TrainSettings) -> dict[str, Any]:
    values = settings.to_dict()
    return {f.name: values[f.name] for f in fields(settings) if values[f.name] != f.default}


def _named(member: Member) -> list[str]:
    return [member.name, member.case, member.image_hash, member.mask_hash]


@cache
def weights_hash() -> str:
    """Return the hash of SAM's weights and all other shipped weights."""
    packages = Path(napari_scsam.__file__).parent / "models", Path(scsam_train.__file__).parent
    found: Iterable[Path] = (path for folder in packages for path in folder.rglob("*.safetensors"))
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in found)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record; the same record always gives the same bytes.

    Numbers are rounded to four decimals, and non-finite ones become None.
    """
    content = json.dumps(_rounded(record), separators=(",", ":"))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    # Neither a time stamp nor a file name in the header.
    partial.write_bytes(gzip.compress(content.encode(), mtime=0))
    partial.replace(path)


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises
    ------
    InputError
        If it is damaged.
    """
    try:
        record = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError, zlib.error) as exc:
        raise InputError(f"{path} is not a record ({exc}): delete it to run it again.") from exc
    if not isinstance(record, dict):
        raise InputError(f"{path} is not a record but a list or a value: delete it.")
    return record


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, float):
        return round(value, DECIMALS) if math.isfinite(value) else None
    return value
