"""The warm-up's phantoms, pictures, simulated annotation and loop, on few and small things."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage

from napari_scsam.models.adapters import read_info
from napari_scsam.models.sam import load_sam
from scsam_train.episodes import advance, begin
from scsam_train.warmup import curriculum, fit, pictures, shapes
from scsam_train.warmup.__main__ import main
from scsam_train.warmup.corpus import Embedded, make_scene
from scsam_train.warmup.curriculum import CURRICULUM, part_at, rate_at
from scsam_train.warmup.fit import Plan
from scsam_train.warmup.phantoms import MIN_PIXELS, SHARES, make_phantom

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 256


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(6))
def test_a_phantom_has_a_picture_in_range_and_objects_of_a_size_to_click_on(seed: int) -> None:
    scene = make_phantom(rng(seed), pictures.textures())
    assert scene.image.dtype == np.float32
    assert 0 <= scene.image.min() < scene.image.max() <= 1
    assert scene.masks
    for mask in scene.masks:
        assert mask.shape == scene.image.shape[:2]
        assert mask.sum() >= MIN_PIXELS
        assert SHARES[0] <= mask.mean() <= SHARES[1]


def test_a_scene_depends_on_its_seed_and_number_alone() -> None:
    once, again, other = (make_scene(seed, 4, held_out=False) for seed in (1, 1, 2))
    assert np.array_equal(once.image, again.image)
    assert all(np.array_equal(a, b) for a, b in zip(once.masks, again.masks, strict=True))
    assert once.image.shape != other.image.shape or not np.array_equal(once.image, other.image)


def test_no_picture_both_trains_and_judges() -> None:
    assert not set(pictures.PHOTOGRAPHS) & set(pictures.HELD_OUT_PHOTOGRAPHS)


def test_a_hollow_organ_has_a_wall_around_its_cavity() -> None:
    plane = shapes.bent_plane((200, 200), rng())
    wall, cavity, *_ = shapes.hollow_organ(plane, shapes.Pose(0, 0, 0.5, 0.4, 0.3), rng(3))
    assert not (wall & cavity).any()
    # Nothing but wall touches the cavity.
    assert (ndimage.binary_dilation(cavity) & ~cavity & ~wall).sum() == 0


def test_smooth_noise_is_standardised_and_smoother_with_a_larger_grain() -> None:
    fine, coarse = (shapes.smooth_noise((180, 140), grain, rng()) for grain in (0.02, 0.4))
    for noise in (fine, coarse):
        assert noise.shape == (180, 140)
        assert noise.mean() == pytest.approx(0, abs=1e-3)
        assert noise.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(coarse)).mean() < 0.3 * np.abs(np.diff(fine)).mean()


def corpus_of(*boxes: Any) -> Any:
    scenes = []
    for r0, c0, r1, c1 in boxes:
        target = torch.zeros((1, SIDE, SIDE), dtype=torch.uint8)
        target[0, r0:r1, c0:c1] = 1
        target[0, 200:] = 255
        scenes.append(Embedded(torch.zeros((256, 64, 64), dtype=torch.float16), target, "phantom"))
    return scenes


def test_episodes_point_inside_their_objects_and_are_of_one_kind() -> None:
    corpus = corpus_of((20, 30, 60, 90), (100, 100, 180, 120))
    kinds = set()
    for seed in range(40):
        episode = begin(corpus, 2, rng(seed))
        prompts, truth = episode.prompts, episode.target[:, 0].numpy() == 1
        kinds.add(
            (prompts.boxes is not None, prompts.masks is not None, prompts.clicks is not None)
        )
        assert episode.box_alone == (prompts.boxes is not None and prompts.masks is None)
        carried = prompts.boxes is not None and prompts.masks is not None
        for box, mask in zip(prompts.boxes if carried else (), truth, strict=False):
            rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            away = np.array(box) - (rows[0], cols[0], rows[-1], cols[-1])
            assert np.abs(away).max() < 30  # round a neighbour's outline, so near the object
        for clicks, mask in zip(prompts.clicks or [], truth, strict=False):
            for row, col, label in clicks:
                assert mask[round(row), round(col)] == bool(label)
    assert {(True, False, False), (False, False, True), (False, True, True)} <= kinds
    assert (True, True, False) in kinds  # carried over from a neighbour


def test_the_next_click_corrects_the_largest_mistake() -> None:
    corpus = corpus_of((20, 30, 60, 90))
    found = []
    for seed in range(40):
        episode = begin(corpus, 1, rng(seed))
        # Right but for a large piece that is too much, at rows 100-140.
        logits = torch.where(episode.target == 1, 5.0, -5.0)
        logits[:, :, 100:140, 150:200] = 5.0
        longer = advance(episode, (logits, torch.ones(1)), rng(seed))
        row, col, label = longer.prompts.clicks[0][-1]
        assert 100 <= row < 140
        assert 150 <= col < 200
        found.append(label)
        assert longer.left == episode.left - 1
    assert np.mean(found) < 0.1  # outside clicks, but for the rare wrong one


def test_padding_is_never_clicked_on() -> None:
    corpus = corpus_of((20, 30, 60, 90))
    episode = begin(corpus, 1, rng())
    logits = torch.where(episode.target == 1, 5.0, -5.0)
    logits[:, :, 201:] = 5.0
    for seed in range(10):
        row, *_ = advance(episode, (logits, torch.ones(1)), rng(seed)).prompts.clicks[0][-1]
        assert row < 200


def test_outlines_of_neighbours_come_late_and_at_small_rates() -> None:
    fractions = np.linspace(0, 1, 1001)
    carried = np.array([part_at(f).episodes.starts.get("carried", 0) for f in fractions])
    rates = np.array([rate_at(f) for f in fractions])
    assert not carried[fractions < 0.6].any()
    assert (carried[fractions >= 0.6] > 0).all()
    assert rates.max() == pytest.approx(1, abs=1e-3)
    assert rates[carried > 0].max() < 0.5
    for part in CURRICULUM:
        assert rate_at(part.end - 1e-6) < 0.03  # each part's rate falls to next to nothing
        assert sum(part.episodes.starts.values()) == pytest.approx(1)
        assert sum(part.domains) == pytest.approx(1)


def check_mean(kept: Any, first: Any, second: Any) -> None:
    """LoRA layers that were kept are the mean of two times, in half precision."""
    names = [name for name in first if "lora_" in name]
    assert names
    for name in names:
        mean = ((first[name] + second[name]) / 2).half()
        torch.testing.assert_close(kept[name.replace(".default", "")], mean)


@pytest.mark.slow
def test_the_command_makes_an_adapter_that_loads_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def spy(corpus: Any, size: Any, draw: Any, settings: Any) -> Any:
        begun.append((len(corpus), "carried" in settings.starts))
        return begin(corpus, size, draw, settings)

    monkeypatch.setattr(fit, "begin", spy)
    *_, early, late = curriculum.CURRICULUM
    short = (replace(early, scenes=1), replace(late, scenes=2))
    monkeypatch.setattr(curriculum, "CURRICULUM", short)
    monkeypatch.setattr(fit, "Plan", partial(Plan, save_every_s=0.0))
    command = ["--out", str(tmp_path), "--scenes", "2", "--held-out", "1", "--batch", "2"]
    command += ["--steps", "5"]
    # Three steps of five are the early part's; the power fails in the last part's second time.
    real, asked = fit.episode_loss, count(1)

    def failing(*args: Any) -> Any:
        if next(asked) == 7:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(fit, "episode_loss", failing)
    with pytest.raises(KeyboardInterrupt):
        main(command)
    assert begun[:6] == [(1, False)] * 6 and begun[-6:] == [(2, True)] * 6
    begun.clear()
    monkeypatch.setattr(fit, "episode_loss", real)
    assert main(command) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["steps"] == 5 and figures["last_part_times"] == 2
    assert set(begun) == {(2, True)}
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    first, second = state["finished"]
    assert any(not torch.equal(first[name], second[name]) for name in first)
    check_mean(load_file(tmp_path / "adapter" / "adapter_model.safetensors"), first, second)
    state.pop("version")
    torch.save(state, tmp_path / "state.pt")
    assert main(command) == 2
    assert "another version" in capsys.readouterr().err
    folder = tmp_path / "adapter"
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size < 2e6
    assert read_info(folder).class_ids == ()
    trained = load_file(folder / "adapter_model.safetensors")
    assert any(bool(v.any()) for name, v in trained.items() if "lora_B" in name)
    sam = load_sam("lite-medsam-released", device="cpu", adapter=folder)
    assert sam.understands_points
