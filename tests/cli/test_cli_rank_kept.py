"""What a ranking keeps in the project's cache, and where it can't."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Never

import imageio.v3 as imageio
import numpy as np
from command_line import ok

from napari_scsam.core.errors import ProjectError
from napari_scsam.project import Project
from napari_scsam.workflows import slice_table
from napari_scsam.workflows.ranking_cost import ranking_cost
from napari_scsam.workflows.slice_table import MOST_FILES, SliceTable

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

STAMP = (1_700_000_000_123_456_789, 42)


def row(number: int) -> tuple[str, int, tuple[int, int], np.ndarray]:
    return (f"{number:08x}", number % 3, STAMP, np.arange(4, dtype=np.float32) + number)


def test_rows_are_there_again_and_many_files_become_one(tmp_path: Path) -> None:
    table = SliceTable(tmp_path, "features", 2)
    for number in range(MOST_FILES + 2):
        table.add([row(number)])
    table.merge()
    for _ in range(2):
        again = SliceTable(tmp_path, "features", 2)
        for number in range(MOST_FILES + 2):
            image, plane, stamp, vector = row(number)
            np.testing.assert_array_equal(again.row(image, plane), vector)
            assert again.has(image, [plane], stamp)
            assert not again.has(image, [plane], (stamp[0] + 1, stamp[1]))
            assert not again.has(image, [plane, 7], stamp)
        assert len(list((tmp_path / "features").iterdir())) == 1
    again.add([row(900)])
    assert SliceTable(tmp_path, "features", 2).row(*row(900)[:2]) is not None


def test_only_a_ranking_merges_files_and_an_estimate_beside_it_leaves_them(
    tmp_path: Path,
) -> None:
    for number in range(2):
        picture = np.random.default_rng(number).integers(0, 255, (30, 40)).astype(np.uint8)
        imageio.imwrite(tmp_path / f"p{number}.png", picture)
    folder = tmp_path / "project"
    ok("new", folder, "--images", *tmp_path.glob("*.png"), "--classes", "a")
    ok("rank", folder)
    (first,) = (folder / "cache/ranking").glob("features-*/*.npz")
    for number in range(MOST_FILES):
        shutil.copy(first, first.with_name(f"{1000 + number:06d}.npz"))
    with Project.open(folder, read_only=True) as project:
        assert ranking_cost(project, "hybrid").missing == 0
    assert len(list(first.parent.iterdir())) == MOST_FILES + 1
    assert ok("rank", folder)["measured"] == 0
    assert len(list(first.parent.iterdir())) == 1


def test_vectors_of_another_length_are_not_taken(tmp_path: Path) -> None:
    SliceTable(tmp_path, "doubts", 4).add([row(1)])
    assert SliceTable(tmp_path, "doubts", 3).row(*row(1)[:2]) is None


def test_a_file_that_was_cut_off_is_not_taken(tmp_path: Path) -> None:
    SliceTable(tmp_path, "doubts").add([row(1)])
    (file,) = (tmp_path / "doubts").iterdir()
    file.write_bytes(file.read_bytes()[:200])
    assert SliceTable(tmp_path, "doubts").row(*row(1)[:2]) is None


def test_a_full_disk_is_said_and_the_queue_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scans").mkdir()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (30, 40)).astype(np.uint8)
        imageio.imwrite(tmp_path / f"scans/p{number}.png", picture)
    ok("new", tmp_path / "project", "--images", tmp_path / "scans", "--classes", "a")

    def full(*_: object) -> Never:
        raise ProjectError("The disk is full: nothing was written.")

    monkeypatch.setattr(slice_table, "_write", full)
    found = ok("rank", tmp_path / "project")
    assert len(found["queue"]) == 3
    assert found["notes"] == [
        "What was measured is not kept: The disk is full: nothing was written."
    ]
