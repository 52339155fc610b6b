"""A whole round by its real entry point, on phantoms with the real LiteMedSAM."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Never

import numpy as np
import pytest
from forked_child import ForkedChildren

from napari_scsam.core.settings import TrainSettings
from napari_scsam.core.volume import Volume
from napari_scsam.io import write_labels
from napari_scsam.models import Decoded, Embedding, load_round
from napari_scsam.models.adapters import read_info
from napari_scsam.models.class_prior import ClassPrior
from napari_scsam.models.pair import Pair
from napari_scsam.models.unet import UNet
from scsam_train.__main__ import main
from scsam_train.validation_metrics import click_dice, follows_clicks, may_answer_clicks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.prompts import Prompts

CLASSES = [{"id": 1, "name": "disc", "colour": "#ff0000"}]


def phantom(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc off the middle of a noisy picture, and its mask."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:48, :64]
    mask = (rows - rng.integers(14, 34)) ** 2 + (cols - rng.integers(14, 50)) ** 2 < 100
    return (rng.normal(60, 10, mask.shape) + 120 * mask).clip(0, 255).astype(np.uint8), mask


def file_entry(path: Path, array: np.ndarray) -> dict[str, str]:
    write_labels(path, array, Volume.from_array(array))
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def make_round(
    folder: Path, labelled: Any, unlabelled: int = 0, parent: Any = None, **settings: Any
) -> Path:
    folder.mkdir(parents=True)
    images = []
    for index in range(labelled + unlabelled):
        image, mask = phantom(index)
        name = f"i{index}"
        entry = {"id": name, "case": name, "shape": list(image.shape), "rgb": False}
        entry |= file_entry(folder.parent / f"{name}.nii.gz", image)
        entry["label"] = None
        if index < labelled:
            label = mask.astype(np.uint8)
            entry["label"] = file_entry(folder.parent / f"{name}-label.nii.gz", label)
        images.append(entry)
    small = {
        "steps": 3,
        "image_size": 64,
        "device": "cpu",
        "lora_rank": 2,
        "unet": "scratch",
        "labelled_batch": 2,
        "unlabelled_batch": 2,
    }
    content = {
        "schema": 1,
        "round": 1,
        "project": "toy",
        "modality": "other",
        "classes": CLASSES,
        "images": images,
        "parent_round": parent,
        "settings": TrainSettings(**(small | settings)).to_dict(),
    }
    (folder / "inputs.json").write_text(json.dumps(content))
    return folder


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labelled cases (one is held out) and an unlabelled one, by a process of its own."""
    folder = make_round(tmp_path_factory.mktemp("rounds") / "0001.partial", 3, 1)
    done = ForkedChildren().run([sys.executable, "-P", "-m", "scsam_train", str(folder)])
    assert done.returncode == 0, done.stderr
    assert not folder.exists()
    return folder.with_name("0001")


