"""The state from which an interrupted round is resumed: ``resume.pt`` in its folder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch

from napari_scsam.core.errors import INVALID
from napari_scsam.core.round_contract import RESUME_FILE

if TYPE_CHECKING:
    from pathlib import Path

# Seconds until the first checkpoint, and between later ones. Arbitrary.
FIRST_S, EVERY_S = 10.0, 60.0
# Maximum share of the time that is spent on saving. Arbitrary.
SHARE = 0.03


@dataclass(frozen=True)
class Checkpoint:
    """Progress and state of a round.

    Attributes
    ----------
    step, pictures : int
    spent_s, trained_s : float
        Seconds since the start of the round, and seconds of training.
    embedded : int
        Number of unlabelled planes that had an embedding.
    stopping : dict
        State of `EarlyStopping` and `Ending`.
    recipe : dict
        State of the recipe.
    """

    step: int
    pictures: int
    spent_s: float
    trained_s: float
    embedded: int
    stopping: dict[str, Any]
    recipe: dict[str, Any]


class Checkpointer:
    """Saves the state of a round at intervals.

    Parameters
    ----------
    folder : Path
        Folder of the round.
    data : str
        Inputs and version that the state belongs to; a state of others is ignored.
    """

    def __init__(self, folder: Path, data: str) -> None:
        self._path, self._data = folder / RESUME_FILE, data
        self._due = time.monotonic() + FIRST_S

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() >= self._due

    def save(self, saved: Checkpoint) -> None:
        """Write the state atomically: a crash leaves the previous one intact."""
        began = time.monotonic()
        partial = self._path.with_suffix(".tmp")
        partial.unlink(missing_ok=True)
        torch.save({"data": self._data, **vars(saved)}, partial)
        partial.replace(self._path)
        now = time.monotonic()
        self._due = now + max(EVERY_S, (now - began) / SHARE)

    def load(self) -> Checkpoint | None:
        """Return the last saved state; None if it belongs to other data or can't be read."""
        try:
            values = torch.load(self._path, map_location="cpu", weights_only=True)
            if values.pop("data") != self._data:
                return None
            return Checkpoint(**values)
        except (OSError, EOFError, UnpicklingError, RuntimeError, *INVALID):
            return None

    def remove(self) -> None:
        """Remove the state of a finished round."""
        self._path.unlink(missing_ok=True)
