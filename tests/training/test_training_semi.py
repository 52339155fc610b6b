"""The benchmark of few labels on a made-up set, through the command and the rounds' own process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import napari_scsam
import scsam_train
from scsam_train.benchmark import semi_table
from scsam_train.benchmark.embedded import embed_all, own_copy
from scsam_train.benchmark.semi import NAMES, code_hash
from scsam_train.benchmark.semi_sets import SEMI_SETS


def write_set(folder):
    (folder / "polyps_kvasir" / "images").mkdir(parents=True)
    (folder / "polyps_kvasir" / "masks").mkdir()
    rows, cols = np.mgrid[:64, :72]
    rng = np.random.default_rng(0)
    names = [f"train_{i:03d}" for i in range(4)] + [f"validation_{i:03d}" for i in range(3)]
    for name in names:
        row, col = rng.integers(16, 48), rng.integers(16, 56)
        mask = (rows - row) ** 2 + (cols - col) ** 2 < 120
        picture = (60 + 120 * mask[..., None] + rng.normal(0, 8, (64, 72, 3))).clip(0, 255)
        Image.fromarray(picture.astype(np.uint8)).save(
            folder / "polyps_kvasir" / "images" / f"{name}.png"
        )
        Image.fromarray(mask.astype(np.uint8)).save(
            folder / "polyps_kvasir" / "masks" / f"{name}.png"
        )


def measure(data, out, *recipes):
    command = [sys.executable, "-P", "-m", "scsam_train.benchmark", "semi", "--data", str(data)]
    command += ["--out", str(out), "--labels", "2", "--seeds", "0", "--minutes", "0.15"]
    done = subprocess.run(
        [*command, "--recipes", *recipes], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_runs_are_kept_and_the_table_says_what_was_measured(tmp_path):
    write_set(tmp_path / "data")
    out = tmp_path / "out"
    printed = measure(tmp_path / "data", out, "supervised")
    (result,) = out.glob("results/*.json")
    found = json.loads(result.read_text())
    assert set(found["dice"]) == {"unet"} and found["steps"] > 0
    assert len(found["cases"]) == 3 and len(found["chosen_by"]) == 1
    (case,) = list(found["cases"].values())[:1]
    (scores,) = case.values()
    assert set(scores["unet"]["polyp"]) == {"dice", "iou", "hd95", "assd"}
    assert [point["fraction"] for point in found["curve"]][-1] == 1.0
    assert all(set(point["dice"]) == {"unet", "sam", "pair"} for point in found["curve"])
    assert found["curve"][-1]["dice"]["unet"] is not None
    assert "| supervised | " in printed
    assert found["machine"]["cores"] and found["machine"]["torch"]
    # On another machine, with the same scans elsewhere, it is read and not run again.
    before = result.stat().st_mtime_ns
    write_set(tmp_path / "elsewhere")
    other = tmp_path / "other"
    known = ["--results", str(out / "results")]
    again = measure(tmp_path / "elsewhere", other, "supervised", "mean-teacher", *known)
    assert result.stat().st_mtime_ns == before
    assert "| mean-teacher | " in again
    assert len(list(out.glob("results/*.json"))) == 2
    assert [path.name[:30] for path in other.glob("runs/*")] == ["polyps_kvasir-2-mean-teacher-0"]
    assert json.loads((other / "semi-polyps_kvasir-2.json").read_text())["plan"]["labels"] == 2


@pytest.mark.slow
def test_a_second_round_is_compared_case_by_case(tmp_path):
    write_set(tmp_path / "data")
    out = tmp_path / "out"
    command = [sys.executable, "-P", "-m", "scsam_train.benchmark", "again", "--out", str(out)]
    command += ["--data", str(tmp_path / "data"), "--labels", "2", "--more", "1"]
    done = subprocess.run(
        [*command, "--minutes", "0.1"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (one,) = out.glob("runs/again-*/0001")
    inputs = json.loads((one.with_name("0002") / "inputs.json").read_text())
    assert inputs["parent_round"] == {"number": 1, "folder": str(one)}
    labelled = [
        sum(image["label"] is not None for image in content["images"])
        for content in (json.loads((one / "inputs.json").read_text()), inputs)
    ]
    assert labelled == [3, 4]  # two, then three, and one of those that are measured chooses
    found = json.loads((out / "again-polyps_kvasir.json").read_text())["runs"]["0"]
    assert {group: len(found[group]["pair"]["change"]) for group in found} == {
        "unseen": 2,
        "first": 2,
    }
    for member, row in found["unseen"].items():
        mean = np.mean(list(row["change"].values()))
        assert mean == pytest.approx(row["after"] - row["before"], abs=1e-6), member
    assert done.stdout.count("| unseen (2) |") == 3


def run_of(dice, best="unet"):
    curve = [{"fraction": 0.5, "dice": {"unet": 0.3}}, {"fraction": 1.0, "dice": dice}]
    return {"dice": dice, "best": best, "steps": 10, "seconds": 60.0, "curve": curve}


def test_the_table_pairs_seeds_with_the_supervised_ones():
    runs = {
        "supervised": {"0": run_of({"unet": 0.5, "pair": 0.5}), "1": run_of({"unet": 0.7})},
        "scsam": {
            "0": run_of({"unet": 0.6, "sam": 0.5, "pair": 0.65}, "pair"),
            "1": run_of({"unet": 0.9, "sam": 0.5, "pair": 0.95}, "pair"),
        },
    }
    plan = {"set": "polyps_kvasir", "labels": 2, "minutes": 1.0, "seeds": [0, 1]}
    table = semi_table.markdown({"plan": plan, "runs": runs})
    line = next(line for line in table.splitlines() if line.startswith("| scsam"))
    assert "0.750 ± 0.212 (2)" in line  # its U-Net
    assert "0.800 ± 0.212 (2)" in line  # the pair, chosen both times
    assert "+0.150 ± 0.071 (2)" in line  # .1 and .2 more than supervised with the same seed
    assert "| supervised | +0.200 ± 0.071 (2) |" in table  # the pair is .15 and .25 ahead of it
    assert "| recipe | member | 50 % | 100 % |" in table
    assert "| scsam | unet | 0.300 ± 0.000 (2) | 0.750 ± 0.212 (2) |" in table


def test_ablations_are_recipes_of_the_benchmark():
    assert {"scsam", "cps", "scsam-without-points", "scsam-without-sam-to-unet"} <= set(NAMES)


def test_an_embedding_that_was_lost_is_made_again_and_the_measured_time_kept(tmp_path):
    write_set(tmp_path / "data")
    places = tmp_path / "data", tmp_path, SEMI_SETS["polyps_kvasir"]
    told = []
    each = embed_all(*places, told.append)
    before = sorted((tmp_path / "cache").iterdir())
    assert len(before) == 7 and told == ["polyps_kvasir: 7 of 7 planes embedded"]
    before[2].unlink()  # no run makes it again in its own time, which would pay for it twice
    assert embed_all(*places, told.append) == each
    assert sorted((tmp_path / "cache").iterdir()) == before


def test_a_run_sees_no_embedding_that_another_run_added(tmp_path):
    shared = tmp_path / "cache"
    (shared / "ab").mkdir(parents=True)
    (shared / "ab" / "known").write_bytes(b"1")
    with own_copy(shared, tmp_path / "one" / "cache") as own:
        assert (own / "ab" / "known").read_bytes() == b"1"
        (own / "ab" / "made").write_bytes(b"2")
        with own_copy(shared, tmp_path / "other" / "cache") as other:
            assert [path.name for path in other.rglob("*") if path.is_file()] == ["known"]
    assert not own.exists() and not other.exists()
    assert [path.name for path in shared.rglob("*") if path.is_file()] == ["known"]


def test_an_interrupted_run_goes_on_with_what_it_had_embedded(tmp_path):
    (tmp_path / "cache").mkdir()
    with (
        pytest.raises(KeyboardInterrupt),
        own_copy(tmp_path / "cache", tmp_path / "run" / "cache") as own,
    ):
        (own / "made").write_bytes(b"2")
        raise KeyboardInterrupt
    with own_copy(tmp_path / "cache", own) as again:
        assert (again / "made").read_bytes() == b"2"


WEIGHTS = "napari_scsam/models/weights/lite-medsam-points/adapter_model.safetensors"


@pytest.mark.parametrize(
    ("changed", "of"),
    [
        (WEIGHTS, {"scsam"}),
        ("napari_scsam/models/sam.py", {"scsam", "supervised", "mean-teacher"}),
        ("napari_scsam/models/unet.py", {"scsam", "supervised", "mean-teacher"}),
        ("napari_scsam/models/propagation.py", set()),
        ("napari_scsam/models/ways.py", set()),
        ("scsam_train/lessons.py", {"scsam", "supervised", "mean-teacher"}),
        ("scsam_train/pseudo.py", {"scsam"}),
        ("scsam_train/recipes/scsam.py", {"scsam"}),
        ("scsam_train/recipes/cps.py", set()),
        ("scsam_train/recipes/supervised.py", {"supervised", "mean-teacher"}),
        ("scsam_train/benchmark/semi.py", set()),
    ],
)
def test_a_run_is_known_by_the_weights_and_the_code_that_it_ran_with(
    tmp_path, monkeypatch, changed, of
):
    def hashes():
        return {name: code_hash(name) for name in ("scsam", "supervised", "mean-teacher")}

    known = hashes()
    for package in (napari_scsam, scsam_train):
        folder = Path(package.__file__).parent
        shutil.copytree(folder, tmp_path / folder.name)
        monkeypatch.setattr(package, "__file__", str(tmp_path / folder.name / "__init__.py"))
    assert hashes() == known
    content = bytearray((tmp_path / changed).read_bytes())
    content[-1] ^= 1
    (tmp_path / changed).write_bytes(content)
    assert {name for name, code in hashes().items() if code != known[name]} == of
