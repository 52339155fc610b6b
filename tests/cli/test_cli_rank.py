"""``napari-scsam rank``: the queue, what it leaves in the project, and bad input."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
from command_line import here, ok, process, refused
from untrained_round import add_round

from napari_scsam.project import Project
from napari_scsam.project.ranking import note_pick, picks, read_queue

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {"image", "plane", "score", "reason", "strategy", "doubtful"}
COUNT = 10


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of pictures with a spot, and of one volume with its spot on slices 3 to 5."""
    place = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(0)
    rows, cols = np.indices((48, 64))
    (place / "scans").mkdir()
    for number in range(COUNT - 1):
        picture = rng.integers(0, 60, (48, 64, 3)).astype(np.uint8)
        picture[(rows - 20) ** 2 + (cols - 30) ** 2 < (4 + number) ** 2] = (200, 90, number * 15)
        imageio.imwrite(place / f"scans/p{number:02d}.png", picture)
    volume = rng.normal(100, 9, (9, 48, 64)).astype(np.float32)
    volume[3:6, 10:30, 20:40] += 200
    tifffile.imwrite(place / "scans/volume.tif", volume, imagej=True, metadata={"axes": "ZYX"})
    ok("new", place / "project", "--images", place / "scans", "--classes", "polyp")
    return place


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """An own copy of it, with its scans."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy/project"


@pytest.fixture(scope="module")
def with_round(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two labelled pictures and a round."""
    copy = tmp_path_factory.mktemp("round") / "copy"
    shutil.copytree(made, copy)
    with Project.open(copy / "project") as opened:
        for record in opened.images()[:2]:
            label = np.zeros(record.shape, np.uint8)
            label[15:25, 25:35] = 1
            opened.commit(record.id, label)
    add_round(copy / "project")
    return copy / "project"


def ids(folder: Path) -> dict[str, str]:
    with Project.open(folder, read_only=True) as opened:
        return {record.name: record.id for record in opened.images()}


def of_pictures(queue: list[dict]) -> list[dict]:
    return [entry for entry in queue if entry["plane"] is None]


def same(one: list[dict], other: list[dict]) -> bool:
    """Whether two queues are the same, but for rounding of the scores."""
    scores = [[e["score"] or 0 for e in queue] for queue in (one, other)]
    plain = [[{**e, "score": e["score"] is None} for e in queue] for queue in (one, other)]
    return plain[0] == plain[1] and np.allclose(*scores, atol=1e-4)


def test_before_any_label_every_image_is_ranked_once(project: Path) -> None:
    """As a process; the queue is stored for the window, which may have the project open."""
    with Project.open(project) as opened:
        done = process("rank", project, "--json")
        assert done.returncode == 0, done.stderr
        first = "About 10 s (assumed for two cores): 10 of 10 images to read."
        assert done.stderr.splitlines()[0] == first
        found = json.loads(done.stdout)  # and nothing else
        queue = found["queue"]
        known = {record.id: record for record in opened.images()}
        assert sorted(e["image"] for e in queue) == sorted(known) and len(queue) == COUNT
        assert all(set(e) == KEYS and e["reason"] for e in queue)
        # A picture has no slice number, a volume has one.
        assert {e["image"] for e in queue if e["plane"] is not None} == {ids(project)["volume"]}
        assert [e for e in queue if e["score"] is None] == [
            e for e in queue if e["strategy"] == "random"
        ]
        assert len([e for e in queue if e["strategy"] == "random"]) == 2
        assert found["round"] is None and found["unreadable"] == [] and found["measured"] == COUNT

        stored = read_queue(project)
        assert [e.image for e in stored.entries] == [e["image"] for e in queue]
        (volume,) = [e for e in stored.entries if e.planes]
        assert volume.planes[0] == volume.plane and sorted(volume.planes) == list(range(9))
        note_pick(opened, stored.entries[3], 3)
        (picked,) = picks(opened)
        assert picked.entry == stored.entries[3] and picked.position == 3


@pytest.mark.parametrize("strategy", ["sequential", "random", "foreground-random", "core-set"])
def test_strategies_without_a_round(project: Path, strategy: str) -> None:
    queue = ok("rank", project, "--strategy", strategy)["queue"]
    assert len({e["image"] for e in queue}) == COUNT == len(queue)
    is_random = strategy.endswith("random")
    assert all((e["score"] is None) == is_random for e in queue)
    if strategy == "sequential":
        assert [e["image"] for e in queue] == list(ids(project).values())
    if strategy == "random":
        assert queue == ok("rank", project, "--strategy", strategy)["queue"]
        assert queue != ok("rank", project, "--strategy", strategy, "--seed", 1)["queue"]


