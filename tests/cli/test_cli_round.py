"""From labels to predictions by the command line alone, with a real round."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from command_line import ok, process

from napari_scsam.core.settings import TrainSettings
from napari_scsam.project import Project
from napari_scsam.rounds.cost_estimate import estimate_round


def made_with(made: dict) -> dict:
    return json.loads((Path(made["folder"]) / "config.json").read_text())["settings"]


@pytest.mark.slow
def test_train_suggest_predict_evaluate(tmp_path: Path) -> None:
    affine = np.diag([0.7, 0.8, 3.0, 1.0])
    noise = np.random.default_rng(0).integers(0, 40, (64, 48, 3))
    pixels, truth = noise.astype(np.int16), np.zeros((64, 48, 3), np.uint8)
    truth[8:40, 6:24] = 1
    pixels[truth > 0] += 150
    names = {"scan": pixels, "other": pixels[::-1], "mask": truth, "truth": truth[::-1]}
    for name, array in names.items():
        nib.save(nib.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    project, scan, other = tmp_path / "p", tmp_path / "scan.nii.gz", tmp_path / "other.nii.gz"
    ok("new", project, "--images", scan, "--classes", "block")
    ok("label", project, "--image", scan, "--mask", tmp_path / "mask.nii.gz")

    options = (
        "--steps",
        30,
        "--image-size",
        64,
        "--unlabelled-planes",
        0,
        "--holdout",
        0,
        "--unet",
        "pretrained",
        "--labelled-batch",
        2,
        "--unlabelled-batch",
        2,
        "--sam-batch",
        3,
    )
    done = process("train", project, *options, "--json")
    assert done.returncode == 0, done.stderr
    trained, lines = json.loads(done.stdout.splitlines()[-1]), done.stderr.splitlines()
    made, cost = trained["round"], trained["estimate"]
    assert lines[0] == cost["text"] and lines[0].endswith("GB (assumed for two cores).")
    assert cost["measured_in"] is None and 10 < cost["seconds"] < 100
    with Project.open(project, read_only=True) as opened:
        again = estimate_round(opened, TrainSettings(**made_with(made)))
    assert again.measured_in == 1
    # As long and as large as the first one was.
    assert again.seconds == pytest.approx(made["metrics"]["seconds"], rel=0.5)
    assert again.memory_gb == pytest.approx(made["metrics"]["rates"]["memory_gb"], abs=0.01)
    assert made["active"] and made["metrics"]["gated"] is False  # one case, nothing held out
    assert [r["number"] for r in ok("rounds", project)["rounds"]] == [1]

    found = ok("suggest", project, scan, "--plane", 1)
    inside = [p for p in found["proposals"] if p["kind"] == "confirm"]
    assert found["plane"] == 1 and inside
    assert all(truth[round(p["col"]), round(p["row"]), 1] for p in inside)

    for source, which in ((project, "unet"), (Path(made["folder"]), "pair")):
        out = tmp_path / which
        (path,) = ok("predict", source, other, "--out", out, "--with", which)["predictions"]
        assert Path(path) == out / "other.nii.gz"
        np.testing.assert_allclose(nib.load(path).affine, affine)
        mask, drawn = nib.load(path).dataobj[:] == 1, truth[::-1] == 1
        assert 2 * (mask & drawn).sum() / (mask.sum() + drawn.sum()) > 0.8, which
    figures = ok("evaluate", path, tmp_path / "truth.nii.gz", "--classes", "block")
    (row,) = figures["cases"]["other"]["classes"]
    assert row["name"] == "block"
    assert row["dice"] == pytest.approx(2 * (mask & drawn).sum() / (mask.sum() + drawn.sum()))
