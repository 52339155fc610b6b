"""What rounds take on the disk, and how the weights of old ones are removed.

What is said of a round is kept: its inputs, configuration, split, metrics and events. The journal
is told first that a round is pruned; then its weights are renamed, and what was renamed is
removed. So a crash in between leaves a round whose weights nobody uses, and `Pruning.sweep` goes
on with it.
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.round_contract import INPUTS_FILE
from napari_scsam.io.atomic import flush_folder, storage_error
from napari_scsam.io.real_files import read_json
from napari_scsam.project.numbered import unfinished
from napari_scsam.project.process import training_process
from napari_scsam.project.round_events import numbers as rounds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.project.journal import Journal


# What a round is told by; all else in its folder is weights.
_KEPT = frozenset({".json", ".jsonl", ".log", ".txt"})
_TRASH = "pruned"


@dataclass(frozen=True)
class Pruned:
    """What pruning removed.

    Attributes
    ----------
    numbers : tuple of int
        The rounds whose weights are gone now.
    size : int
        Bytes that are free now.
    """

    numbers: tuple[int, ...] = ()
    size: int = 0


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 for a symbolic link, and what is gone."""
    total = 0
    with suppress(OSError):
        if path.is_symlink():
            return 0
        if not path.is_dir():
            return path.stat().st_size
        for entry in os.scandir(path):
            total += size_on_disk(Path(entry.path))
    return total


def weights_in(folder: Path) -> list[Path]:
    """Files and folders of a round that are not what it is told by; none behind a link."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() or p.suffix not in _KEPT)


def remove_weights(folder: Path) -> int:
    """Remove the weights of the round in `folder`, and return the bytes that this frees.

    Symbolic links are removed themselves; what they lead to stays.

    Raises
    ------
    ProjectError
        If they can't be renamed; those that could are gone.
    """
    weights = weights_in(folder)
    if not weights:
        return 0
    freed = sum(size_on_disk(path) for path in weights)
    trash = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.{_TRASH}")
    try:
        trash.mkdir()
        for path in weights:
            path.rename(trash / path.name)
        flush_folder(folder)
    except OSError as exc:
        raise _not_removed(exc, folder) from exc
    finally:
        shutil.rmtree(trash, ignore_errors=True)
    return freed - size_on_disk(trash)


class Pruning:
    """Removes old rounds' weights, and knows from the journal which are gone.

    Parameters
    ----------
    rounds : Path
        A project's ``rounds`` folder.
    journal : Journal
        The project's.
    """

    def __init__(self, rounds: Path, journal: Journal) -> None:
        self._rounds = rounds
        self._journal = journal

    def done(self) -> set[int]:
        """The rounds that are pruned."""
        return set(rounds_of(self._journal, ["prune"]))

    def refuse(self, number: int) -> None:
        """Raise ProjectError if the round is pruned."""
        if number in self.done():
            raise ProjectError(
                f"Round {number} was pruned, so its weights are gone: choose another one, or train."
            )

    def prune(self, numbers: Sequence[int], keep: int, active: Sequence[int]) -> Pruned:
        """Remove the weights of all but the newest `keep` rounds; see `Training.prune`.

        Parameters
        ----------
        numbers : sequence of int
            The finished rounds.
        keep : int
        active : sequence of int
            Those that `rollback` would go back to, one after the other, and the active one last.
        """
        if keep < 0:
            raise InputError(f"The rounds to keep are 0 or more; got {keep}.")
        self.sweep()
        kept = {*sorted(numbers, reverse=True)[:keep], *self._needed(numbers, active), *self.done()}
        gone, size = [], 0
        for number in sorted(set(numbers) - kept):
            folder = self._folder(number)
            if weights_in(folder):
                self._journal.append("prune", {"number": number})
                size += remove_weights(folder)
                gone.append(number)
        return Pruned(tuple(gone), size)

    def sweep(self) -> None:
        """Remove what a pruning that was cut off has left; harmless when there is nothing."""
        for trash in self._rounds.glob(f".*.{_TRASH}"):
            if not trash.is_symlink():
                shutil.rmtree(trash, ignore_errors=True)
        for number in self.done():
            with suppress(
                ProjectError
            ):  # the next pruning does no better; the round stays as it is
                remove_weights(self._folder(number))

    def _folder(self, number: int) -> Path:
        return self._rounds / f"{number:04d}"

    def _needed(self, numbers: Sequence[int], active: Sequence[int]) -> set[int]:
        """Rounds that are at work, or that another goes on from or goes back to."""
        needed = set(active[-2:])
        for folder in [*map(self._folder, active[-1:]), *unfinished(self._rounds)]:
            needed |= _parent_of(folder)
        return needed | {n for n in numbers if training_process(self._folder(n)) is not None}


def _parent_of(folder: Path) -> set[int]:
    """The round that the one in `folder` goes on from, as a set of one or none."""
    try:
        return {int(read_json(folder / INPUTS_FILE)["parent_round"]["number"])}
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged
        return set()


def _not_removed(exc: OSError, folder: Path) -> ProjectError:
    reason = str(storage_error(exc, folder)).split(":", maxsplit=1)[0]
    return ProjectError(
        f"{reason}: the weights in {folder} were not removed. Nothing else was changed; "
        "make the folder writable, then prune again."
    )
