"""The judge: Dice per case, figures for paired comparisons, and what a round has forgotten."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_scsam.models import Decoded, Embedding
from napari_scsam.models.pair import Pair
from scsam_train.data import TrainPlane
from scsam_train.judging import Judge, forgetting, outline_leads, suggestion_dice

NAMES = {1: "organ", 4: "tumour"}


class FixedPair:
    """Answers from the pixels: they are its label map."""

    class_ids, trained = (1, 4), ("unet",)

    def __init__(self, change=lambda label: label):
        self.change, self.told = change, []

    def members(self, pixels, embedding, around=None):
        self.told.append(around)
        label = self.change(pixels)
        maps = np.stack([label == 0, label == 1, label == 4]).astype(float)
        return {"unet": maps, "pair": maps[[0, 1, 2]]}


def plane(case, index, truth, guess, around=None):
    truth, guess = np.array([truth], np.uint8), np.array([guess], np.uint8)
    return TrainPlane(case, case, index, guess, truth, around=around)


PLANES = [
    plane("a", 0, [1, 1, 0, 0], [1, 0, 0, 0]),
    plane("a", 1, [1, 255, 4, 0], [1, 1, 4, 4]),
    plane("b", 0, [0, 0, 1, 255], [0, 0, 0, 4]),
]


def marks(pair=None, planes=PLANES):
    return Judge(planes, NAMES).mark(pair or FixedPair(), lambda: None)


def test_pixels_are_counted_over_a_case_and_cases_are_averaged():
    found = marks()
    # a: organ 2 of 3 and 2 found; tumour 1 of 1 and 2 found. b: organ missed, no tumour.
    assert found.cases() == {
        "a": {m: {"organ": 2 * 2 / 5, "tumour": pytest.approx(2 / 3)} for m in ("unet", "pair")},
        "b": {m: {"organ": 0.0, "tumour": None} for m in ("unet", "pair")},
    }
    dice = found.dice()
    assert dice["pair"] == dice["unet"]
    assert dice["pair"]["organ"] == pytest.approx(0.4)
    assert dice["pair"]["tumour"] == pytest.approx(2 / 3)
    assert dice["pair"]["mean"] == pytest.approx((0.4 + 2 / 3) / 2)
    assert dice["sam"] == {"organ": None, "tumour": None, "mean": None}  # not trained


def test_the_mean_is_that_of_the_cases_that_are_written_down():
    found = marks()
    for name in NAMES.values():
        values = [case["pair"][name] for case in found.cases().values()]
        known = [value for value in values if value is not None]
        assert found.dice()["pair"][name] == pytest.approx(np.mean(known))
    json.dumps(found.cases(), allow_nan=False)


def test_the_judge_tells_a_pair_of_each_slice_s_neighbours():
    around = (np.zeros((1, 4)), np.ones((1, 4)))
    pair = FixedPair()
    marks(pair, [plane("a", 0, [1, 0, 0, 0], [1, 0, 0, 0], around), PLANES[0]])
    assert pair.told == [around, None]


def test_forgetting_is_measured_on_what_the_parent_was_judged_on(tmp_path):
    split = {"held_out": ["b:0", "c:0", "a:1"], "train": ["a:1"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    now, before = marks(), marks(FixedPair(lambda label: np.where(label == 0, 1, label)))
    found = forgetting(now, before, tmp_path)
    # Only b:0 counts: c is held out no more, and a:1 was trained on.
    assert found == {"planes": 1, "parent": pytest.approx(2 / 4), "round": 0.0}


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"held_out": ["c:0"], "train": []}'])
def test_without_the_parent_s_split_nothing_is_said_of_forgetting(tmp_path, content):
    if content is not None:
        (tmp_path / "split.json").write_text(content)
    assert forgetting(marks(), marks(), tmp_path) is None


class Sam:
    """Answers points with the whole plane."""

    def __init__(self, understands_points):
        self.understands_points = understands_points

    def embed(self, pixels):
        return Embedding(None, pixels.shape, pixels, "key")

    def decode(self, embedding, prompts, *, class_id=None):
        logits = np.full(embedding.shape, 5.0, np.float32)
        return Decoded(logits > 0, logits, 0.9, "points")


class Knowing:
    """A U-Net that finds what is bright."""

    class_ids = (4,)

    def probabilities(self, image, around=None):
        return np.stack([1 - image, image]).astype(np.float32)


def test_a_sam_that_leaves_the_outline_behind_its_suggestions_is_told_by_their_dice():
    bright = np.zeros((64, 64), np.float32)
    bright[20:44, 10:50] = 1
    truth = 4 * bright.astype(np.uint8)
    planes = [TrainPlane("a", "a", 0, bright, truth), TrainPlane("b", "b", 0, bright, 0 * truth)]
    pairs = [Pair(Knowing(), Sam(understands), [1.0]) for understands in (True, False)]
    by_sam, by_outline = suggestion_dice(pairs, planes)
    assert by_outline == pytest.approx(1)
    assert by_sam == pytest.approx(2 * 960 / (960 + 64 * 64))
    assert outline_leads(by_sam, by_outline) and not outline_leads(0.85, 0.89)
    # Nothing is suggested where the U-Net sees nothing.
    unseen = [TrainPlane("a", "a", 0, 0 * bright, truth)]
    assert suggestion_dice(pairs, unseen) == [0.0, 0.0]
    assert suggestion_dice(pairs, planes[1:]) == []
