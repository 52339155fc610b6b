"""Second opinions: labels of another person, kept as versions beside the current one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import INVALID
from napari_scsam.project import parsing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.judged import Judged
    from napari_scsam.project.journal import Event
    from napari_scsam.project.schema import CommitRecord
    from napari_scsam.project.store import Project

# Kind of the event with the origin of a label that was made without seeing the current one; its
# payload is that of `prompts`.
SECOND = "second_opinion"
# Kind of that of a label that was merged without one. Earlier versions kept whole labels beside the
# current one, and list the slices that both projects had changed under this key.
MERGE, CONFLICTS = "merge", "conflicts"


@dataclass(frozen=True)
class Opinion:
    """A version that was made without seeing the label that is current.

    Attributes
    ----------
    commit : CommitRecord
    planes : tuple of int
        Slices that it is about.
    """

    commit: CommitRecord
    planes: tuple[int, ...]


def add_opinion(
    project: Project,
    image: str,
    label: LabelArray,
    plane: Plane,
    judged: Collection[int] | Judged | None,
    origin: Mapping[str, Any],
    mapping: Mapping[int, int],
) -> CommitRecord:
    """Save a label of one slice as a version beside the current one, which stays current.

    See `Project.commit`; `origin` is what the label was made of. If the program is killed before
    the label that was current is current again, `restore_first` makes it so.
    """
    current = project.label_version(image)
    # mypy: a version of `Project.commit` that takes `Judged` is used with it only.
    record = project.commit(
        image,
        label,
        plane=plane,
        mapping=mapping,
        judged=judged,
        source=(SECOND, origin),
    )
    project.revert(image, current)
    return record


def opinions(project: Project, image: str | None = None) -> dict[str, list[Opinion]]:
    """The second opinions of all images, or of one, the oldest first."""
    versions: dict[str, dict[int, tuple[int, ...]]] = {}
    for event in [*project.events(SECOND), *project.events(MERGE)]:
        if event.image is None or image not in (None, event.image):
            continue
        planes, version = _planes(event), event.payload.get("version")
        if planes and isinstance(version, int):
            versions.setdefault(event.image, {})[version] = planes
    return {found: _of_image(project, found, known) for found, known in versions.items()}


def leading_to_current(
    project: Project, image: str, undone: Sequence[Event] | None = None
) -> list[CommitRecord]:
    """The commits that led to the current label of an image, the oldest first.

    Versions that were undone are left out, and so are second opinions.

    Parameters
    ----------
    project : Project
    image : str
    undone : sequence of Event, optional
        All events of kind ``revert``, for several images.
    """
    commits = {c.id: c for c in project.commits(image)}
    undone = project.events("revert") if undone is None else undone
    reverts = {e.id: e.payload["version"] for e in undone if e.image == image}
    chain: list[CommitRecord] = []
    for event in sorted({*commits, *reverts}):
        if event in commits:
            chain.append(commits[event])
            continue
        numbers = [commit.version for commit in chain]
        if reverts[event] in numbers:
            del chain[numbers.index(reverts[event]) + 1 :]
        else:  # none, or one that was undone before
            chain = [c for c in commits.values() if c.version == reverts[event]]
    return chain


def author_of(chain: Sequence[CommitRecord], plane: int, added: Collection[int] = ()) -> str | None:
    """Who labelled a slice last; empty if nobody was named, None if it is not labelled.

    See `labelling_commit`.
    """
    commit = labelling_commit(chain, plane, added)
    return None if commit is None else commit.by


def labelling_commit(
    chain: Sequence[CommitRecord], plane: int, added: Collection[int] = ()
) -> CommitRecord | None:
    """The last commit that labelled a slice; None if it is not labelled.

    Parameters
    ----------
    chain : sequence of CommitRecord
        As `leading_to_current` gives them.
    plane : int
        Along axis 0.
    added : collection of int
        See `added_versions`.
    """
    found, done = None, False
    for commit in chain:
        whole = commit.plane is None and plane in commit.planes
        if commit.plane == plane or (whole and not (done and commit.version in added)):
            found = commit
        done = plane in commit.planes
    return found


def added_versions(project: Project, image: str) -> set[int]:
    """Versions of an image's label whose author did not label again what was labelled before.

    Drafts change no labelled slice. A slice along another axis changes one line of each slice
    that it crosses.
    """
    lines = (e for e in project.events("prompts", image) if e.payload.get("axis") not in (None, 0))
    found = (e.payload.get("version") for e in [*project.events("drafts", image), *lines])
    return {version for version in found if isinstance(version, int)}


def restore_first(project: Project) -> list[str]:
    """Make the label before a second opinion current again, where a crash has prevented it.

    Returns
    -------
    list of str
        The images.
    """
    restored, reverts = [], project.events("revert")
    for image, found in opinions(project).items():
        last = found[-1].commit
        left = not any(event.image == image and event.id > last.id for event in reverts)
        if left and project.label_version(image) == last.version:
            before = [c.version for c in leading_to_current(project, image)[:-1]]
            project.revert(image, before[-1] if before else None)
            restored.append(image)
    return restored


def _planes(event: Event) -> tuple[int, ...]:
    """The slices of a second opinion, by the origin of its label; none if it is no opinion."""
    made = event.kind == SECOND
    planes = [event.payload.get("plane")] if made else event.payload.get(CONFLICTS, [])
    try:
        return parsing.planes(planes)
    except INVALID:
        return ()


def _of_image(project: Project, image: str, known: Mapping[int, tuple[int, ...]]) -> list[Opinion]:
    commits = project.commits(image)
    return [Opinion(c, known[c.version]) for c in commits if c.version in known]
