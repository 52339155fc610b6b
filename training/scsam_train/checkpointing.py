"""What a killed round goes on from: ``resume.pt`` in its folder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch

from napari_scsam.core.round_contract import RESUME_FILE

if TYPE_CHECKING:
    from pathlib import Path

FIRST_S, EVERY_S = 10.0, 60.0
# Saving may take this share of the time.
SHARE = 0.03


@dataclass(frozen=True)
class Saved:
    """How far a round had come.

    Attributes
    ----------
    step, pictures : int
    spent_s, trained_s : float
        Seconds since its start, and of these in training.
    embedded : int
        Unlabelled planes that had an embedding.
    stopping : dict
        What `EarlyStopping` and `Ending` were about to do.
    recipe : dict
        Its state.
    """

    step: int
    pictures: int
    spent_s: float
    trained_s: float
    embedded: int
    stopping: dict[str, Any]
    recipe: dict[str, Any]


class Checkpointer:
    """Saves a round's state now and then.

    Parameters
    ----------
    folder : Path
        Of the round.
    data : str
        What the state belongs to, inputs and version: that of others is left alone.
    """

    def __init__(self, folder: Path, data: str) -> None:
        self._path, self._data = folder / RESUME_FILE, data
        self._due = time.monotonic() + FIRST_S

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() >= self._due

    def save(self, saved: Saved) -> None:
        """Write the state; a crash meanwhile leaves the one before."""
        began = time.monotonic()
        partial = self._path.with_suffix(".tmp")
        torch.save({"data": self._data, **vars(saved)}, partial)
        partial.replace(self._path)
        now = time.monotonic()
        self._due = now + max(EVERY_S, (now - began) / SHARE)

    def load(self) -> Saved | None:
        """What was saved last, if it belongs to the same and can be read."""
        try:
            values = torch.load(self._path, map_location="cpu", weights_only=True)
            if values.pop("data") != self._data:
                return None
            return Saved(**values)
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, UnpicklingError):
            return None

    def forget(self) -> None:
        """Remove the state of a round that has finished."""
        self._path.unlink(missing_ok=True)