@pytest.mark.slow
def test_a_round_leaves_what_it_promises(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names >= {
        "inputs.json",
        "config.json",
        "split.json",
        "events.jsonl",
        "metrics.json",
        "unet.safetensors",
        "sam_adapter",
        "manifest.json",
    }
    manifest = json.loads((finished / "manifest.json").read_text())
    for name, sha256 in manifest["files"].items():
        assert hashlib.sha256((finished / name).read_bytes()).hexdigest() == sha256
    assert {"unet.safetensors", "metrics.json", "config.json"} <= set(manifest["files"])
    inputs = (finished / "inputs.json").read_bytes()
    assert manifest["data"] == hashlib.sha256(inputs).hexdigest()
    split = json.loads((finished / "split.json").read_text())
    assert {*split["train"], *split["held_out"]} == {"i0:0", "i1:0", "i2:0"}


def test_its_events_and_metrics_tell_the_same_story(finished: Path) -> None:
    told = events(finished)
    kinds = [event["event"] for event in told]
    assert kinds[0] == "started" and kinds[-1] == "finished" and "validation" in kinds
    assert told[0]["labelled"] == 2 and told[0]["unlabelled"] == 1
    phases = [event["phase"] for event in told if event["event"] == "progress"]
    assert list(dict.fromkeys(phases)) == ["embedding", "training", "validating"]
    last = [event for event in told if event.get("phase") == "training"][-1]
    assert last["step"] == last["steps"] == 3 and math.isfinite(last["loss_unet"])
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics == told[-1]["metrics"]
    assert metrics["gated"] and metrics["validation"] == {"planes": 1, "cases": 1}
    assert metrics["parent"] is None and metrics["steps"] == 3
    split = json.loads((finished / "split.json").read_text())
    (held_out,) = split["held_out"]
    assert metrics["weighing"] == {
        "unit": "slice",
        "parts": [{"chosen_by": [], "reported_on": [held_out]}],
        "kept_weights_chosen_by": [held_out],
    }
    assert metrics["interim"] == {
        "planes": [held_out],
        "may_end_early": False,
        "unet_may_teach_sam": True,
    }
    # Two views of each labelled plane and the unlabelled one, none of them found in a cache.
    rates = metrics["rates"]
    assert rates["embeddings"] == 5 and 0 < rates["seconds_per_embedding"] < 60
    parts = 5 * rates["seconds_per_embedding"] + 3 * rates["seconds_per_step"]
    parts += rates["seconds_loading"] + rates["seconds_judging"] + rates["seconds_looking"]
    assert 0.8 * metrics["seconds"] < parts < 1.01 * metrics["seconds"] + 0.1
    # The shipped base finds a plain disc; the round answers clicks if it still does as well.
    clicked, by_base = metrics["click_dice"], metrics["base_click_dice"]
    assert by_base > 0.8 and 0 <= clicked <= 1
    info = read_info(finished / "sam_adapter")
    assert ClassPrior.load(finished / "sam_adapter" / "prior.safetensors").class_ids == (0, 1)
    corrected, base_corrected = metrics["corrected_dice"], metrics["base_corrected_dice"]
    assert base_corrected > 0.8 and 0 <= corrected <= 1
    may = follows_clicks(clicked, by_base) and follows_clicks(corrected, base_corrected)
    assert info.understands_points is may
    assert set(metrics["dice"]) == {"unet", "sam", "prompted", "pair"}
    assert set(metrics["dice"]["pair"]) == {"disc", "mean"}


def test_the_pair_loads_and_answers_on_the_planes_grid(finished: Path) -> None:
    models = load_round(finished, device="cpu")
    assert models.number == 1 and models.class_ids == (1,)
    image, _ = phantom(9)
    embedding = models.sam.embed(image)
    found = [models.probabilities(image, embedding, which) for which in ("unet", "sam", "pair")]
    for probabilities in found:
        assert probabilities.shape == (2, 48, 64) and probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    # Unless SAM is asked a second time, the pair lies between its members.
    unguided = Pair(UNet.load(finished / "unet.safetensors"), models.sam)
    between = unguided.probabilities(image, embedding)
    low, high = np.minimum(found[0], found[1]), np.maximum(found[0], found[1])
    assert ((between >= low - 1e-6) & (between <= high + 1e-6)).all()


def test_one_label_nothing_else_and_a_parent_to_start_from(finished: Path, tmp_path: Path) -> None:
    parent = {"number": 1, "folder": str(finished)}
    folder = make_round(tmp_path / "0002.partial", 1, parent=parent, steps=1)
    assert main([str(folder)]) == 0
    done = folder.with_name("0002")
    metrics = json.loads((done / "metrics.json").read_text())
    assert metrics["gated"] is False and "too few" in metrics["reason"]
    assert metrics["dice"]["pair"] == {"disc": None, "mean": None}
    assert metrics["weighing"] is None
    # SAM was not tried with clicks on the plane that it trained on: the base answers them.
    assert metrics["click_dice"] is None and "left to the base" in metrics["clicks"]
    assert not read_info(done / "sam_adapter").understands_points
    assert metrics["unlabelled_planes"] == 0
    texts = [event.get("text", "") for event in events(done)]
    assert any("Starting from the weights of the active round" in text for text in texts)
    before = UNet.load(finished / "unet.safetensors").network.state_dict()
    after = UNet.load(done / "unet.safetensors").network.state_dict()
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert 0 < moved < 0.05  # one step away, not random again


def test_a_round_that_gains_nothing_more_ends_early_and_says_so(tmp_path: Path) -> None:
    still = {"unet_lr": 1e-6, "holdout": 0.34, "image_size": 32}
    asked = {"recipe": "supervised", "steps": None, "pictures": 200, **still}
    assert main([str(make_round(tmp_path / "0001.partial", 3, **asked))]) == 0
    folder = tmp_path / "0001"
    (ending,) = (e for e in events(folder) if e["event"] == "early_stop")
    metrics = json.loads((folder / "metrics.json").read_text())
    looks = [e["fraction"] for e in events(folder) if e["event"] == "validation"]
    # The first look, at a quarter, is the best; the two after it bring nothing.
    assert ending["best_pictures"] == pytest.approx(0.25 * 200, abs=8)
    assert metrics["pictures"] == pytest.approx(ending["pictures"], abs=8)
    assert 0.55 * 200 < metrics["pictures"] < 160
    assert looks == sorted(looks) and looks[-1] == 1.0


def test_cancel_leaves_the_partial_folder_and_says_so(tmp_path: Path) -> None:
    folder = make_round(tmp_path / "0001.partial", 1)
    (folder / "control.json").write_text('{"command": "cancel"}')
    assert main([str(folder)]) == 0
    assert events(folder)[-1]["event"] == "cancelled"
    assert not folder.with_name("0001").exists()


def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_round(tmp_path / "0001.partial", 0, 1)
    assert main([str(folder)]) == 2
    assert "no label" in events(folder)[-1]["error"]
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert main([str(tmp_path / "nowhere")]) == 2
    assert main([]) == 2


def test_a_crash_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_round(tmp_path / "0001.partial", 1)

    def out_of_memory(*args: Any) -> Never:
        raise RuntimeError("CUDA out of memory.\nmany lines")

    monkeypatch.setattr("scsam_train.loop.setup", out_of_memory)
    assert main([str(folder)]) == 1
    last = events(folder)[-1]
    assert last["event"] == "failed"
    assert last["error"] == "Training failed: RuntimeError: CUDA out of memory."
    assert "Traceback" in capsys.readouterr().err


class Deaf:
    """A SAM that finds the right half of an object, and the whole if it follows corrections."""

    understands_points = True

    def __init__(self, *, follows: bool) -> None:
        self.follows = follows

    def embed(self, pixels: NDArray[Any]) -> Embedding:
        """Embed nothing."""
        return Embedding(None, (40, 40), pixels, "")

    def decode(self, _embedding: Embedding, prompts: Prompts, **_: Any) -> Decoded:
        """Answer a click."""
        mask = np.zeros((40, 40), bool)
        mask[10:30, 5 if self.follows and len(prompts.points) > 1 else 10 : 35] = True
        return Decoded(mask, np.where(mask, 5, -5).astype(np.float32), 0.9)


def test_a_sam_that_does_not_follow_corrections_answers_no_clicks() -> None:
    label = np.zeros((40, 40), np.uint8)
    label[10:30, 5:35] = 1
    plane = SimpleNamespace(pixels=np.zeros((40, 40), np.float32), label=label)
    deaf, good = (click_dice(Deaf(follows=f), [plane], named=False) for f in (False, True))
    assert deaf is not None and good is not None
    assert deaf[0] == deaf[1] == good[0] > 0.7 and good[1] == 1
    assert may_answer_clicks(good, good) and not may_answer_clicks(deaf, good)


@pytest.mark.parametrize(
    ("dice", "base", "follows"),
    [(0.9, 0.91, True), (0.9, 0.93, False), (0.69, 0.1, False), (0.7, 0.0, True)],
)
def test_a_round_answers_clicks_only_about_as_well_as_its_base(
    dice: float, base: float, follows: bool
) -> None:
    assert follows_clicks(dice, base) is follows
