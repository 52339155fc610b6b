"""Kinds of events that the project itself writes, so that nobody else may."""

from __future__ import annotations

from napari_scsam.core.errors import InputError
from napari_scsam.project.labels import MIGRATION

_OWN_KINDS = frozenset(
    {
        *("image", "located", "commit", "revert", "skip"),
        *("begin", "round", "promote", "rollback", "prune", MIGRATION),
    }
)


def refuse_own_kind(kind: str) -> None:
    """Raise InputError where an event's kind is the project's own."""
    if kind in _OWN_KINDS:
        raise InputError(f"Events of kind {kind!r} are written by the project itself.")
