"""``napari-scsam rank`` on several processes: the same queue, whatever happens to a worker."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import psutil
import pytest
from command_line import ok, process, refused
from untrained_round import add_round

from napari_scsam.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

distributed = pytest.importorskip("distributed")
COUNT = 24


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("cohort")
    (place / "scans").mkdir()
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        picture = rng.integers(0, 60 + 4 * number, (40, 50, 3)).astype(np.uint8)
        imageio.imwrite(place / f"scans/p{number:02d}.png", picture)
    ok("new", place / "project", "--images", place / "scans", "--classes", "polyp")
    return place


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """An own copy of it, of which nothing was ranked."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy/project"


@pytest.fixture(scope="module")
def expected(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The ranking by one process."""
    copy = tmp_path_factory.mktemp("alone") / "copy"
    shutil.copytree(made, copy)
    return ok("rank", copy / "project")


def assert_same(found: dict, expected: dict) -> None:
    queue, wanted = found["queue"], expected["queue"]
    assert [e["image"] for e in queue] == [e["image"] for e in wanted]
    assert [e["reason"] for e in queue] == [e["reason"] for e in wanted]
    scores = [[e["score"] or 0 for e in q] for q in (queue, wanted)]
    np.testing.assert_allclose(*scores, atol=1e-4)
    assert found["measured"] == expected["measured"] > 0 and not found["unreadable"]


def worker_below(process_id: int) -> psutil.Process | None:
    """A worker process of a command, which it started by multiprocessing."""
    with suppress(psutil.Error):
        for child in psutil.Process(process_id).children(recursive=True):
            with suppress(psutil.Error):
                if "spawn_main" in " ".join(child.cmdline()):
                    return child
                if "forkserver" in " ".join(child.parent().cmdline()):
                    return child
    return None


WITH_FORKS = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no forks")
# Three workers import torch and timm once, in the server that they are forks of.
FORKED = """
import multiprocessing, sys, dask, distributed.utils
from napari_scsam.cli.__main__ import main
if __name__ == "__main__":
    modules = ["distributed", "napari_scsam.models.slice_features"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(modules)
    distributed.utils._forkserver_preload_set = True
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "started",
    [
        pytest.param(("-c", FORKED), id="forks", marks=WITH_FORKS),
        pytest.param(("-m", "napari_scsam.cli"), id="anew", marks=pytest.mark.exhaustive),
    ],
)
def test_two_workers_find_the_same_and_a_killed_one_loses_nothing(
    project: Path, expected: dict, started: tuple[str, str]
) -> None:
    command = [sys.executable, *started, "rank", str(project), "--workers", "2"]
    out, err = project.parent / "out", project.parent / "err"
    killed = None
    with (
        out.open("w") as stdout,
        err.open("w") as stderr,
        subprocess.Popen([*command, "--json"], stdout=stdout, stderr=stderr) as running,
    ):
        while running.poll() is None and killed is None:
            if "left" in err.read_text():  # in the middle: some are measured
                killed = worker_below(running.pid)
            time.sleep(0.01)  # the cores are the workers'
        if killed is not None:
            killed.kill()
        running.wait(timeout=250)
    assert running.returncode == 0, err.read_text()
    assert killed is not None
    assert_same(json.loads(out.read_text().splitlines()[-1]), expected)


@pytest.mark.slow
@pytest.mark.exhaustive  # a minute: each worker loads both models
def test_two_workers_measure_the_same_with_a_round(project: Path) -> None:
    with Project.open(project) as opened:
        for image in opened.images()[6:]:  # so that SAM is asked about a few only
            opened.commit(image.id, np.eye(*image.shape, dtype=np.uint8))
    add_round(project)
    shutil.copytree(project.parent, project.parent.with_name("alone"))
    done = process("rank", project, "--workers", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert "Comparing U-Net and SAM on" in done.stderr
    assert_same(json.loads(done.stdout), ok("rank", project.parent.with_name("alone") / "project"))


@pytest.mark.slow
def test_several_workers_are_cancelled_at_once(project: Path) -> None:
    command = [sys.executable, "-m", "napari_scsam.cli", "rank", str(project), "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr.readline().startswith("With one process: about ")
        assert "Reading" in running.stderr.readline()
        started, worker = time.monotonic(), worker_below(running.pid)
        running.send_signal(signal.SIGTERM)
        assert running.stderr.read().splitlines()[-1] == "napari-scsam: Cancelled."
    assert running.returncode == 130 and time.monotonic() - started < 60
    assert worker is None or not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def scheduler() -> Iterator[str]:
    """A scheduler that runs already, with a worker, both in this process, which has torch."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_running_scheduler_is_used(project: Path, expected: dict, scheduler: str) -> None:
    done = process("rank", project, "--dask", scheduler, "--json")
    assert done.returncode == 0, done.stderr
    assert_same(json.loads(done.stdout.splitlines()[-1]), expected)


SCHEDULER = """
import time, distributed
if __name__ == "__main__":
    cluster = distributed.LocalCluster(n_workers=1, dashboard_address=None, silence_logs=50)
    print(cluster.scheduler_address, flush=True)
    time.sleep(300)
"""


@pytest.mark.slow
def test_a_scheduler_that_is_lost_is_one_line(project: Path) -> None:
    script = project.parent / "scheduler.py"
    script.write_text(SCHEDULER)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as cluster:
        address = cluster.stdout.readline().strip()
        command = [
            sys.executable,
            "-m",
            "napari_scsam.cli",
            "rank",
            str(project),
            "--dask",
            address,
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr.readline().startswith("With one process: about ")
            assert "Reading" in running.stderr.readline()
            for child in psutil.Process(cluster.pid).children(recursive=True):
                child.kill()
            cluster.kill()
            last = running.stderr.read().splitlines()[-1]
    assert running.returncode == 2
    assert last.startswith("napari-scsam: The dask scheduler was lost.")


def test_what_can_not_be(project: Path) -> None:
    assert "1 or more" in refused("rank", project, "--workers", 0)
    both = refused("rank", project, "--workers", 2, "--dask", "tcp://127.0.0.1:1")
    assert "not both" in both
    assert "No dask scheduler answers" in refused("rank", project, "--dask", "nonsense://x")


def test_no_image_needs_no_worker(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p", ["a"]):
        pass
    assert ok("rank", tmp_path / "p", "--workers", 2)["queue"] == []
