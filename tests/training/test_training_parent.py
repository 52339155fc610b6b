"""A round is compared with its parent by figures measured in the same way, on shared classes."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from toy import one_view_each

from napari_scsam.core.settings import TrainSettings
from napari_scsam.core.volume import Volume
from napari_scsam.io import write_labels
from napari_scsam.project.promotion import judge
from scsam_train.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIDE = 32
# Held out are the last three.
CASES = "abcde"


def file_entry(path: Path, array: np.ndarray) -> dict[str, str]:
    write_labels(path, array, Volume.from_array(array))
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def train(
    folder: Path,
    classes: dict[int, str],
    parent: Path | None = None,
    judged: Sequence[int] = (),
    **settings: Any,
) -> Path:
    """Train a round on pictures with a square of each of the classes (of the judged ones)."""
    partial = folder / "0001.partial"
    partial.mkdir(parents=True)
    images = []
    for at, name in enumerate(CASES):
        label = np.zeros((SIDE, SIDE), np.uint8)
        for class_id in judged or classes:
            label[at : at + 12, 16 * class_id - 14 : 16 * class_id - 2] = class_id
        rng = np.random.default_rng(at)
        pixels = (rng.normal(40, 8, label.shape) + 60 * label).clip(0, 255).astype(np.uint8)
        image = {"id": name, "case": name, "shape": [SIDE, SIDE], "rgb": False}
        image |= file_entry(folder / f"{name}.nii.gz", pixels)
        image["label"] = file_entry(folder / f"{name}-label.nii.gz", label)
        image["label"]["judged"] = {"classes": list(judged or classes), "planes": {}}
        images.append(image)
    small = {"image_size": SIDE, "device": "cpu", "lora_rank": 2, "unet": "scratch"}
    small |= {"labelled_batch": 2, "unlabelled_batch": 2, "sam_batch": 2}
    content = {
        "schema": 1,
        "classes": [{"id": i, "name": name, "colour": "#ff0000"} for i, name in classes.items()],
        "images": images,
        "parent_round": None if parent is None else {"number": 1, "folder": str(parent)},
        "cache": str(folder.parent / "cache"),
        "held_out": list(CASES[2:]),
        "settings": TrainSettings(**(small | settings)).to_dict(),
    }
    (partial / "inputs.json").write_text(json.dumps(content))
    assert main([str(partial)]) == 0
    return partial.with_name("0001")


def metrics_of(done: Path) -> Any:
    return json.loads((done / "metrics.json").read_text())


def keep_other_weights(done: Path, **weights: Any) -> None:
    """Change the weights of the pair that a round has kept."""
    path, manifest = done / "config.json", json.loads((done / "manifest.json").read_text())
    path.write_text(json.dumps(json.loads(path.read_text()) | weights))
    manifest["files"]["config.json"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (done / "manifest.json").write_text(json.dumps(manifest))


def test_the_parent_is_measured_as_it_measured_itself(tmp_path: Path) -> None:
    """On the same held-out cases its figures are the same: its kept weights have no say."""
    with one_view_each():
        parent = train(tmp_path / "a", {1: "organ"}, recipe="scsam", steps=4)
        before = metrics_of(parent)
        assert len(before["weighing"]["parts"]) == 3
        keep_other_weights(parent, unet_shares=[0.0], guided=[True])
        again = train(tmp_path / "b", {1: "organ"}, parent, recipe="supervised", steps=1)
    found = metrics_of(again)
    assert found["parent"] == before["dice"]
    assert found["parent_cases"] == before["cases"]


@pytest.mark.parametrize(
    ("first", "judged", "second"),
    [
        ({1: "organ"}, [1], {1: "organ", 2: "late"}),
        ({1: "organ", 2: "late"}, [1], {1: "organ", 2: "late"}),
    ],
)
def test_rounds_are_compared_on_the_classes_that_both_know(
    tmp_path: Path, first: Any, judged: Any, second: Any
) -> None:
    """The late class is not in the parent's table, or was judged on none of its pictures."""
    small = {"recipe": "supervised", "steps": 4}
    parent = train(tmp_path / "a", first, judged=judged, **small)
    found = metrics_of(train(tmp_path / "b", second, parent, **small))
    organ = found["parent"]["pair"]["organ"]
    assert found["parent"]["pair"] == {"organ": organ, "mean": organ}
    assert found["dice"]["pair"]["late"] is not None
    lead = found["dice"]["pair"]["organ"] - organ
    assert found["comparison"]["difference"] == pytest.approx(lead)
    assert judge(2, found, 1)[1].endswith(" New, so not compared: late.")


@pytest.mark.parametrize("length", [{"steps": 1}, {"steps": None, "pictures": 2}])
def test_the_held_out_planes_that_had_a_say_in_training_are_named(
    tmp_path: Path, length: Any
) -> None:
    found = metrics_of(train(tmp_path, {1: "organ"}, recipe="supervised", **length))
    assert found["interim"] == {
        "planes": ["c:0", "d:0", "e:0"],
        "may_end_early": "pictures" in length,
        "unet_may_teach_sam": False,
    }


def test_a_round_that_shares_no_class_with_its_parent_is_taken(tmp_path: Path) -> None:
    small = {"recipe": "supervised", "steps": 2}
    parent = train(tmp_path / "a", {1: "organ"}, **small)
    found = metrics_of(train(tmp_path / "b", {2: "late"}, parent, **small))
    assert found["comparison"] is None
    assert judge(2, found, 1) == (
        True,
        "Round 2 could not be compared with round 1, as they share no class: now active.",
    )
