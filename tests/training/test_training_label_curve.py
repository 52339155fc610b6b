"""What a ranking strategy is worth: the simulation by a light learner."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_scsam.core.errors import InputError
from scsam_train.benchmark.label_curve import STRATEGIES, Plan, areas, labelling, markdown
from scsam_train.benchmark.light_learner import CELLS, LearnerPlane, LightLearner, mean_dice
from scsam_train.losses import IGNORE

# Channels of the features.
DEPTH = 6


def plane(image: str, index: int = 0, seed: int = 0) -> LearnerPlane:
    """A plane with a block of class 3, whose features differ from those around it."""
    rng = np.random.default_rng([seed, index])
    label = np.zeros((CELLS, CELLS), np.uint8)
    row, col = rng.integers(2, 14, 2)
    label[row : row + 9, col : col + 11] = 3
    label[:, 28:] = IGNORE  # padding
    features = rng.normal(0, 1, (DEPTH, CELLS, CELLS))
    features[0] += 4 * (label == 3)
    return LearnerPlane(
        image,
        image,
        index,
        torch.from_numpy(features).half(),
        torch.from_numpy(label),
        rng.random(8).astype(np.float32),
    )


def pool(count: int) -> list[LearnerPlane]:
    return [plane(f"{at:02}", seed=at) for at in range(count)]


def test_the_learner_finds_what_it_was_shown_and_is_unsure_of_noise() -> None:
    planes = pool(12)
    learner = LightLearner.fit(planes[:6], (3,))
    assert mean_dice(learner, planes[6:]) > 0.85
    probabilities = learner.probabilities(planes[6])
    assert probabilities.shape == (2, CELLS, CELLS)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    (doubt,) = learner.doubts(planes[6]).values()
    assert doubt.dice > 0.8
    assert doubt.disagreement is not None and 0 <= doubt.disagreement <= 1
    # The odd channels are noise: the two halves can't agree.
    assert doubt.disagreement > 0.3


def test_an_absent_class_that_is_not_predicted_is_right() -> None:
    planes = pool(6)
    learner = LightLearner.fit(planes, (3, 5))
    assert mean_dice(learner, planes) > 0.9


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_labels_as_many_as_planned(strategy: str) -> None:
    plan = Plan("polyps_kvasir", (1, 3, 6), (0,))
    # class_ids of that set is (1,): the block gets this number.
    planes = [
        LearnerPlane(
            p.image,
            p.case,
            p.index,
            p.features,
            torch.where(p.label == 3, 1, p.label).to(torch.uint8),
            p.pooled,
        )
        for p in pool(10)
    ]
    steps = list(labelling(planes[:7], plan, strategy, seed=1))  # type: ignore[arg-type]
    assert [len({p.image for p in labelled}) for labelled, _ in steps] == [1, 3, 6]
    assert mean_dice(steps[-1][1], planes[7:]) > 0.8
    with pytest.raises(InputError, match="only 7 slices"):
        list(labelling(planes[:7], Plan("polyps_kvasir", (8,), (0,)), "random", 0))


def test_the_number_of_labels_rises() -> None:
    with pytest.raises(InputError, match="must rise"):
        Plan("polyps_kvasir", (4, 2), (0,))


def test_areas_are_compared_seed_by_seed() -> None:
    curves = {
        "foreground-random": {"0": [0.2, 0.4], "1": [0.4, 0.6]},
        "hybrid": {"0": [0.3, 0.5], "1": [0.5, 0.9]},
    }
    found = areas(curves)
    assert found["hybrid"]["mean"] == pytest.approx(0.55)
    assert found["hybrid"]["minus_baseline"] == pytest.approx(0.15)
    low, high = found["hybrid"]["interval"]
    assert low < 0.15 < high
    assert found["foreground-random"]["interval"] is None
    report = {
        "plan": {"set": "x", "labels": [1, 2], "seeds": [0, 1], "evaluate_on": "training"},
        "curves": curves,
        "areas": found,
    }
    assert "| hybrid | 0.400 | 0.700 | 0.550 | +0.150 |" in markdown(report)
    report["plan"] |= {"pictures": 480}
    report["rounds"] = {"hybrid": {"0": [{"unet": 0.2}, {"unet": 0.4}]}}
    assert "| hybrid | unet | 0.200 | 0.400 | 0.300 |" in markdown(report)
