"""The disk space of rounds, and the removal of the weights of old ones.

The description of a round is kept: inputs, configuration, split, metrics and events. First the
journal records that a round is pruned. Then its weights are renamed and deleted. A crash in
between leaves weights that are never used, and `Pruning.sweep` deletes them later.
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_scsam.core.errors import INVALID, InputError, ProjectError
from napari_scsam.core.round_contract import INPUTS_FILE
from napari_scsam.io.atomic import flush_folder, storage_error
from napari_scsam.io.real_files import read_json
from napari_scsam.project.numbered import unfinished
from napari_scsam.project.process import training_process
from napari_scsam.project.round_events import numbers as rounds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.project.journal import Journal


# Suffixes of a round's description; all other files in its folder are weights.
_DESCRIPTION = frozenset({".json", ".jsonl", ".log", ".txt"})
_TRASH = "pruned"


@dataclass(frozen=True)
class Pruned:
    """The result of pruning.

    Attributes
    ----------
    numbers : tuple of int
        The rounds whose weights were removed.
    size : int
        Bytes that were freed.
    """

    numbers: tuple[int, ...] = ()
    size: int = 0


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 for a symbolic link or a missing file."""
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
    """Files and folders of a round that are not its description; none if its folder is a link."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() or p.suffix not in _DESCRIPTION)


def remove_weights(folder: Path) -> int:
    """Remove the weights of the round in `folder`, and return the number of freed bytes.

    Of a symbolic link, only the link itself is removed.

    Raises
    ------
    ProjectError
        If one can't be renamed; the others are removed.
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
    """Removes the weights of old rounds, and knows from the journal which are removed.

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
            Those that `rollback` would return to, one after the other, and the active one last.
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
        """Remove what an interrupted pruning left behind."""
        for trash in self._rounds.glob(f".*.{_TRASH}"):
            if not trash.is_symlink():
                shutil.rmtree(trash, ignore_errors=True)
        for number in self.done():
            with suppress(ProjectError):  # the round stays as it is; the next start tries again
                remove_weights(self._folder(number))

    def _folder(self, number: int) -> Path:
        return self._rounds / f"{number:04d}"

    def _needed(self, numbers: Sequence[int], active: Sequence[int]) -> set[int]:
        """Rounds that are active or in training, or that another one continues or returns to."""
        needed = set(active[-2:])
        for folder in [*map(self._folder, active[-1:]), *unfinished(self._rounds)]:
            needed |= _parent_of(folder)
        return needed | {n for n in numbers if training_process(self._folder(n)) is not None}


def _parent_of(folder: Path) -> set[int]:
    """The parent of the round in `folder`, as a set of one or none."""
    try:
        return {int(read_json(folder / INPUTS_FILE)["parent_round"]["number"])}
    except (OSError, *INVALID):  # none, or damaged
        return set()


def _not_removed(exc: OSError, folder: Path) -> ProjectError:
    reason = str(storage_error(exc, folder)).split(":", maxsplit=1)[0]
    return ProjectError(
        f"{reason}: the weights in {folder} were not removed. Nothing else was changed; "
        "make the folder writable, then prune again."
    )
