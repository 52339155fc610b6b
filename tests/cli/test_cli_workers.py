"""Work on several processes, one of which dies whenever it gets a certain item."""

from __future__ import annotations

import os

import pytest

from napari_scsam.core.jobs import CancelToken
from napari_scsam.workflows.workers import Pool, Workers

pytest.importorskip("distributed")
DEADLY = 37


def doubled(number: int) -> int:
    if number == DEADLY:
        os._exit(1)
    return 2 * number


def lost(number: int) -> int:
    return -number


@pytest.mark.filterwarnings("ignore:.*terminated.*")
def test_an_item_that_kills_each_worker_is_lost_and_no_other() -> None:
    # More than 64 for each of two workers, so that several are given at a time.
    numbers = range(160)
    with Pool(Workers(2)) as pool:
        found = sorted(pool.results(doubled, numbers, CancelToken(), lost))
    assert found == sorted(-n if n == DEADLY else 2 * n for n in numbers)
