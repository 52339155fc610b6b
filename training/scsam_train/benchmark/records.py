"""What a run gave, kept in one small file, and what it is known by."""

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
# Decimals that a record keeps: differences of .005 already mean nothing.
DECIMALS = 4


def key_of(
    chosen: SemiSet,
    settings: Sequence[TrainSettings],
    roles: Mapping[str, Sequence[Member]],
    **more: Any,
) -> str:
    """What a run is known by: its engine, settings and files, wherever they lie.

    Parameters
    ----------
    chosen : SemiSet
    settings : sequence of TrainSettings
        Of each round that it is made of. Only what differs from the defaults counts, so that a
        new setting outdates nothing; a changed default is a new engine.
    roles : mapping of str to sequence of Member
        Members by what they are there for, such as ``labelled`` and ``tested``.
    **more
        What else makes it another run, as JSON takes it.

    Returns
    -------
    str
        16 hex digits. With SAM's weights where it takes part; renamed modules change nothing.
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
    """Hash of SAM's weights, and of all others that are brought along."""
    packages = Path(napari_scsam.__file__).parent / "models", Path(scsam_train.__file__).parent
    found: Iterable[Path] = (path for folder in packages for path in folder.rglob("*.safetensors"))
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in found)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record; the same one always gives the same bytes.

    Numbers keep four decimals, and infinite ones become None.
    """
    content = json.dumps(_rounded(record), separators=(",", ":"))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    # No time in it, and no name.
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
