"""Old rounds' weights are removed, and nothing else, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import here

from napari_scsam.core.errors import InputError, ProjectError, ReadOnlyError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings
from napari_scsam.project import Project, pruning
from napari_scsam.project.process import record_process

Finish = Callable[..., Path]
SETTINGS = TrainSettings(steps=7)
TOLD = ["config.json", "events.jsonl", "inputs.json", "manifest.json", "metrics.json"]


def add_round(project: Project, finish: Finish, pair: float, parent: float | None) -> int:
    """A finished round with 1,000 bytes of an adapter beside the U-Net's 7."""
    folder = finish(project.begin_round(SETTINGS), pair, parent)
    (folder / "sam_adapter").mkdir()
    (folder / "sam_adapter" / "adapter_model.safetensors").write_bytes(bytes(1000))
    (folder / "events.jsonl").write_text('{"event": "finished"}\n')
    (record,) = project.adopt_rounds()
    return record.number


@pytest.fixture
def five(project: Project, finish_round: Finish) -> Project:
    """Rounds 1 to 5, of which 3 is active and goes on from 2; 4 and 5 were worse."""
    project.commit(project.images()[0].id, np.ones((7, 9), np.uint8), plane=Plane(0, 2))
    figures = [(0.5, None), (0.6, 0.5), (0.7, 0.6), (0.1, 0.7), (0.2, 0.7)]
    assert [add_round(project, finish_round, *f) for f in figures] == [1, 2, 3, 4, 5]
    return project


def names(project: Project, number: int) -> list[str]:
    return sorted(p.name for p in (project.folder / "rounds" / f"{number:04d}").iterdir())


def whole(project: Project) -> list[int]:
    """Rounds that have all of their weights, by what is on the disk."""
    found = {n: names(project, n) for n in range(1, 6)}
    assert all(
        f in (TOLD, sorted([*TOLD, "sam_adapter", "unet.safetensors"])) for f in found.values()
    )
    return [n for n, files in found.items() if files != TOLD]


def test_all_but_the_newest_go_and_never_the_active_one_and_its_parent(five: Project) -> None:
    before = five.round_bytes(1)
    assert before == sum(p.stat().st_size for p in (five.folder / "rounds/0001").rglob("*.*"))
    removed = five.prune_rounds(1)
    assert (removed.numbers, removed.size) == ((1, 4), 2 * 1007)
    assert whole(five) == [2, 3, 5]
    assert five.round_bytes(1) == before - 1007
    assert five.prune_rounds(0).numbers == (5,)
    assert five.prune_rounds(0) == pruning.Pruned()
    assert whole(five) == [2, 3]
    active = five.active_round()
    assert active is not None and active.number == 3
    assert not list((five.folder / "rounds").glob(".*"))


def test_more_kept_than_there_are_removes_nothing(five: Project) -> None:
    assert five.prune_rounds(9).numbers == () and whole(five) == [1, 2, 3, 4, 5]
    with pytest.raises(InputError, match="0 or more; got -1"):
        five.prune_rounds(-1)


def test_the_record_and_the_metrics_stay_and_it_can_not_become_active(five: Project) -> None:
    metrics = [record.metrics for record in five.rounds()]
    five.prune_rounds(0)
    events = [event.payload["number"] for event in five.events("prune")]
    assert events == [1, 4, 5]
    five.close()
    with Project.open(five.folder) as again:
        assert [r.pruned for r in again.rounds()] == [True, False, False, True, True]
        assert [r.metrics for r in again.rounds()] == metrics
        with pytest.raises(ProjectError, match="Round 4 was pruned, so its weights are gone"):
            again.promote(4)
        assert again.rollback().number == 2
        with pytest.raises(ProjectError, match="Round 1 was pruned, so its weights are gone"):
            again.rollback()
        with pytest.raises(InputError, match="written by the project itself"):
            again.record("prune", {"number": 3})


def test_the_round_that_rollback_goes_back_to_stays_too(five: Project) -> None:
    five.promote(5)
    assert five.prune_rounds(0).numbers == (1, 2, 4)  # 5 goes on from 3, which it follows


def test_what_a_round_in_training_goes_on_from_stays(five: Project) -> None:
    partial = five.begin_round(SETTINGS)  # goes on from 3
    five.promote(2)
    five.promote(1)
    five.promote(2)
    assert five.prune_rounds(0).numbers == (4, 5)
    assert partial.is_dir() and json.loads((partial / "inputs.json").read_text())["round"] == 6
    assert whole(five) == [1, 2, 3]


