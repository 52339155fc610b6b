"""A round with a pretrained U-Net that SAM joins, through the child process's own entry point."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from toy import one_view_each

from napari_scsam.core.settings import TrainSettings
from napari_scsam.models.pair import load_round
from napari_scsam.models.unet import UNet
from scsam_train.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIDE, PICTURES = 64, 40


def written(path: Path, array: np.ndarray) -> dict[str, str]:
    tifffile.imwrite(path, array)
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def pictures(folder: Path) -> Iterator[dict[str, Any]]:
    """Three labelled cases with a bright disc each, and one that nobody labelled."""
    rows, cols = np.indices((SIDE, SIDE))
    rng = np.random.default_rng(0)
    for at, name in enumerate("abcu"):
        disc = np.hypot(rows - 26 - 3 * at, cols - 30) < 14
        pixels = (rng.random((SIDE, SIDE)) * 60 + 150 * disc).astype(np.uint8)
        label = written(folder / f"{name}_label.tif", 3 * disc.astype(np.uint8))
        yield {
            "id": name,
            "case": name,
            **written(folder / f"{name}.tif", pixels),
            "label": None if name == "u" else label,
        }


def round_in(folder: Path, number: int, images: Any, parent: Any = None, **settings: Any) -> Path:
    partial = folder / f"{number:04d}.partial"
    partial.mkdir()
    small = {"image_size": SIDE, "device": "cpu", "lora_rank": 2, "unlabelled_planes": 1}
    content = {
        "schema": 1,
        "classes": [{"id": 3, "name": "disc", "colour": "#ff0000"}],
        "images": images,
        "parent_round": parent and {"number": number - 1, "folder": str(parent)},
        "held_out": ["c"],
        "cache": str(folder / "cache"),
        "settings": TrainSettings(**(small | settings)).to_dict(),
    }
    (partial / "inputs.json").write_text(json.dumps(content))
    with one_view_each():
        assert main([str(partial)]) == 0
    return partial.with_name(f"{number:04d}")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("rounds")
    images = list(pictures(folder))
    settings = {"recipe": "scsam", "unet": "pretrained+sam", "pictures": PICTURES}
    return folder, images, round_in(folder, 1, images, **settings)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_it_ends_after_its_pictures_and_is_judged_as_sam_is_used(first: Any) -> None:
    _, _, folder = first
    metrics = json.loads((folder / "metrics.json").read_text())
    assert PICTURES <= metrics["pictures"] < PICTURES + 8
    assert metrics["rates"]["pictures"] == metrics["pictures"]
    assert metrics["rates"]["seconds_per_picture"] > 0
    assert set(metrics["dice"]) == {"unet", "sam", "prompted", "pair"}
    assert all(scores["disc"] is not None for scores in metrics["dice"].values())
    assert events(folder, "started")[0]["pictures"] == PICTURES


def test_its_unet_answers_with_sams_embedding_and_without(first: Any) -> None:
    folder, _, made = first
    models = load_round(made, device="cpu")
    image = tifffile.imread(folder / "c.tif")
    truth = tifffile.imread(folder / "c_label.tif") == 3
    unet = UNet.load(made / "unet.safetensors")
    assert unet.kind == "pretrained+sam" and models.joins_sam
    assert unet.prior is not None and unet.prior.knows(3)
    alone = models.probabilities(image, which="unet")
    joined = models.probabilities(image, models.sam.embed(image), "unet")
    np.testing.assert_allclose(alone, unet.probabilities(image), atol=1e-5)
    assert np.abs(alone - joined).max() > 1e-3
    found = joined[1] > 0.5
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.5


def test_a_round_of_another_kind_of_unet_starts_fresh_and_says_so(first: Any) -> None:
    folder, images, made = first
    second = round_in(
        folder, 2, images, parent=made, recipe="supervised", unet="pretrained", pictures=8
    )
    said = " ".join(event["text"] for event in events(second, "message"))
    assert "its U-Net is of another kind (pretrained+sam, this one is pretrained)" in said
    third = round_in(folder, 3, images, second, recipe="supervised", unet="pretrained", pictures=8)
    assert "Starting from the weights" in " ".join(e["text"] for e in events(third, "message"))
