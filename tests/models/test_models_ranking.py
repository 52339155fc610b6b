"""The order of the queue: one test for each strategy, and for what each score is made of."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from napari_scsam.models.doubt import Doubt, disagreements, doubts, outline_disagreement
from napari_scsam.models.groups import grouped
from napari_scsam.models.hybrid_ranking import by_doubt
from napari_scsam.models.ranking import (
    Labelled,
    OpenSlice,
    Pick,
    core_set,
    disagreement,
    entropy,
    foreground_random,
    hybrid,
    random,
    sequential,
)

ONE = {1: "polyp"}
TWO = {1: "heart", 2: "scar"}


def images(picks: list[Pick]) -> list[str]:
    return [pick.image for pick in picks]


def pool(count: int, seed: int = 0) -> list[OpenSlice]:
    """Pictures with features and doubts drawn at random."""
    rng = np.random.default_rng(seed)
    return [
        OpenSlice(
            f"{at:08x}",
            0,
            rng.random(8).astype(np.float32),
            {1: Doubt(*rng.random(2)), 2: Doubt(*rng.random(2))},
        )
        for at in range(count)
    ]


def test_sequential_is_the_order_given_and_each_volume_its_first_slice() -> None:
    picks = sequential([OpenSlice("b", 3), OpenSlice("b", 5), OpenSlice("a", 0)])
    assert [(p.image, p.plane) for p in picks] == [("b", 3), ("a", 0)]
    assert [p.score for p in picks] == [1.0, 0.5]


def test_random_is_any_order_and_any_slice_by_the_seed() -> None:
    slices = [OpenSlice(f"{i}", plane) for i in range(50) for plane in range(9)]
    picks = random(slices, seed=1)
    assert random(slices[::-1], seed=1) == picks
    assert sorted(images(picks)) == sorted({one.image for one in slices})
    assert images(picks) != images(random(slices, seed=2))
    assert len({p.plane for p in picks}) > 4
    assert all(p.score is None and p.strategy == "random" for p in picks)


def test_foreground_random_takes_slices_with_foreground_first() -> None:
    seen = {1: Doubt(0.1, 0.9)}
    slices = [OpenSlice("a", 0), OpenSlice("b", 0), OpenSlice("b", 1, None, seen)]
    picks = foreground_random(slices)
    assert [(p.image, p.plane, p.score) for p in picks] == [("b", 1, None), ("a", 0, None)]
    assert "no foreground" in picks[1].reason


def test_entropy_is_the_class_that_is_least_sure() -> None:
    slices = [
        OpenSlice("a", 0, None, {1: Doubt(0.2, 0.5), 2: Doubt(0.3, 0.5)}),
        OpenSlice("b", 4, None, {1: Doubt(0.7, 0.9)}),
        OpenSlice("b", 5, None, {1: Doubt(0.1, 0.1)}),
        OpenSlice("c", 0),
    ]
    picks = entropy(slices, TWO)
    assert [(p.image, p.plane, p.score) for p in picks] == [
        ("b", 4, 0.7),
        ("a", 0, 0.3),
        ("c", 0, 0.0),
    ]
    assert picks[1].reason == "the U-Net is 30 % unsure around the outline of scar"


def test_disagreement_takes_what_was_compared_first() -> None:
    slices = [
        OpenSlice("a", 0, None, {1: Doubt(0.9, 0.1)}),
        OpenSlice("b", 0, None, {1: Doubt(0.1, 0.9, 0.05)}),
        OpenSlice("c", 0, None, {1: Doubt(0.1, 0.9, 0.38)}),
        OpenSlice("d", 0, None, {}),
    ]
    picks = disagreement(slices, ONE)
    assert images(picks) == ["c", "b", "a", "d"]
    assert picks[0].reason == "the two models disagree on 38 % of the outline"
    assert [p.score for p in picks] == [0.38, 0.05, -0.1, -1.0]


def groups_of(*sizes: int) -> list[OpenSlice]:
    """Slices in well separated groups; the first of each group is its centre."""
    slices = []
    for group, size in enumerate(sizes):
        for at in range(size):
            features = np.zeros(len(sizes) + 1, np.float32)
            features[group] = 1
            features[-1] = 0.05 * (at > 0) * (-1) ** at
            slices.append(OpenSlice(f"{group}-{at:03d}", 0, features))
    return slices


def test_core_set_begins_with_every_large_group_by_its_medoid() -> None:
    slices = groups_of(15, 10, 5)
    picks = core_set(slices)
    assert set(images(picks)) == {one.image for one in slices} and len(picks) == len(slices)
    assert images(picks)[0] == "0-000"
    of_group = Counter(image[0] for image in images(picks)[:12])
    # In proportion to 15, 10 and 5.
    assert of_group == {"0": 6, "1": 4, "2": 2}
    scores = [p.score for p in picks]
    assert scores == sorted(scores, reverse=True)
    assert picks[0].reason == "like 50 % of the open slices"


def test_core_set_counts_what_is_labelled() -> None:
    slices = groups_of(12, 8)
    labelled = np.stack([one.features for one in slices[:6]])
    first = core_set(slices, Labelled(6, labelled))[0]
    assert first.image.startswith("1-") and first.reason == "unlike anything labelled"


def test_core_set_of_slices_that_are_all_alike() -> None:
    same = [OpenSlice(f"{i}", 0, np.ones(4, np.float32)) for i in range(5)]
    assert images(core_set(same)) == ["0", "1", "2", "3", "4"]
    assert core_set([]) == []


def test_hybrid_begins_as_core_set_does() -> None:
    slices = groups_of(15, 10, 5)
    picks = hybrid(slices, ONE)
    cold = [p for p in picks if p.strategy == "hybrid"]
    checked = {p.image for p in picks if p.strategy == "random"}
    rest = [one for one in slices if one.image not in checked]
    assert images(cold) == images(core_set(rest))
    assert [p.score for p in cold] == [p.score for p in core_set(rest)]


def test_hybrid_marks_its_random_share_and_spreads_it() -> None:
    slices = pool(100)
    picks = hybrid(slices, TWO, Labelled(3, np.ones((3, 8), np.float32)))
    assert sorted(images(picks)) == sorted(one.image for one in slices)
    marked = [at for at, p in enumerate(picks) if p.strategy == "random"]
    assert len(marked) == 15 and max(np.diff(marked)) <= 7
    assert all(picks[at].score is None and picks[at].reason == "random check" for at in marked)
    assert all(p.score is not None for at, p in enumerate(picks) if at not in marked)
    # The random ones do not depend on what the models say.
    other = hybrid(pool(100, seed=1), TWO)
    assert {p.image for p in other if p.strategy == "random"} == {picks[at].image for at in marked}


def test_hybrid_takes_turns_among_the_classes() -> None:
    def doubtful(image: str, one: float, two: float) -> OpenSlice:
        found = {1: Doubt(one, 1 - one), 2: Doubt(two, 1 - two)}
        return OpenSlice(image, 0, np.ones(4, np.float32), found)

    # The first class is doubtful everywhere, the second on some that are sure of the first.
    slices = [doubtful(f"a{i}", 0.9, 0.0) for i in range(12)]
    slices += [doubtful(f"b{i}", 0.0, 0.4) for i in range(12)]
    late = Labelled(10_000, np.ones((1, 4), np.float32))
    picks = by_doubt(slices, TWO, late)
    assert Counter(p.image[0] for p in picks[:8]) == {"a": 4, "b": 4}


def test_hybrid_covers_the_images_and_takes_every_third_by_doubt() -> None:
    slices = pool(40)
    picks = hybrid(slices, TWO, Labelled(3, np.ones((3, 8), np.float32)))
    assert sorted(images(picks)) == sorted(one.image for one in slices)
    placed = [p.strategy for p in picks if p.strategy != "random"]
    assert placed[:6] == ["core-set", "core-set", "hybrid"] * 2
    checked = {p.image for p in picks if p.strategy == "random"}
    covering = core_set(
        [one for one in slices if one.image not in checked],
        Labelled(3, np.ones((3, 8), np.float32)),
    )
    assert images(picks)[:2] == images(covering)[:2]


def test_the_noise_of_hybrid_decays() -> None:
    slices = pool(60)
    known = np.zeros((1, 8), np.float32)

    def order(labelled: int) -> list[float]:
        picks = by_doubt(slices, ONE, Labelled(labelled, known))
        return [p.score for p in picks if p.score is not None]

    assert order(10_000) == sorted(order(10_000), reverse=True)
    early = order(0)
    assert early != sorted(early, reverse=True)
    # Yet not without the scores.
    assert np.mean(early[:20]) > np.mean(early[-20:])


@pytest.mark.parametrize(
    ("doubt", "near", "reason"),
    [
        (Doubt(0.2, 0.8, 0.38), True, "the two models disagree on 38 % of the outline"),
        (Doubt(0.1, 0.95), False, "unlike anything labelled"),
        (Doubt(0.5, 0.62), True, "the U-Net expects Dice 0.62 for its outline"),
        (None, True, "no foreground predicted"),
    ],
)
def test_the_reason_is_what_made_the_score(doubt: Doubt | None, near: bool, reason: str) -> None:
    own = np.array([1, 0], np.float32) if near else np.array([0, 1], np.float32)
    found = {} if doubt is None else {1: doubt}
    far = OpenSlice("far", 0, np.array([-1, 0], np.float32), {1: Doubt(0, 1)})
    known = Labelled(1, own[None] * 0 + [1, 0])
    picks = by_doubt([OpenSlice("it", 0, own, found), far], ONE, known)
    assert next(p.reason for p in picks if p.image == "it") == reason


def disc(radius: float, at: tuple[int, int] = (64, 64)) -> np.ndarray:
    rows, cols = np.indices((128, 128))
    return (rows - at[0]) ** 2 + (cols - at[1]) ** 2 <= radius**2


def test_entropy_is_averaged_over_the_object_and_not_over_the_slice() -> None:
    soft = ndimage.gaussian_filter(disc(10).astype(np.float64), 3)
    (small,) = doubts(np.stack([1 - soft, soft]).astype(np.float32), [1]).values()
    wide = np.pad(soft, 64)  # much more background
    (same,) = doubts(np.stack([1 - wide, wide]).astype(np.float32), [1]).values()
    assert small.entropy > 0.3
    # The band is twice as wide, as it goes by the slice's side.
    assert same.entropy == pytest.approx(small.entropy, abs=0.15)
    sharp = disc(10) * 0.98 + 0.01
    (sure,) = doubts(np.stack([1 - sharp, sharp]).astype(np.float32), [1]).values()
    assert sure.entropy < 0.1 and sure.dice > 0.95 > small.dice


def test_expected_dice_is_the_mean_over_masks_drawn_from_the_map() -> None:
    probability = np.where(disc(20), 0.8, 0.0)
    (found,) = doubts(np.stack([1 - probability, probability]).astype(np.float32), [1]).values()
    rng, mask = np.random.default_rng(0), disc(20)
    drawn = [rng.random(mask.shape) < probability for _ in range(200)]
    dice = [2 * (mask & d).sum() / (mask.sum() + d.sum()) for d in drawn]
    assert found.dice == pytest.approx(np.mean(dice), abs=0.01)


def test_a_class_that_may_have_been_missed_is_doubtful_and_one_that_is_not_there_is_left_out() -> (
    None
):
    missed = np.where(disc(12), 0.4, 0.0)
    maps = np.stack([1 - missed, missed, missed * 0]).astype(np.float32)
    found = doubts(maps, [3, 7])
    assert list(found) == [3]
    assert found[3].dice == pytest.approx(0.6) and found[3].entropy > 0.5


def test_probabilities_with_rounding_errors_can_be_ranked() -> None:
    sure = disc(12).astype(np.float32)
    background = 1 - sure - np.float32(1e-7)  # below 0 inside the disc
    found = doubts(np.stack([background, sure]), [1])
    assert found[1].entropy == pytest.approx(0, abs=1e-4) and 0.99 < found[1].dice <= 1
    slices = [OpenSlice("a", 0, np.ones(8, np.float32), found)]
    (pick,) = by_doubt(slices, ONE, Labelled(1, np.ones((1, 8), np.float32)))
    assert pick.image == "a"


def test_outlines_disagree_where_they_lie_apart() -> None:
    # Tolerance: 1.5 pixels here.
    assert outline_disagreement(disc(20), disc(20)) == 0
    assert outline_disagreement(disc(20), disc(21)) == 0
    assert outline_disagreement(disc(20), disc(26)) == 1
    # A half of the outline is the same, the other lies apart.
    half = disc(20) & (np.indices((128, 128))[0] <= 64)
    assert 0.4 < outline_disagreement(disc(20), half) < 0.65
    empty = disc(20) & False
    assert outline_disagreement(empty, empty) == 0
    assert outline_disagreement(disc(3), empty) == outline_disagreement(empty, disc(3)) == 1


def test_disagreements_are_of_each_class() -> None:
    one, two = disc(20) * 0.9, disc(20, (40, 40)) * 0.9
    unet = np.stack([1 - one, one, one * 0]).astype(np.float32)
    sam = np.stack([1 - two, two, two * 0]).astype(np.float32)
    assert disagreements(unet, unet, [1, 2]) == {1: 0, 2: 0}
    assert disagreements(unet, sam, [1, 2])[1] > 0.8


def test_groups_do_not_depend_on_chance_or_length() -> None:
    features = np.stack([one.features for one in groups_of(5, 4, 3)])
    groups, distances = grouped(features * np.arange(1, 13)[:, None].astype(np.float32), 3)
    assert [len(set(groups[a:b])) for a, b in ((0, 5), (5, 9), (9, 12))] == [1, 1, 1]
    assert len(set(groups)) == 3 and distances[0] == min(distances[:5])