def test_a_round_whose_process_lives_is_left_alone(five: Project) -> None:
    record_process(five.folder / "rounds" / "0004", os.getpid())
    assert five.prune_rounds(0).numbers == (1, 5)


def test_links_are_not_followed(five: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.safetensors").write_bytes(bytes(5000))
    rounds = five.folder / "rounds"
    (rounds / "0001" / "elsewhere").symlink_to(outside)
    (rounds / "0001" / "more.pt").symlink_to(outside / "precious.safetensors")
    (rounds / "0001" / "sam_adapter" / "deep").symlink_to(outside)
    (rounds / "0004").rename(outside / "round")
    (rounds / "0004").symlink_to(outside / "round")
    (rounds / ".0009.00.pruned").symlink_to(outside)
    assert five.round_bytes(4) == 0
    removed = five.prune_rounds(1)
    assert (removed.numbers, removed.size) == ((1,), 1007)
    assert names(five, 1) == TOLD
    assert (outside / "precious.safetensors").stat().st_size == 5000
    assert (outside / "round" / "unet.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize("step", ["remove_weights", "shutil.rmtree"])
def test_a_pruning_that_was_cut_off_is_ended_when_the_project_is_opened(
    five: Project, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(BaseException):
        pass

    def cut(*_: object, **__: object) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(f"napari_scsam.project.pruning.{step}", cut)
        with pytest.raises(Cut):
            five.prune_rounds(4)
    left = [
        *five.folder.glob("rounds/0001/sam_adapter"),
        *five.folder.glob("rounds/.*/sam_adapter"),
    ]
    assert len(left) == 1  # cut off before it was gone
    five.close()
    with Project.open(five.folder, read_only=True) as looked:
        assert [r.pruned for r in looked.rounds()] == [True, False, False, False, False]
    with Project.open(five.folder) as again:
        assert whole(again) == [2, 3, 4, 5]
        assert not list((again.folder / "rounds").glob(".*"))


def test_weights_that_can_not_be_removed_are_one_clear_line(
    five: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(ProjectError, match=r"not permitted: the weights in .*0001 were not"):
            five.prune_rounds(4)
    assert names(five, 1) != TOLD and not list((five.folder / "rounds").glob(".*"))


def test_nobody_else_prunes(five: Project) -> None:
    with (
        Project.open(five.folder, read_only=True) as looked,
        pytest.raises(ReadOnlyError),
    ):
        looked.prune_rounds(0)


def test_the_command_line_prunes_and_says_what_is_free(five: Project) -> None:
    sizes = [five.round_bytes(n) for n in range(1, 6)]
    five.close()
    listed = json.loads(here("rounds", five.folder, "--json").stdout)
    assert [r["bytes"] for r in listed["rounds"]] == sizes
    assert "pruned" not in listed and not any(r["pruned"] for r in listed["rounds"])
    done = here("rounds", five.folder, "--prune", 1)
    assert done.stdout.startswith("Removed the weights of rounds 1, 4: 2.0 kB are free now.")
    rows = [line for line in done.stdout.splitlines() if "│" in line]
    marked = [line.split("│")[1].strip() for line in rows if "pruned" in line]
    assert marked == ["1", "4"] and sum("kB" in line for line in rows) == 3
    again = here("rounds", five.folder, "--prune", 1)
    assert again.stdout.startswith("Nothing was pruned: ")
    refused = here("rounds", five.folder, "--promote", 4)
    assert refused.returncode == 2 and refused.stdout == ""
    assert refused.stderr.strip() == (
        "napari-scsam: Round 4 was pruned, so its weights are gone: choose another one, or train."
    )
    told = json.loads(here("rounds", five.folder, "--prune", 0, "--json").stdout)
    assert told["pruned"] == {"rounds": [5], "bytes": 1007}
    assert [r["pruned"] for r in told["rounds"]] == [True, False, False, True, True]
    assert told["rounds"][0]["metrics"]["dice"]["pair"]["mean"] == 0.5
    bad = here("rounds", five.folder, "--prune", "-2")
    assert bad.returncode == 2 and len(bad.stderr.strip().splitlines()) == 1
