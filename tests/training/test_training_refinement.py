"""What SAM learns to correct: maps with a U-Net's mistakes, and the truth that is meant."""

from __future__ import annotations

import numpy as np
import torch
from toy import SIDE as SMALL
from toy import toy_context

from napari_scsam.core.prompts import Prompts
from napari_scsam.models import Embedding
from napari_scsam.models.self_prompting import prompted_by, prompts_for
from scsam_train.refinement import EarlyMaps, corrupted, refinement_of
from scsam_train.sam_student import SamStudent

SIDE = 128


def disc(row: float, col: float, radius: int) -> np.ndarray:
    rows, cols = np.indices((SIDE, SIDE))
    return np.hypot(rows - row, cols - col) < radius


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def test_corrupted_truths_are_wrong_in_every_way_and_mostly_near() -> None:
    truth, rng = disc(64, 60, 28), np.random.default_rng(0)
    maps = [corrupted(truth, rng) for _ in range(200)]
    scores = np.array([dice(one > 0, truth) for one in maps])
    assert all(one.dtype == np.float32 and np.abs(one).max() <= 8 for one in maps)
    assert 0.5 < np.median(scores) < 0.95 and scores.max() < 1
    assert any((one > 0)[truth].mean() < 0.6 for one in maps)  # a piece is missing
    assert any(((one > 0) & ~truth).sum() > truth.sum() for one in maps)  # spilt
    assert sum(not ((one > 0) & truth).any() for one in maps) > 4  # a wrong blob


def test_where_there_is_nothing_a_blob_is_made_up() -> None:
    rng = np.random.default_rng(1)
    assert (
        np.mean([(corrupted(np.zeros((SIDE, SIDE), bool), rng) > 0).any() for _ in range(50)]) > 0.9
    )


def test_the_truth_that_a_map_touches_is_meant_as_a_whole_and_no_other() -> None:
    truth = disc(20, 20, 10) | disc(50, 50, 8)
    target = torch.from_numpy(truth.astype(np.uint8))
    target[:, 60:] = 255
    odds = np.where(disc(24, 20, 7), 5.0, -5.0).astype(np.float32)
    found = refinement_of(odds, target, np.random.default_rng(0))
    meant = found.target.numpy()
    assert (meant[:, 60:] == 255).all()
    assert ((meant == 1) == disc(20, 20, 10))[:, :60].all()
    wrong = np.where(disc(45, 15, 6), 5.0, -5.0).astype(np.float32)
    assert not (refinement_of(wrong, target, np.random.default_rng(0)).target == 1).any()
    assert refinement_of(-np.abs(odds), target, np.random.default_rng(0)) is None


def test_prompts_are_a_loose_box_the_middle_and_the_map_without_other_parts() -> None:
    part, other = disc(30, 30, 10), disc(55, 55, 5)
    odds = np.where(part | other, 20.0, -3.0).astype(np.float32)
    prompts = prompts_for(part, odds)
    air = 0.1 * 19  # of the side of a box from 21 to 39
    np.testing.assert_allclose(prompts.box, (21 - air, 21 - air, 39 + air, 39 + air))
    assert prompts.points == [(30.0, 30.0)] or tuple(prompts.points) == ((30.0, 30.0),)
    assert prompts.mask[30, 30] == 8 and prompts.mask[55, 55] == -8 and prompts.mask[0, 0] == -3


def test_early_maps_are_of_the_plane_and_class_and_come_back_after_a_kill() -> None:
    maps, rng = EarlyMaps(), np.random.default_rng(0)
    assert not maps.known and len(maps) == 0
    probabilities = torch.full((2, 3, 16, 16), 0.05)
    probabilities[:, 0] = 0.5
    probabilities[0, 1, 4:9, 4:9] = 0.9
    probabilities[1, 2, 2:5, 8:12] = 0.9
    maps.keep(probabilities / probabilities.sum(1, keepdim=True))
    again = EarlyMaps()
    again.restore(maps.state())
    assert again.known
    for one in (maps, again):
        odds = one.odds(0, 1, SIDE, rng)
        assert odds.shape == (SIDE, SIDE)
        assert odds[48, 48] > 0 > odds[100, 100]
        assert (one.odds(0, 2, SIDE, rng) < 0).all() and one.odds(1, 2, SIDE, rng)[28, 80] > 0


def test_a_refined_map_is_what_sam_answers_to_its_box_and_map() -> None:
    context = toy_context(grid=64)
    student, side = SamStudent(context), 256
    probabilities = torch.full((2, 2, SMALL, SMALL), 0.02)
    probabilities[0, 1, 8:20, 6:22] = 0.9
    probabilities[:, 0] = 1 - probabilities[:, 1]
    features = context.materials.unlabelled_features[:2]
    found = student.refined(features, probabilities)
    finer = torch.nn.functional.interpolate(probabilities, (side, side), mode="bilinear")
    odds = (finer[0, 1].log() - finer[0, 0].log()).numpy()
    (prompts,) = prompted_by(odds)
    told = Embedding(features[0].float(), (side, side), np.zeros((side, side), np.float32), "k")
    asked = Prompts(box=prompts.box, mask=prompts.mask)
    logits = torch.from_numpy(context.sam.decode(told, asked, class_id=1).logits)
    expected = torch.nn.functional.interpolate(
        logits.sigmoid()[None, None], (SMALL, SMALL), mode="bilinear", antialias=True
    )
    # A student's products may be taken in bfloat16.
    torch.testing.assert_close(found[0, 1], expected[0, 0], rtol=0, atol=0.02)
    assert (found[0, 1] - probabilities[0, 1]).abs().max() > 0.1
    # Where the U-Net found nothing its map stays.
    torch.testing.assert_close(found[1], probabilities[1], rtol=1e-3, atol=1e-4)
