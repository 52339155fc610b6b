"""How the child processes begin: only a process of its own is set up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scsam_train import child

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NICENESS = 7


def test_a_job_in_this_process_leaves_its_priority_as_it_is(tmp_path: Path) -> None:
    before = os.nice(0)
    found = []
    assert child.run_child([str(tmp_path)], found.append, job="Training", niceness=19) == 0
    assert found == [tmp_path.resolve()]
    assert os.nice(0) == before


def test_a_job_in_a_process_of_its_own_steps_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["scsam_train", str(tmp_path)])
    done: list[object] = []
    monkeypatch.setattr(child, "step_back", done.append)
    monkeypatch.setattr(child, "wait_briefly", lambda: done.append("waits briefly"))
    monkeypatch.setattr(child, "keep_freed_memory", lambda: done.append("keeps memory"))
    assert child.run_child(None, lambda _: done.append("works"), job="Job", niceness=NICENESS) == 0
    assert done == ["waits briefly", NICENESS, "keeps memory", "works"]
