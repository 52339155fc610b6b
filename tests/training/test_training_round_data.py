"""Rounds on all kinds of data, by their entry point: neighbours, mixed images, few labels."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image
from toy import one_view_each

from napari_scsam import io
from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings
from napari_scsam.models import load_round
from napari_scsam.models.adapters import AdapterInfo
from napari_scsam.workflows.prediction import predict_volume
from scsam_train.__main__ import main
from scsam_train.data import TrainPlane
from scsam_train.embedded_views import build_canvases

SIDE = 64


def reference(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def entry(path: Path, label: Any = None) -> dict[str, Any]:
    """An image of inputs.json; `label` (slices, rows, cols) or (rows, cols) is written beside."""
    name = path.name.split(".")[0]
    found = {"id": name, "case": name, "shape": [], "rgb": False, **reference(path), "label": None}
    if label is not None:
        beside = path.with_name(f"{name}-label.nii.gz")
        nib.save(nib.Nifti1Image(label.astype(np.uint8).transpose(), np.eye(4)), beside)
        found["label"] = reference(beside)
    return found


def train(
    folder: Path, images: Any, *, parent: Any = None, held_out: Any = (), **settings: Any
) -> Any:
    """Train a small round in ``folder/0001.partial``; its exit code, folder and events."""
    partial = folder / "0001.partial"
    partial.mkdir(parents=True)
    small = {
        "image_size": SIDE,
        "device": "cpu",
        "lora_rank": 2,
        "recipe": "supervised",
        "unet": "scratch",
        "labelled_batch": 2,
        "unlabelled_batch": 2,
    }
    content = {
        "schema": 1,
        "classes": [{"id": 1, "name": "disc", "colour": "#ff0000"}],
        "images": images,
        "parent_round": parent and {"number": 1, "folder": str(parent)},
        "held_out": list(held_out),
        # Beside the images, so that rounds of the same ones share their embeddings.
        "cache": str(Path(images[0]["path"]).parent / "cache"),
        "settings": TrainSettings(**(small | settings)).to_dict(),
    }
    (partial / "inputs.json").write_text(json.dumps(content))
    with one_view_each():
        code = main([str(partial)])
    done = folder / "0001" if code == 0 else partial
    told = [json.loads(line) for line in (done / "events.jsonl").read_text().splitlines()]
    return code, done, told


def texts(told: Any) -> list[str]:
    return [event["text"] for event in told if event["event"] == "message"]


def disc(
    row: float, col: float, radius: int = 9, shape: tuple[int, ...] = (SIDE, SIDE)
) -> np.ndarray:
    rows, cols = np.indices(shape)
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


def hinting_volume(folder: Path, name: str, seed: int) -> tuple[Path, np.ndarray]:
    """A disc on every slice, anywhere; what is outlined on one is the disc of the next."""
    rng = np.random.default_rng(seed)
    discs = np.stack([disc(*rng.integers(12, SIDE - 12, 2)) for _ in range(17)])
    data = (30 + 150 * discs + rng.integers(0, 30, discs.shape)).astype(np.uint8)
    path = folder / f"{name}.tif"
    tifffile.imwrite(path, data[:16], photometric="minisblack")
    label = discs[1:].astype(np.uint8)
    label[-1] = 255  # what comes after the last slice nobody can see
    return path, label


def dice(guess: Any, truth: np.ndarray) -> float:
    return 2 * (guess & truth).sum() / (guess.sum() + truth.sum())


@pytest.mark.slow
def test_what_only_the_neighbours_show_is_learned_with_context(tmp_path: Any) -> None:
    (path, label), (other, truth) = (
        hinting_volume(tmp_path, n, s) for n, s in (("a", 0), ("b", 1))
    )
    settings = {"context": True, "steps": 36, "labelled_batch": 4, "mirror": False}
    images = [entry(path, label), entry(other, truth)]
    code, done, _ = train(tmp_path / "r", images, held_out=["b"], **settings)
    assert code == 0
    volume, models, known = io.read_volume(other), load_round(done, device="cpu"), truth[:-1] == 1
    predicted = predict_volume(models, volume, "unet")[:-1] == 1
    alone = [models.probabilities(volume.plane(Plane(0, i)), which="unet") for i in range(15)]
    by_each_slice_alone = np.stack([probabilities.argmax(0) for probabilities in alone]) == 1
    assert dice(predicted, known) > 0.7 and dice(by_each_slice_alone, known) < 0.5
    # The judge saw the very neighbours that prediction sees.
    metrics = json.loads((done / "metrics.json").read_text())
    found = {"disc": pytest.approx(dice(predicted, known))}
    assert metrics["cases"] == {"b": {"unet": found, "pair": found}}
    split = json.loads((done / "split.json").read_text())
    assert split["cases"] == {"train": ["a"], "held_out": ["b"]}


def test_canvases_hold_the_neighbours_only_with_context() -> None:
    before, here, after = np.random.default_rng(0).random((3, SIDE, SIDE))
    plane = TrainPlane("i", "i", 1, here, np.zeros((SIDE, SIDE), np.uint8), around=(before, after))
    for context in (True, False):
        made = build_canvases([plane], [plane], (1,), SIDE, "cpu", context=context)
        for canvas in (made.images[0], made.unlabelled_images[0]):
            for channel, seen in zip(canvas.numpy(), (before, here, after), strict=True):
                expected = seen if context else here
                assert np.corrcoef(channel.ravel(), expected.ravel())[0, 1] > 0.99


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """One colour picture, one grey one of 16 bits, and a volume with one slice labelled."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    mask = disc(20, 30, 8, (48, 80))
    colours = rng.integers(0, 60, (48, 80, 3), np.uint8) + 150 * mask[..., None].astype(np.uint8)
    Image.fromarray(colours.astype(np.uint8)).save(folder / "colour.png")
    deep = disc(30, 22, 10, (70, 50))
    tifffile.imwrite(
        folder / "deep.tif", (rng.integers(0, 9000, deep.shape) + 40000 * deep).astype(np.uint16)
    )
    scan = rng.normal(-900, 30, (4, 40, 40)).astype(np.float32)
    inside = disc(15, 20, 8, (40, 40))
    scan[1:3, inside] = 300
    nib.save(nib.Nifti1Image(scan.transpose(), np.eye(4)), folder / "scan.nii.gz")
    label = np.full(scan.shape, 255, np.uint8)
    label[1] = inside
    label[3] = 0  # a labelled slice without any object
    return [
        entry(folder / "colour.png", mask),
        entry(folder / "deep.tif", deep),
        entry(folder / "scan.nii.gz", label),
    ]


