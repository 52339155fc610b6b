"""A whole round of five classes, of which most have little or no label."""

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
from napari_scsam.models import load_round
from napari_scsam.models.class_prior import ClassPrior
from scsam_train.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 64
# On all pictures; on one case; nowhere, though everybody looked; came late, looked for on one
# picture; came last, looked for by nobody.
NAMES = {1: "common", 2: "single", 3: "absent", 4: "late", 5: "last"}
JUDGED = {"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 2, 3, 4], "d": [1, 2, 3]}


def file_entry(path: Path, array: np.ndarray) -> dict[str, str]:
    write_labels(path, array, Volume.from_array(array))
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def picture(folder: Path, name: str, label: Any) -> dict[str, Any]:
    rng = np.random.default_rng(ord(name))
    pixels = (rng.normal(40, 8, label.shape) + 45 * label).clip(0, 255).astype(np.uint8)
    found = {"id": name, "case": name, "shape": [SIDE, SIDE], "rgb": False, "label": None}
    found |= file_entry(folder / f"{name}.nii.gz", pixels)
    if name in JUDGED:
        found["label"] = file_entry(folder / f"{name}-label.nii.gz", label)
        found["label"]["judged"] = {"classes": JUDGED[name], "planes": {}}
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds") / "0001.partial"
    folder.mkdir()
    images = []
    for at, name in enumerate("abcde"):
        label = np.zeros((SIDE, SIDE), np.uint8)
        label[8 + at : 28 + at, 10:30] = 1
        if name == "a":
            label[36:52, 8:24] = 2
        if name == "c":
            label[36:52, 36:52] = 4
        images.append(picture(folder.parent, name, label))
    settings = {"steps": 12, "image_size": SIDE, "device": "cpu", "lora_rank": 2, "unet": "scratch"}
    settings |= {"labelled_batch": 2, "unlabelled_batch": 2, "sam_batch": 2}
    content = {
        "schema": 1,
        "classes": [{"id": i, "name": name, "colour": "#ff0000"} for i, name in NAMES.items()],
        "images": images,
        "parent_round": None,
        "held_out": ["d"],
        "settings": TrainSettings(**settings).to_dict(),
    }
    (folder / "inputs.json").write_text(json.dumps(content))
    with one_view_each():
        assert main([str(folder)]) == 0
    return folder.with_name("0001")


def test_the_round_says_what_it_knows_nothing_of(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["unknown_classes"] == ["last"]
    for member in ("unet", "sam", "pair"):
        found = metrics["dice"][member]
        assert found["common"] is not None
        assert found["late"] is None and found["last"] is None  # not judged where it is held out
    assert json.loads((finished / "config.json").read_text())["unknown_classes"] == [5]


def test_sam_is_told_of_the_class_that_several_cases_show(finished: Path) -> None:
    prior = ClassPrior.load(finished / "sam_adapter" / "prior.safetensors")
    assert [i for i in NAMES if prior.knows(i)] == [1]


def test_no_member_answers_a_class_that_nobody_looked_for(finished: Path) -> None:
    models = load_round(finished, device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE)).astype(np.uint8)
    for which in ("unet", "sam", "pair"):
        probabilities = models.probabilities(image, which=which)
        assert probabilities[5].max() < 1e-5 < probabilities[4].max()
        np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-4)
