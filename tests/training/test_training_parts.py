"""Schedules, augmentation, simulated clicks, pseudo-labels and the batched decoder."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from napari_scsam.core.prompts import deepest
from napari_scsam.models.adapters import AdapterInfo, attach
from napari_scsam.models.base import load_base
from scsam_train.batches import shrunk, shrunk_labels
from scsam_train.clicks import first_clicks, jittered_box, next_click
from scsam_train.decoding import Decoder, PromptBatch
from scsam_train.pseudo import PseudoLabels
from scsam_train.schedules import MovingAverage, balance_power, learning_rate, ramp, side_at
from scsam_train.teacher_reliability import TeacherReliability


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_learning_rate_warms_up_and_falls() -> None:
    rates = [learning_rate(f) for f in np.linspace(0, 1, 101)]
    peak = int(np.argmax(rates))
    assert peak == 5 and rates[5] == 1.0
    assert all(a <= b for a, b in pairwise(rates[:6]))
    assert all(a >= b for a, b in pairwise(rates[5:]))
    assert 0 < min(rates) < 0.05


def test_trust_in_pseudo_labels_ramps_up() -> None:
    assert ramp(0) == pytest.approx(math.exp(-5))
    assert ramp(0.2) == pytest.approx(math.exp(-1.25))
    assert ramp(0.4) == ramp(1.0) == 1.0


def test_rare_classes_are_favoured_at_first_only() -> None:
    assert balance_power(0) == balance_power(0.5) == 0.5
    assert balance_power(0.75) == pytest.approx(0.25) and balance_power(1.0) == 0.0


def test_the_exam_believes_who_is_right() -> None:
    truth = np.zeros((8, 8), np.uint8)
    truth[:4, :4], truth[6:, 6:], truth[:, 5] = 1, 2, 255
    right, blind = truth.astype(np.int64), np.zeros((8, 8), np.int64)
    right[truth == 255] = 1  # what nobody annotated counts for nobody
    exam = TeacherReliability(2)
    assert (exam.reliability == 0).all()
    exam.update(blind, right, truth)
    np.testing.assert_allclose(exam.dice, [[0, 0], [1, 1]])
    assert exam.unet_share < 0.01 and (exam.reliability > 0.99).all()
    both_blind = TeacherReliability(2)
    half = np.where(right == 1, 1, 0)
    both_blind.update(half, half, truth)  # they agree to leave class 2 out
    assert both_blind.unet_share == pytest.approx(0.5)
    np.testing.assert_allclose(both_blind.reliability, [1, 0])
    for _ in range(60):
        exam.update(right, blind, truth)
    assert exam.unet_share > 0.99  # teachers change


def test_moving_average_follows_early_and_slowly_later() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    average = MovingAverage({"p": parameter}, decay=0.9)
    with torch.no_grad():
        parameter.fill_(1.0)
    expected = 0.0
    for step in range(100):
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay)
    with average.in_place():
        assert float(parameter.detach()) == pytest.approx(expected, abs=1e-6)
    assert float(parameter.detach()) == 1.0
    average.copy_to_network()
    assert float(parameter.detach()) == pytest.approx(expected, abs=1e-6)


def blob() -> np.ndarray:
    mask = np.zeros((64, 64), bool)
    mask[10:30, 35:50] = True
    return mask


def test_clicks_lie_where_their_label_says() -> None:
    mask, rng = blob(), np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        clicks = first_clicks(mask, 5, rng)
        assert len(clicks) == 5 and clicks[0][2] == 1
        for row, col, label in clicks:
            assert mask[int(row), int(col)] == bool(label)
            seen.add(label)
    assert seen == {0, 1}
    full = first_clicks(np.ones((8, 8), bool), 4, rng)  # nothing outside to point at
    assert all(label == 1 for _, _, label in full)


def test_the_middle_and_the_next_click() -> None:
    mask = blob()
    row, col = deepest(mask)
    assert min(row - 10, 29 - row, col - 35, 49 - col) >= 6
    guess = mask.copy()
    guess[50:62, 2:20] = True  # a spill, larger than what is missing
    guess[10:13, 35:40] = False
    everywhere = np.ones_like(mask)
    row, col, label = next_click(guess, mask, everywhere)
    assert label == 0 and 50 <= row < 62 and 2 <= col < 20
    known = everywhere.copy()
    known[50:62] = False
    row, col, label = next_click(guess, mask, known)
    assert label == 1 and 10 <= row < 13
    assert next_click(mask, mask, everywhere) is None


def test_boxes_lie_between_tight_and_loosened_and_a_little_beside() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([jittered_box(blob(), rng) for _ in range(200)])
    outwards = (boxes - [10, 35, 29, 49]) * [-1, -1, 1, 1]
    # 20 x 15 px: sides move by 1 and 0.75 px, and 5/256 of 64 px of air come to it.
    np.testing.assert_array_less(-1.001, outwards)
    assert (outwards < [2.251, 2.001, 2.251, 2.001]).all()
    assert (outwards.min(0) < -0.4).all() and (outwards.max(0) > 1.7).all()


def test_pseudo_labels_teach_only_where_both_are_sure() -> None:
    valid = torch.ones((2, 4, 4), dtype=torch.bool)
    valid[:, 3] = False
    unet, sam = torch.zeros((2, 4, 4)), torch.zeros((2, 4, 4))
    unet[1, :, 0], sam[1, :, 0] = 1, 1  # agreed object
    sam[1, :, 1], unet[0, :, 1] = 1, 1  # disagreed
    unet[0, :, 2:], sam[0, :, 2:] = 1, 1  # agreed background
    asked, share = [], [0.5]

    def ask_unet(indices: Any) -> torch.Tensor:
        asked.append(indices.tolist())
        return unet[None]

    def unet_share(agreement: float) -> float:
        assert agreement == pytest.approx(2 / 3)
        return share[0]

    pseudo = PseudoLabels(valid, 1, ask_unet, unet_share)
    assert pseudo.agreement is None and len(pseudo.ready) == 0
    pseudo.keep(1, sam)
    assert pseudo.ready.tolist() == [1] and pseudo.agreement is None
    (label,) = pseudo.label_maps(np.array([1]))
    assert asked == [[1]] and pseudo.agreement == pytest.approx(2 / 3)
    assert label[:3].tolist() == [[1, 255, 0, 0]] * 3
    assert (label[3] == 255).all()
    share[0] = 0.0  # no trust in the U-Net: SAM leads
    assert pseudo.label_maps(np.array([1]))[0, 0].tolist() == [1, 1, 0, 0]
    again = PseudoLabels(valid, 1, ask_unet, unet_share)
    again.restore(pseudo.state())
    assert torch.equal(again.label_maps(np.array([1])), pseudo.label_maps(np.array([1])))


def test_the_unet_is_asked_anew_once_its_answer_is_old() -> None:
    asked = []

    def ask_unet(indices: Any) -> torch.Tensor:
        asked.append(indices.tolist())
        side = 2 if len(asked) < 4 else 4
        return torch.full((len(indices), 2, side, side), 0.5)

    valid = torch.ones((3, 4, 4), dtype=torch.bool)
    pseudo = PseudoLabels(valid, 1, ask_unet, lambda agreement: 0.5)
    for _ in range(39):
        pseudo.label_maps(np.array([0, 2, 0]))
    # At first in each call, later where the answer is older than a twentieth of all calls.
    assert asked == [[0, 2]] * (19 + 10)
    again = PseudoLabels(valid, 1, ask_unet, lambda agreement: 0.5)
    again.restore(pseudo.state())
    for which in (pseudo, again):  # what was kept is used by both
        assert which.label_maps(np.array([0, 2])).shape == (2, 4, 4)
    assert len(asked) == 19 + 10
    pseudo.label_maps(np.array([1]))
    assert asked[-1] == [1]


def test_the_unet_sees_small_pictures_first_and_whole_ones_at_the_end() -> None:
    assert [side_at(f, 128) for f in (0.0, 0.34, 0.35, 1.0)] == [64, 64, 128, 128]
    assert side_at(0.0, 192) == 96
    assert side_at(0.0, 160) == 160 and side_at(0.0, 64) == 64  # 80 can't be pooled, 32 is small
    label = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8)
    assert shrunk_labels(label, 4)[0, 0].tolist() == [9, 11, 13, 15]
    assert shrunk(torch.ones(1, 3, 8, 8), 4).shape == (1, 3, 4, 4)


def test_the_batched_decoder_is_sams_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # In float32, whatever this machine could do.
    monkeypatch.setattr("scsam_train.precision.has_bfloat16", lambda device: False)
    model = attach(load_base("lite-medsam").module, AdapterInfo("a", "x", (1, 2), rank=2))
    decoder = Decoder(model)
    features = torch.randn((2, 256, 64, 64), generator=generator())
    clicks = [[(20.0, 70.0, 1), (90.0, 30.0, 0)], [(120.0, 12.0, 1), (3.0, 200.0, 1)]]
    boxes = np.array([[5, 10, 100, 90], [30, 2, 200, 250]], np.float32)
    masks = 30 * torch.randn((2, 1, 256, 256), generator=generator(1))
    ask = PromptBatch(torch.tensor([1, 0]), clicks, boxes, masks)
    with torch.no_grad():
        logits, iou = decoder(features, ask)
        for i in range(2):
            row_col = torch.tensor(clicks[i])
            r0, c0, r1, c1 = boxes[i]
            sparse, dense = model.prompt_encoder(
                points=(row_col[None, :, [1, 0]], row_col[None, :, 2]),
                boxes=torch.tensor([[c0, r0, c1, r1]]),
                masks=masks[i : i + 1].clamp(-8, 8),
            )
            sparse = torch.cat([sparse, model.class_tokens(ask.classes[i : i + 1])], dim=1)
            own, own_iou = model.mask_decoder(
                image_embeddings=features[i : i + 1],
                image_pe=model.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
            torch.testing.assert_close(logits[i : i + 1], own, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(iou[i], own_iou[0, 0], rtol=1e-3, atol=1e-3)
