"""Suggestions on random slices, picks and skips of another project, for the slices merged."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_scsam.project.random_checks import note_check, random_checks
from napari_scsam.project.ranking import note_pick, picks
from napari_scsam.workflows.merge_result import Change

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.project import Project
    from napari_scsam.project.random_checks import RandomCheck
    from napari_scsam.project.ranking import QueueEntry
    from napari_scsam.workflows.class_mapping import ClassMapping


class MergedChecks:
    """What the other project noted of slices before they were labelled, and this one did not.

    Parameters
    ----------
    project, other : Project
    images : mapping of str to str
        This project's id of the images of the other one.
    classes : ClassMapping
    rounds : mapping of int to int
        This project's number of the rounds of the other one.
    """

    def __init__(
        self,
        project: Project,
        other: Project,
        images: Mapping[str, str],
        classes: ClassMapping,
        rounds: Mapping[int, int],
    ) -> None:
        self._project = project
        # By slice; those that both have are left out.
        self._checks: dict[tuple[str, int], list[RandomCheck]] = defaultdict(list)
        self._picks: dict[tuple[str, int], list[tuple[int, QueueEntry]]] = defaultdict(list)
        own = {_content(check) for check in random_checks(project)}
        for check in random_checks(other):
            if check.image in images:
                number = None if check.round is None else rounds.get(check.round)
                label = classes.label(check.label)
                mapped = replace(check, image=images[check.image], round=number, label=label)
                if _content(mapped) not in own:
                    self._checks[mapped.image, mapped.plane].append(mapped)
        known = {(pick.position, pick.entry) for pick in picks(project)}
        for pick in picks(other):
            if pick.entry.image in images:
                entry = replace(pick.entry, image=images[pick.entry.image])
                if (pick.position, entry) not in known:
                    at = (entry.image, entry.plane or 0)
                    self._picks[at].append((pick.position, entry))

    def bring(self, image: str, plane: int) -> None:
        """Journal what was noted of a slice, which is committed next."""
        for check in self._checks.pop((image, plane), ()):
            note_check(self._project, image, plane, check.label, check.round)
        for position, entry in self._picks.pop((image, plane), ()):
            note_pick(self._project, entry, position)

    def left(self) -> tuple[int, int]:
        """Count the suggestions on random slices and the picks that were not brought."""
        return sum(map(len, self._checks.values())), sum(map(len, self._picks.values()))


def merge_skips(project: Project, other: Project, images: Mapping[str, str]) -> list[Change]:
    """Skip the slices that are skipped in the other project only, unless they are labelled here."""
    known, planes = set(project.skipped()), project.all_committed_planes()
    names = {record.id: record.name for record in project.images()}
    found = []
    for there, plane in other.skipped():
        image = images.get(there)
        if image is None or (image, plane) in known or plane in planes.get(image, ()):
            continue
        project.skip(image, plane)
        found.append(Change(image, names[image], (plane,)))
    return found


def _content(check: RandomCheck) -> tuple[object, ...]:
    """What is the same of a suggestion in two projects."""
    return (check.image, check.plane, check.round, check.label.tobytes())
