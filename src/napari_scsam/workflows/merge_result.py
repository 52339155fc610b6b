"""What a merge of two projects did, and what it left."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """What the merge did, or could not decide, on one image.

    Attributes
    ----------
    image, name : str
    planes : tuple of int
        Slices along axis 0.
    version : int or None
        Version that the other project's label was kept as.
    """

    image: str
    name: str
    planes: tuple[int, ...]
    version: int | None = None


@dataclass
class Merged:
    """Result of a merge.

    Attributes
    ----------
    added : list of str
        Images that only the other project had.
    taken : list of Change
        Slices whose label was taken from the other project.
    conflicts : list of Change
        Slices that both projects changed: this project's label stays, and the other one is kept
        as an earlier version.
    alike : list of Change
        Slices that two people labelled the same; the other label is kept, too, for the agreement.
    opinions : list of Change
        Second opinions that only the other project had; each is kept beside the label that stays.
    skipped : list of Change
        Slices that only the other project had as skipped.
    left : list of str
        What stays in the other project.
    problems : list of str
        What could not be merged; it is unchanged in the other project.
    rounds : list of int
        Numbers here of rounds that only the other project had.
    """

    added: list[str] = field(default_factory=list)
    taken: list[Change] = field(default_factory=list)
    conflicts: list[Change] = field(default_factory=list)
    alike: list[Change] = field(default_factory=list)
    opinions: list[Change] = field(default_factory=list)
    skipped: list[Change] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
