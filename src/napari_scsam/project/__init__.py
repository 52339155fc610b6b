"""The project folder: referenced images, a journal, labels and rounds, all crash-safe."""

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
