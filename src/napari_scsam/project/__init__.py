"""The project folder: images by reference, journal, labels and rounds that survive a crash."""

from napari_scsam.project.schema import (
    CommitRecord,
    ImageRecord,
    InterruptedRound,
    RoundRecord,
    TunedRecord,
)
from napari_scsam.project.store import Project

__all__ = [
    "CommitRecord",
    "ImageRecord",
    "InterruptedRound",
    "Project",
    "RoundRecord",
    "TunedRecord",
]
