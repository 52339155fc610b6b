"""Kinds of events that only the project itself writes."""

from __future__ import annotations

from napari_scsam.core.errors import InputError
from napari_scsam.project.labels import MIGRATION

_RESERVED = frozenset(
    {
        *("image", "located", "commit", "revert", "skip"),
        *("begin", "round", "promote", "rollback", "prune", MIGRATION),
    }
)


def refuse_reserved_kind(kind: str) -> None:
    """Raise InputError if an event's kind is reserved for the project itself."""
    if kind in _RESERVED:
        raise InputError(f"Events of kind {kind!r} are written by the project itself.")
