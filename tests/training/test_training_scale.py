"""The scale benchmark's rounds, but for their training, and what a round measures of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_scsam.core.errors import InputError
from napari_scsam.models.embeddings import LruEmbeddingCache
from scsam_train.benchmark.__main__ import main
from scsam_train.benchmark.common import write_report
from scsam_train.config import read_inputs
from scsam_train.cost_meter import CostMeter, peak_memory
from scsam_train.data import load_planes

if TYPE_CHECKING:
    from napari_scsam.core.arrays import Pixels
    from napari_scsam.core.jobs import CancelToken

RATES = {
    "seconds_loading": 0.5,
    "seconds_per_embedding": 0.25,
    "seconds_per_step": 0.125,
    "memory_gb": 1.5,
    "embeddings": 9,
}


def test_each_run_has_so_many_references_and_reads_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = {}

    def train(command: list[str], **_: Any) -> Any:
        partial = Path(command[-1])
        inputs = read_inputs(partial)
        labelled, others = load_planes(inputs, inputs.settings.unlabelled_planes)
        seen[len(inputs.images)] = (len(labelled), len({p.image for p in others}))
        assert inputs.settings.recipe == "scsam" and inputs.settings.steps == 3
        assert len({image.case for image in inputs.images}) == len(inputs.images)
        metrics = {"rates": RATES, "labelled_planes": 8, "unlabelled_planes": 5}
        (partial / "metrics.json").write_text(json.dumps(metrics))
        partial.rename(partial.with_suffix(""))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr("scsam_train.benchmark.common.subprocess.run", train)
    asked = ["scale", "--out", tmp_path, "--references", 12, 1500, "--steps", 3, "--unlabelled", 5]
    assert main([str(word) for word in asked]) == 0
    assert seen == {12: (8, 4), 1500: (8, 10)}
    assert "| 1,500 | 0.50 | 0.25 | 0.12 | 1.50 | 5 |" in capsys.readouterr().out
    report = json.loads((tmp_path / "scale.json").read_text())
    assert set(report["runs"]) == {"12", "1500"} and report["plan"]["unlabelled"] == 5
    assert main(["scale", "--out", str(tmp_path), "--references", "8"]) == 2


def test_nothing_of_anybody_else_makes_way_for_a_benchmark(tmp_path: Any, capsys: Any) -> None:
    asked = ["scale", "--out", str(tmp_path), "--references", "12", "--steps", "3"]
    for mine in (tmp_path / "images" / "000.png", tmp_path / "runs" / "12" / "notes.txt"):
        mine.parent.mkdir(parents=True)
        mine.write_bytes(b"mine")
        assert main(asked) == 2
        assert "did not write" in capsys.readouterr().err
        assert mine.read_bytes() == b"mine"
        mine.parent.rename(tmp_path / f"{mine.parent.name}-away")
    report = tmp_path / "scale.json"
    report.write_text("[]")
    with pytest.raises(InputError, match="exists already"):
        write_report(tmp_path, "scale", {}, "")
    assert report.read_text() == "[]"
    report.unlink()
    for figure in (1, 2):
        write_report(tmp_path, "scale", {"figure": figure}, "")
    assert json.loads(report.read_text())["figure"] == 2


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Backend:
    """Says what it is asked for, and takes a second for each embedding."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock

    def embedding_key(self, image: Pixels) -> str:
        return str(image[0, 0])

    def embed(self, image: Pixels, cancel: CancelToken | None = None) -> Any:
        self.clock.now += 1.0
        return SimpleNamespace(key=self.embedding_key(image))


def test_only_embeddings_that_were_made_are_charged(tmp_path: Path) -> None:
    clock = Clock()
    meter, backend = CostMeter(clock), Backend(clock)
    cache = meter.counting(LruEmbeddingCache(memory_items=9))
    for value in (1, 2, 1, 1, 3):
        cache.get_or_embed(backend, np.full((2, 2), value))
        clock.now += 0.5  # what is done with it
        meter.lap()
    rates = meter.rates("cpu", 0)
    assert rates["embeddings"] == 3 and rates["seconds_per_embedding"] == 1.5
    assert rates["seconds_per_step"] is None and rates["device"] == "cpu"


def test_steps_are_timed_one_by_one_and_judging_altogether() -> None:
    clock = Clock()
    meter = CostMeter(clock)
    for seconds in (1.0, 2.0):
        for what in ("step", "validation"):
            with meter.timing(what):
                clock.now += seconds
    with pytest.raises(MemoryError), meter.timing("step"):
        clock.now += 50.0
        raise MemoryError
    rates = meter.rates("cpu", 0)
    assert (rates["seconds_per_step"], rates["seconds_judging"]) == (1.5, 3.0)


def test_the_peak_is_this_process_s_own_and_not_of_who_started_it() -> None:
    code = "from scsam_train.cost_meter import peak_memory; print(peak_memory())"
    large = np.ones(10**9, np.uint8)  # as a window that holds scans
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert peak_memory() > large.nbytes
    assert 10**7 < int(done.stdout) < 8 * 10**8