@pytest.mark.parametrize("strategy", ["entropy", "disagreement"])
def test_what_needs_a_round_says_so(project: Path, strategy: str) -> None:
    line = refused("rank", project, "--strategy", strategy)
    assert f"{strategy} needs a trained round" in line and "hybrid" in line


def test_a_strategy_that_there_is_not(project: Path) -> None:
    assert "entropy" in refused("rank", project, "--strategy", "entropie")


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("entropy", "unsure around the outline"),
        ("disagreement", "the two models disagree on "),
        ("foreground-random", "random, foreground predicted"),
        ("hybrid", "the two models disagree on "),
    ],
)
def test_strategies_with_a_round(with_round: Path, strategy: str, words: str) -> None:
    found = ok("rank", with_round, "--strategy", strategy)
    queue = found["queue"]
    assert found["round"] == 1 and len(queue) == COUNT - 2 == len({e["image"] for e in queue})
    assert any(words in e["reason"] for e in queue)
    if strategy in ("entropy", "disagreement"):
        scores = [e["score"] for e in queue]
        assert scores == sorted(scores, reverse=True)
    # Nothing is measured twice.
    again = ok("rank", with_round, "--strategy", strategy)
    assert again["queue"] == queue and again["measured"] == 0


def test_doubtful_is_what_was_measured_and_not_how_the_reason_is_worded(
    with_round: Path, tmp_path: Path
) -> None:
    shutil.copytree(with_round.parent, tmp_path / "copy")
    folder = tmp_path / "copy/project"
    shutil.rmtree(folder / "cache/ranking", ignore_errors=True)
    ok("rank", folder, "--strategy", "disagreement")
    values = {"doubts": [1, 0.01, 0.99], "disagreement": [1, 0.0]}
    for name, row in values.items():  # as if the models were sure of everything
        (file,) = (folder / "cache/ranking").glob(f"{name}-*/*.npz")
        with np.load(file) as known:
            arrays = dict(known)
        arrays["values"][:] = row
        np.savez(file, **arrays)
    for strategy, words in (("entropy", "1 % unsure around"), ("disagreement", "disagree on 0 %")):
        pictures = of_pictures(ok("rank", folder, "--strategy", strategy)["queue"])
        assert all(words in e["reason"] and not e["doubtful"] for e in pictures)
    # The models disagree on one image that stands for others.
    one = next(
        e for e in of_pictures(ok("rank", folder)["queue"]) if e["reason"].startswith("like ")
    )
    arrays["values"][arrays["image"] == one["image"]] = [1, 0.6]
    np.savez(file, **arrays)
    queue = ok("rank", folder)["queue"]
    (found,) = [e for e in of_pictures(queue) if e["doubtful"]]
    assert found["image"] == one["image"] and found["reason"].startswith("like ")
    stored = read_queue(folder)
    assert [e.doubtful for e in stored.entries] == [e["doubtful"] for e in queue]
    # A queue of before has no such mark.
    file = folder / "cache/ranking/queue.json"
    content = json.loads(file.read_text())
    for entry in content["entries"]:
        del entry["doubtful"]
    file.write_text(json.dumps(content))
    assert [e.image for e in read_queue(folder).entries] == [e["image"] for e in queue]


def test_a_round_of_one_model_can_not_disagree(project: Path) -> None:
    with Project.open(project) as opened:
        image = opened.images()[0]
        opened.commit(image.id, np.ones(image.shape, np.uint8))
    add_round(project, trained=("unet",))
    assert "only its U-Net" in refused("rank", project, "--strategy", "disagreement")
    queue = ok("rank", project)["queue"]
    assert len(queue) == COUNT - 1 and not any("disagree" in e["reason"] for e in queue)


def test_what_is_labelled_or_skipped(project: Path) -> None:
    named = ids(project)
    with Project.open(project) as opened:
        picture, volume = opened.image(named["p03"]), opened.image(named["volume"])
        opened.commit(picture.id, np.zeros(picture.shape, np.uint8))
        label = np.full(volume.shape, 255, np.uint8)
        label[:4] = 0
        opened.commit(volume.id, label, mapping={255: 255})
        opened.skip(named["p05"], 0)
    # A labelled picture and the labelled slices of a volume are read, too.
    text = here("rank", project).stderr
    assert "About 10 s (assumed for two cores): 10 of 10 images to read." in text
    assert "Reading labelled 2 of 2 images" in text
    assert "10 images, all read before." in here("rank", project).stderr
    queue = ok("rank", project)["queue"]
    assert named["p03"] not in {e["image"] for e in queue} and len(queue) == COUNT - 1
    assert next(e["plane"] for e in queue if e["image"] == named["volume"]) > 3
    assert queue[-1]["image"] == named["p05"] and queue[-1]["reason"].startswith("skipped before")