@pytest.fixture(scope="module")
def mixed_round(mixed: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("round")
    code, done, told = train(
        folder, mixed, recipe="scsam", context=True, steps=3, unlabelled_planes=2, held_out=["deep"]
    )
    assert code == 0
    return done, told


def test_sizes_channels_and_dtypes_may_differ_within_a_round(mixed_round: Any) -> None:
    done, told = mixed_round
    assert (told[0]["labelled"], told[0]["held_out"], told[0]["unlabelled"]) == (3, 1, 2)
    split = json.loads((done / "split.json").read_text())
    assert split["train"] == ["colour:0", "scan:1", "scan:3"] and split["held_out"] == ["deep:0"]
    metrics = json.loads((done / "metrics.json").read_text())
    assert metrics["unlabelled_planes"] == 2 and list(metrics["cases"]) == ["deep"]
    assert set(metrics["cases"]["deep"]) == {"unet", "sam", "prompted", "pair"}
    assert metrics["forgetting"] is None and metrics["parent_cases"] is None


def test_a_next_round_is_compared_with_its_parent_case_by_case(
    mixed: Any, mixed_round: Any, tmp_path: Path
) -> None:
    parent, _ = mixed_round
    settings = {"recipe": "scsam", "context": False, "steps": 1, "unlabelled_planes": 0}
    code, done, told = train(tmp_path, mixed, parent=parent, held_out=["deep"], **settings)
    assert code == 0 and "Starting from the weights of the active round." in texts(told)
    metrics = json.loads((done / "metrics.json").read_text())
    before = json.loads((parent / "metrics.json").read_text())
    assert metrics["parent"] == before["dice"] and metrics["parent_cases"] == before["cases"]
    assert metrics["forgetting"] == {
        "planes": 1,
        "parent": before["dice"]["pair"]["mean"],
        "round": metrics["dice"]["pair"]["mean"],
    }
    assert (metrics["comparison"]["unit"], metrics["comparison"]["count"]) == ("slice", 1)


def test_a_parent_on_another_base_is_refused_by_its_hash(mixed: Any, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    (parent / "sam_adapter").mkdir(parents=True)
    about = asdict(AdapterInfo("f00d" * 16, "vit_b", (1,), rank=2))
    (parent / "sam_adapter" / "scsam.json").write_text(json.dumps(about))
    code, _, told = train(tmp_path / "next", mixed[:1], parent=parent, steps=1)
    assert code == 0
    (refused,) = [text for text in texts(told) if text.startswith("Starting from scratch")]
    assert "another base SAM (vit_b, SHA-256 f00df00df00d…; this one is lite-medsam, " in refused
    assert not any("Starting from the weights" in text for text in texts(told))


def test_a_few_scribbles_on_one_image_are_enough_to_train(mixed: Any, tmp_path: Path) -> None:
    image = dict(mixed[1])
    scribbles = np.full((70, 50), 255, np.uint8)
    scribbles[28:31, 15:26], scribbles[5, 4:40] = 1, 0
    path = tmp_path / "scribbles.nii.gz"
    nib.save(nib.Nifti1Image(scribbles.transpose(), np.eye(4)), path)
    image["label"] = reference(path)
    settings = {"recipe": "scsam", "steps": 6, "unlabelled_planes": 0}
    code, done, told = train(tmp_path / "r", [image], **settings)
    assert code == 0
    metrics = json.loads((done / "metrics.json").read_text())
    assert (metrics["steps"], metrics["labelled_planes"], metrics["unlabelled_planes"]) == (6, 1, 0)
    last = [event for event in told if event.get("phase") == "training"][-1]
    assert last["loss_unet"] is not None and last["loss_sam"] is not None


def test_images_that_are_all_the_same_are_trained_on_with_a_warning(
    mixed: Any, tmp_path: Path
) -> None:
    again = dict(mixed[0], id="again", case="again")
    code, _, told = train(tmp_path, [mixed[0], again], steps=1)
    assert code == 0
    (warned,) = [text for text in texts(told) if "the same pixels" in text]
    assert warned.startswith("All 2 slices show the same pixels")


@pytest.mark.parametrize(
    ("value", "message"), [(0, "nothing to segment"), (7, "deep.tif (image deep) holds [7]")]
)
def test_bad_labels_are_one_line_before_anything_is_trained(
    mixed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: int, message: str
) -> None:
    label = np.full((70, 50), value, np.uint8)
    path = tmp_path / "bad.nii.gz"
    nib.save(nib.Nifti1Image(label.transpose(), np.eye(4)), path)
    image = dict(mixed[1], label=reference(path))
    code, folder, told = train(tmp_path / "r", [image], steps=1)
    assert code == 2 and [event["event"] for event in told] == ["failed"]
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line == told[0]["error"]
    assert {path.name for path in folder.iterdir()} == {"inputs.json", "events.jsonl"}


def test_a_case_on_both_sides_is_refused_before_anything_is_trained(
    mixed: Any, tmp_path: Path
) -> None:
    images = [dict(image, case="anna") for image in mixed]
    code, _, (failed,) = train(tmp_path, images, held_out=["deep"], steps=1)
    assert code == 2
    assert "case anna would be on both sides: deep.tif (deep) is held out" in failed["error"]
    assert "colour.png (colour) is learned from" in failed["error"]
