"""What a killed round goes on from, and what is no such thing."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Never

import pytest
import torch

from scsam_train.checkpointing import RESUME_FILE, Checkpoint, Checkpointer
from scsam_train.loop import TrainingFailed, _out_of_memory, _save_state

if TYPE_CHECKING:
    from pathlib import Path

SAVED = Checkpoint(
    7, 90, 30.0, 20.0, 3, {}, {"weights": {"a": torch.arange(4.0)}, "counts": [1, 2], "loss": None}
)


def test_what_is_saved_comes_back_and_only_for_the_same_inputs(tmp_path: Path) -> None:
    keeper = Checkpointer(tmp_path, "abc")
    assert keeper.load() is None and not keeper.due
    keeper.save(SAVED)
    found = Checkpointer(tmp_path, "abc").load()
    assert found.step == 7 and found.embedded == 3 and found.recipe["counts"] == [1, 2]
    assert torch.equal(found.recipe["weights"]["a"], torch.arange(4.0))
    assert Checkpointer(tmp_path, "other").load() is None
    keeper.remove()
    assert keeper.load() is None and not list(tmp_path.iterdir())


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("/tmp/scsam-evil", "w"))


@pytest.mark.parametrize("damage", ["cut", "noise", "code"])
def test_a_damaged_or_malicious_state_is_not_gone_on_with(tmp_path: Path, damage: str) -> None:
    keeper, path = Checkpointer(tmp_path, "abc"), tmp_path / RESUME_FILE
    keeper.save(SAVED)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "noise":
        path.write_bytes(b"\x80\x02nonsense")
    else:
        torch.save({"data": "abc", "recipe": Evil()}, path)
    assert keeper.load() is None


class FullDisk:
    def save(self, saved: Any) -> Never:
        raise OSError(errno.ENOSPC, "No space left on device")


class NoAccess:
    def save(self, saved: Any) -> Never:
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="disk is full"):
        _save_state(FullDisk(), SAVED)
    with pytest.raises(PermissionError):
        _save_state(NoAccess(), SAVED)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 GB"), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("out of range"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, is_memory: bool) -> None:
    assert _out_of_memory(error) is is_memory
