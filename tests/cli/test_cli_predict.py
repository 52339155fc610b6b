"""``napari-scsam predict`` on many images: on several processes, cancelled, changed, long names."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
from command_line import ok, process, refused
from test_cli_rank_cluster import worker_below
from untrained_round import add_round

from napari_scsam.project import Project

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 24
UNET = ("--with", "unet", "--format", "png")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Some pictures, one of them labelled, and a round that was not trained."""
    (tmp_path / "scans").mkdir()
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        picture = rng.integers(0, 60 + 4 * number, (64, 64)).astype(np.uint8)
        imageio.imwrite(tmp_path / f"scans/p{number:02d}.png", picture)
    folder = tmp_path / "project"
    ok("new", folder, "--images", tmp_path / "scans", "--classes", "polyp")
    with Project.open(folder) as opened:
        image = opened.images()[0]
        opened.commit(image.id, np.eye(64, dtype=np.uint8))
    add_round(folder)
    return folder


def scans(project: Path) -> list[Path]:
    return sorted((project.parent / "scans").iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_image_of_the_project_is_predicted_only_if_it_is_the_one_that_was_added(
    project: Path, tmp_path: Path
) -> None:
    with Project.open(project, read_only=True) as opened:
        ids = [record.id for record in opened.images()]
    out = tmp_path / "out"
    found = ok("predict", project, *ids[:2], scans(project)[2], "--out", out, *UNET)
    assert sorted(contents(out)) == ["p00.png", "p01.png", "p02.png"]
    assert found["predictions"] == [str(out / f"p0{n}.png") for n in range(3)]
    imageio.imwrite(scans(project)[1], np.eye(64, dtype=np.uint8))
    line = refused("predict", project, ids[1], "--out", tmp_path / "other", *UNET)
    assert "p01.png has changed since it was added" in line
    scans(project)[1].unlink()
    line = refused("predict", project, ids[1], "--out", tmp_path / "other", *UNET)
    assert "no longer at" in line and not (tmp_path / "other").exists()


def test_long_names_are_shortened_and_nothing_after_them_is_lost(
    project: Path, tmp_path: Path
) -> None:
    names = [f"{'é' * 120}{end}.bmp" for end in ("1", "2")]
    for number, name in enumerate(names):
        imageio.imwrite(tmp_path / name, np.eye(40, k=number, dtype=np.uint8) * 9)
    images = [*(tmp_path / name for name in names), scans(project)[0]]
    words = ("--with", "unet", "--format", "nifti", "--out", tmp_path / "out")
    found = ok("predict", project, *images, *words)["predictions"]
    assert len(set(found)) == 3 == len(list((tmp_path / "out").iterdir()))


@pytest.mark.slow
@pytest.mark.exhaustive  # `rank` shows in `make test` that the same workers can be killed
def test_two_workers_write_the_same_and_a_killed_one_loses_nothing(
    project: Path, tmp_path: Path
) -> None:
    """On volumes, so that a worker is killed in the middle of one."""
    stacks = [tmp_path / f"v{number}.tif" for number in range(6)]
    for number, path in enumerate(stacks):
        volume = np.random.default_rng(number).integers(0, 200, (60, 64, 64)).astype(np.uint8)
        tifffile.imwrite(path, volume, photometric="minisblack")
    words = ("--with", "unet", "--format", "tiff", "--out")
    ok("predict", project, *stacks, *words, tmp_path / "alone")
    command = [sys.executable, "-m", "napari_scsam.cli", "predict", str(project)]
    command += [*map(str, stacks), *words, str(tmp_path / "two")]
    killed = None
    with (
        (tmp_path / "said").open("w+") as stdout,
        subprocess.Popen([*command, "--workers", "2", "--json"], stdout=stdout) as running,
    ):
        while running.poll() is None and killed is None:
            if list((tmp_path / "two").glob("*.tif")):  # others are being predicted
                killed = worker_below(running.pid)
            time.sleep(0.005)
        if killed is not None:
            killed.kill()
        assert running.wait(timeout=250) == 0
    assert killed is not None
    found = json.loads((tmp_path / "said").read_text().splitlines()[-1])["predictions"]
    assert [path.rpartition("/")[2] for path in found] == [p.name for p in stacks]
    assert contents(tmp_path / "two") == contents(tmp_path / "alone")


@pytest.mark.slow
def test_a_prediction_is_cancelled_and_what_was_written_is_whole(
    project: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "napari_scsam.cli", "predict", str(project)]
    command += [*map(str, scans(project)), "--out", str(tmp_path / "out"), *UNET]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while running.poll() is None and not list((tmp_path / "out").glob("p*.png")):
            time.sleep(0.005)
        running.send_signal(signal.SIGTERM)
        assert running.stderr.read().splitlines()[-1] == "napari-scsam: Cancelled."
    assert running.returncode == 130
    written = contents(tmp_path / "out")
    assert 0 < len(written) < COUNT and not any(name.startswith(".") for name in written)


@pytest.mark.slow
@pytest.mark.exhaustive  # `rank` shows in `make test` that a running scheduler is used
@pytest.mark.filterwarnings("default")
def test_a_running_scheduler_writes_the_same(project: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    words = ("predict", project, *scans(project), *UNET, "--out")
    ok(*words, tmp_path / "alone")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with distributed.LocalCluster(dashboard_address=None, **options) as cluster:
        address = cluster.scheduler_address
        found = ok(*words, tmp_path / "cluster", "--dask", address, run=process)["predictions"]
        workers = cluster.scheduler_info["workers"].values()
        assert len(workers) == 2
        # An image that was changed after it was added is refused by the same line as here.
        scans(project)[3].write_bytes(scans(project)[4].read_bytes())
        ids = [record.id for record in Project.open(project, read_only=True).images()]
        line = refused(
            *("predict", project, ids[3], *UNET, "--out", tmp_path / "no", "--dask", address),
            run=process,
        )
    assert "p03.png has changed since it was added" in line
    assert [path.rpartition("/")[2] for path in found] == [f"p{n:02d}.png" for n in range(COUNT)]
    assert contents(tmp_path / "cluster") == contents(tmp_path / "alone")


def test_what_can_not_be(project: Path, tmp_path: Path) -> None:
    words = ("predict", project, scans(project)[0], "--out", tmp_path / "out", *UNET)
    assert "1 or more" in refused(*words, "--workers", 0)
    assert "not both" in refused(*words, "--workers", 2, "--dask", "tcp://127.0.0.1:1")
    line = refused(*words, "--dask", "nonsense://x", run=process)
    assert "No dask scheduler answers" in line
    assert not (tmp_path / "out").exists()
