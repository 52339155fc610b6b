"""Scans that were changed at random are read or refused in one line, whatever they hold."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from mutations import WATCHED, mutate, write_seeds

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="a process's memory is measured in Linux's way"
)


@pytest.mark.parametrize(
    ("count", "first_seed"),
    [(300, 0), *(pytest.param(1000, n * 1000, marks=pytest.mark.exhaustive) for n in range(1, 6))],
)
def test_a_changed_scan_is_read_or_refused_in_one_line(
    count: int, first_seed: int, tmp_path: Path
) -> None:
    seeds = write_seeds(tmp_path / "seeds")
    paths = list(mutate(seeds, tmp_path / "changed", count, first_seed))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *seeds],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        timeout=900,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == count, (done.returncode, answers[-1:], done.stderr[-2000:])
    assert done.stderr == ""
    for answer in answers:
        assert not answer["fault"], answer
        assert not answer["foreign"], answer
        assert answer["grown"] < GIB / 2, answer
        assert all(answer["path"] in said and "\n" not in said for said in answer["said"]), answer
    refused = sum(bool(answer["said"]) for answer in answers)
    assert count / 4 < refused < count
