"""Whether freed memory is kept, counted by the pages that the system hands out."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from napari_scsam.core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def use():
    np.empty(1 << 26, np.uint8).fill(1)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's switch")
def test_memory_that_is_freed_is_used_again() -> None:
    # 64 MiB of pages for each of eight uses, at most huge ones of 2 MiB; or none.
    assert pages("keep") < 8 * 32 <= pages("give back")


HOLES = """
from pathlib import Path
from napari_scsam.core.memory import return_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
held = [bytes(3000) for _ in range(60_000)]
del held[:-1]  # the last one keeps the heap from shrinking
before = resident()
assert return_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's call")
def test_memory_that_is_freed_can_be_returned() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    # 180 MB were freed, in pages of 4 KiB.
    assert int(done.stdout) > 20_000
