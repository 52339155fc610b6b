"""Commits of earlier sessions as steps of the history, so that undo reaches them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_scsam.core.geometry import Plane

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_scsam.annotation.state import StateStore
    from napari_scsam.project import Project

# Commits of earlier sessions that undo reaches, for each image. Arbitrary.
LIMIT = 100


@dataclass(frozen=True)
class Version:
    """A committed label version, and the plane to show when it is undone.

    Attributes
    ----------
    number : int or None
        None before the first commit.
    plane : Plane
    """

    number: int | None
    plane: Plane


def earlier_versions(project: Project, image_id: str) -> tuple[Version, ...]:
    """The versions that led to an image's present label, the oldest first.

    Versions that were undone, and those committed after them and undone as well, are left out.
    """
    commits = {c.id: c for c in project.commits(image_id)}
    versions = {c.version for c in commits.values()} | {None}
    events = (e for e in project.events("revert") if e.image == image_id)
    reverts = {e.id: v for e in events if (v := _version(e.payload)) in versions}
    chain = [Version(None, Plane())]
    for event in sorted({*commits, *reverts}):
        if event in commits:
            commit = commits[event]
            whole = commit.planes[-1] if commit.planes else 0
            index = whole if commit.plane is None else commit.plane
            chain.append(Version(commit.version, Plane(0, index)))
            continue
        numbers = [version.number for version in chain]
        if reverts[event] in numbers:
            del chain[numbers.index(reverts[event]) + 1 :]
        else:  # redone
            commit = next(c for c in commits.values() if c.version == reverts[event])
            chain.append(Version(commit.version, Plane(0, commit.plane or 0)))
    return tuple(chain[-LIMIT - 1 :])


def _version(payload: Mapping[str, Any]) -> int | str | None:
    """The version that an event makes current; a text, which no version is, if it can't be read."""
    found = payload.get("version", "")
    return found if found is None or isinstance(found, int) else ""


def extend_history(store: StateStore, image_id: str, chain: Sequence[Version]) -> None:
    """Put the commits of an image before the first step of the history; does not notify."""
    if len(chain) < 2 or image_id in store.now.work.versions:
        return
    store.begin_with(lambda work: work.with_version(image_id, chain[-1].number))
    first = store.first
    steps = [replace(first.with_version(image_id, v.number), at=(image_id, v.plane)) for v in chain]
    store.begin_before(steps)