def test_images_that_vanish_change_or_can_not_be_read_are_named(project: Path) -> None:
    scans = project.parent / "scans"
    project = project.parent / "another"  # which knows of no other place of the scans
    ok("new", project, "--images", scans, "--classes", "polyp")
    named = ids(project)
    ok("rank", project)  # known from before, which must not hide it
    (scans / "p01.png").unlink()
    shutil.copy(scans / "p04.png", scans / "p02.png")
    (scans / "p03.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    found = ok("rank", project)
    why = {one["name"]: one["why"] for one in found["unreadable"]}
    assert set(why) == {"p01", "p02", "p03"}
    assert "no longer at" in why["p01"] and "has changed" in why["p02"]
    assert len(found["queue"]) == COUNT - 3
    assert not {named[name] for name in why} & {e["image"] for e in found["queue"]}
    text = here("rank", project)
    assert text.returncode == 0 and "Passed over: p01" in text.stdout
    assert "p01" in {
        one["name"] for one in ok("rank", project, "--strategy", "random")["unreadable"]
    }


def test_one_image_all_labelled_no_image_and_all_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 255, (20, 30)).astype(np.uint8)
    imageio.imwrite(tmp_path / "one.png", picture)
    folder = tmp_path / "project"
    ok("new", folder, "--classes", "a")
    assert ok("rank", folder)["queue"] == []
    ok("add", folder, tmp_path / "one.png")
    (only,) = ok("rank", folder)["queue"]
    assert only["plane"] is None and only["score"] > 0
    with Project.open(folder) as opened:
        opened.commit(only["image"], np.zeros(picture.shape, np.uint8))
    assert ok("rank", folder)["queue"] == []
    for number in range(5):  # the same pixels in files of different bytes
        tifffile.imwrite(tmp_path / f"t{number}.tif", picture, description=f"{number}")
        ok("add", folder, tmp_path / f"t{number}.tif")
    queue = ok("rank", folder)["queue"]
    assert len({e["image"] for e in queue}) == 5


def test_a_blank_image_comes_last(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, low in (("a", 0), ("b", 900), ("c", 900)):
        picture = rng.integers(low, low + 200, (20, 30)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{name}.tif", picture)
    folder = tmp_path / "project"
    images = [tmp_path / f"{name}.tif" for name in "abc"]
    ok("new", folder, "--images", *images, "--classes", "x")
    ok("settings", folder, "--window", "1000/100")  # in which the first is black
    queue = ok("rank", folder)["queue"]
    assert len(queue) == 3
    assert queue[-1]["image"] == ids(folder)["a"] and queue[-1]["reason"].startswith("blank")


def test_a_damaged_or_hostile_cache_is_measured_again(project: Path) -> None:
    first = ok("rank", project)
    (file,) = (project / "cache/ranking").rglob("*.npz")
    np.savez(file, image=np.array([{}], dtype=object), plane=[0], stamp=[[0, 0]], values=[[1.0]])
    again = ok("rank", project)
    assert again["measured"] == COUNT and same(again["queue"], first["queue"])
    (project / "cache/ranking/queue.json").write_text('{"strategy": 1}')
    assert read_queue(project) is None


def test_a_deleted_class_is_not_ranked_for(with_round: Path, tmp_path: Path) -> None:
    shutil.copytree(with_round.parent, tmp_path / "copy")
    folder = tmp_path / "copy/project"
    toml = (folder / "project.toml").read_text()
    (folder / "project.toml").write_text(toml.replace("id = 1", "id = 2").replace("polyp", "other"))
    queue = ok("rank", folder)["queue"]
    assert len(queue) == COUNT - 2 and not any("polyp" in e["reason"] for e in queue)


# Ten small images are read before a second process has started; the time that is left is said after
# eight. What a shell starts in the background ignores Ctrl+C, and so do its children.
SLOWLY = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from napari_scsam.cli.__main__ import main
from napari_scsam.workflows import slice_signals
rows, pauses = slice_signals._rows, iter([0.3] * 8)
slice_signals._rows = lambda *given: (time.sleep(next(pauses, 5)), rows(*given))[1]
sys.exit(main())
"""


@pytest.mark.parametrize(
    "number",
    # A SIGTERM ends the ranking of several workers, in test_cli_rank_cluster.
    [pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive), signal.SIGINT],
)
def test_two_at_a_time_are_refused_and_a_cancelled_one_is_taken_up(
    project: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", SLOWLY, "rank", str(project)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert "10 of 10 images to read." in running.stderr.readline()
        assert "Reading 10 of 10 images" in running.stderr.readline()
        assert "is being ranked already" in refused("rank", project)
        assert "left" in running.stderr.readline()
        running.send_signal(number)
        assert "Cancelled." in running.stderr.read()
    assert running.returncode == 130
    found = ok("rank", project)
    assert len(found["queue"]) == COUNT and 0 < found["measured"] < COUNT
