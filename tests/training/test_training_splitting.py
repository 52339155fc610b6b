"""Which planes teach, which judge, and what may be learned from beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_scsam.core.errors import InputError
from napari_scsam.core.held_out import SplitImage, check_held_out
from scsam_train.data import TrainPlane
from scsam_train.splitting import EarlierSplit, choose_unlabelled, split_planes

if TYPE_CHECKING:
    from pathlib import Path


def planes(*places: Any) -> list[TrainPlane]:
    blank = np.zeros((4, 4), np.uint8)
    return [TrainPlane(image, image, index, blank, blank) for image, index in places]


def test_whole_cases_are_held_out() -> None:
    everything = planes(*((case, i) for case in "abcde" for i in range(3)))
    split = split_planes(everything, 0.4, seed=3)
    held, train = {p.case for p in split.held_out}, {p.case for p in split.train}
    assert split.gated and len(held) == 2 and not held & train
    assert len(split.held_out) + len(split.train) == 15
    assert split_planes(everything, 0.4, seed=3).to_dict() == split.to_dict()
    others = {tuple(split_planes(everything, 0.4, seed=s).to_dict()["held_out"]) for s in range(9)}
    assert len(others) > 1


def test_two_cases_leave_one_to_learn_from() -> None:
    split = split_planes(planes(("a", 0), ("b", 0)), 0.9, seed=0)
    assert split.gated and len(split.train) == len(split.held_out) == 1


def test_planes_of_a_single_case_are_held_out_far_from_the_others() -> None:
    spread = planes(*(("a", i) for i in (10, 20, 30, 40, 50)))
    split = split_planes(spread, 0.2, seed=0)
    assert split.gated and [p.index for p in split.held_out] == [30]
    assert "One labelled case only" in split.reason
    together = split_planes(planes(*(("a", i) for i in range(10, 16))), 0.2, seed=0)
    assert not together.gated and "neighbours" in together.reason and len(together.train) == 6
    few = split_planes(planes(*(("a", i) for i in (10, 20, 30, 40))), 0.2, seed=0)
    assert not few.gated and "too few" in few.reason and not few.held_out
    assert not split_planes(spread, 0.0, seed=0).gated


def with_object(plane: Any) -> TrainPlane:
    return TrainPlane(plane.image, plane.case, plane.index, plane.pixels, plane.label + 1)


def names(planes: Any) -> list[str]:
    return [plane.name for plane in planes]


def test_some_case_with_an_object_always_teaches() -> None:
    everything = planes(*((case, 0) for case in "abcde"))
    for position in range(5):
        marked = [with_object(p) if i == position else p for i, p in enumerate(everything)]
        for seed in range(5):
            split = split_planes(marked, 0.8, seed)
            assert len(split.held_out) == 4 and names(split.train) == [marked[position].name]


def test_the_only_case_with_a_class_is_not_held_out() -> None:
    everything = [with_object(p) for p in planes(*((case, 0) for case in "abcde"))]
    for position in range(5):
        rare = everything[position]
        label = rare.label.copy()
        label[0, 0] = 3
        marked = [replace(p, label=label) if p is rare else p for p in everything]
        for seed in range(5):
            held = {p.case for p in split_planes(marked, 0.6, seed).held_out}
            assert rare.case not in held and len(held) == 3
            # Nor if the round before held it out, before the class was there.
            earlier = EarlierSplit(held_out_cases=frozenset({rare.case}))
            split = split_planes(marked, 0.6, seed, (), earlier)
            assert rare.case not in {p.case for p in split.held_out}


def test_two_cases_with_other_classes_hold_one_out_all_the_same() -> None:
    first, second = planes(("a", 0), ("b", 0))
    two = [with_object(first), with_object(with_object(second))]
    split = split_planes(two, 0.2, 0)
    assert split.gated and len(split.train) == len(split.held_out) == 1


def test_the_only_slice_with_an_object_is_not_held_out() -> None:
    spread = planes(*(("a", i) for i in (10, 20, 30, 40, 50)))
    spread[2] = with_object(spread[2])
    split = split_planes(spread, 0.2, seed=0)
    assert not split.gated and len(split.train) == 5 and "hold each class" in split.reason
    spread[0] = with_object(spread[0])
    assert split_planes(spread, 0.2, seed=0).gated


def test_a_person_s_choice_is_followed_and_written_down_by_case() -> None:
    everything = [with_object(p) for p in planes(("a", 0), ("a", 1), ("b", 0), ("c", 0), ("d", 0))]
    for seed in range(5):
        split = split_planes(everything, 0.5, seed, held_out=("b", "d"))
        assert split.gated and "2 of 4 labelled cases" in split.reason
        written = split.to_dict()
        assert written["held_out"] == ["b:0", "d:0"] and written["train"] == ["a:0", "a:1", "c:0"]
        assert written["cases"] == {"train": ["a", "c"], "held_out": ["b", "d"]}
    # The share is the tool's own way to choose: it says nothing here.
    assert split_planes(everything, 0.0, 0, held_out=("a",)).gated


def test_what_a_person_holds_out_has_to_leave_something_to_learn() -> None:
    everything = planes(("a", 0), ("b", 0))
    everything[1] = with_object(everything[1])
    with pytest.raises(InputError, match="with an object are all held out"):
        split_planes(everything, 0.2, 0, held_out=("b",))
    split = split_planes(everything[1:], 0.2, 0, held_out=("a",))  # a's slices are constant
    assert not split.gated and "constant" in split.reason


def test_nothing_unlabelled_gives_away_what_is_held_out() -> None:
    everything = [with_object(p) for p in planes(("a", 0), ("b", 5), ("c", 5))]
    split = split_planes(everything, 0.2, 0, held_out=("b",))
    others = planes(*((case, i) for case in "abd" for i in range(9)))
    chosen = choose_unlabelled(others, split, 100)
    assert {p.case for p in chosen} == {"a", "d"} and len(chosen) == 18
    assert len(choose_unlabelled(others, split, 4)) == 4
    assert choose_unlabelled(others, split, 0) == []


def test_of_a_single_case_the_slices_beside_a_held_out_one_are_not_learned_from() -> None:
    spread = planes(*(("a", i) for i in (10, 20, 30, 40, 50)))
    split = split_planes(spread, 0.2, seed=0)
    assert names(split.held_out) == ["a:30"]
    others = planes(*(("a", i) for i in (11, 28, 29, 31, 32, 49)))
    assert [p.index for p in choose_unlabelled(others, split, 9)] == [11, 28, 32, 49]


def earlier_of(split: Any, folder: Path) -> EarlierSplit:
    (folder / "split.json").write_text(json.dumps(split.to_dict()))
    return EarlierSplit.of_round(folder)


def test_what_one_round_has_learned_does_not_judge_the_next(tmp_path: Path) -> None:
    first = planes(*((case, 0) for case in "abcdefghij"))
    more = planes(*((case, 0) for case in "klmnopqrst"))
    for seed in range(5):
        before = split_planes(first, 0.2, seed)
        after = split_planes([*first, *more], 0.2, seed + 7, (), earlier_of(before, tmp_path))
        held = {plane.case for plane in after.held_out}
        assert len(held) == 4 and not held & {plane.case for plane in before.train}
        assert held > {plane.case for plane in before.held_out}
        third = split_planes([*first, *more], 0.1, seed, (), earlier_of(after, tmp_path))
        assert {plane.case for plane in third.held_out} < held


def test_without_anything_new_a_case_that_was_learned_judges_all_the_same(tmp_path: Path) -> None:
    everything = planes(*((case, 0) for case in "abcde"))
    before = earlier_of(split_planes(everything, 0.0, 0), tmp_path)
    split = split_planes(everything, 0.2, 0, (), before)
    assert split.gated and len(split.held_out) == 1


def test_of_a_single_case_the_same_slices_stay_held_out(tmp_path: Path) -> None:
    first = planes(*(("a", i) for i in (10, 20, 30, 40, 50)))
    before = earlier_of(split_planes(first, 0.2, 0), tmp_path)
    more = sorted([*first, *planes(*(("a", i) for i in (60, 70, 80, 90)))], key=lambda p: p.index)
    assert names(split_planes(more, 0.2, 0).held_out) == ["a:50"]  # the first round learned it
    assert names(split_planes(more, 0.2, 0, (), before).held_out) == ["a:30"]
    two = split_planes(more, 0.3, 0, (), before)
    assert names(two.held_out) == ["a:30", "a:70"]


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"train": [], "held_out": []}'])
def test_a_round_without_a_readable_split_binds_nothing(tmp_path: Path, content: Any) -> None:
    if content is not None:
        (tmp_path / "split.json").write_text(content)
    assert EarlierSplit.of_round(tmp_path) == EarlierSplit.of_round(None) == EarlierSplit()


IMAGES = [
    SplitImage("i1", "left", "anna", True),
    SplitImage("i2", "right", "anna", True),
    SplitImage("i3", "spare", "anna", False),
    SplitImage("i4", "scan", "ben", True),
]


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        (["i1"], r"case anna .* left \(i1\) is held out, but right \(i2\) is learned from"),
        (["i4", "i2"], r"case anna .* right \(i2\) is held out, but left \(i1\)"),
        (["i9"], r"no image i9 to hold out; there are i1 \(left\), i2"),
        (["i3"], r"spare \(i3\) can't be held out: it has no label"),
        (["i1", "i2", "i4"], "Every labelled image is held out"),
    ],
)
def test_what_can_not_be_held_out_is_one_line(held_out: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_held_out(held_out, IMAGES)
    assert "\n" not in str(caught.value)


def test_whole_cases_and_nothing_can_be_held_out() -> None:
    for held_out in ([], ["i4"], ["i1", "i2"]):
        check_held_out(held_out, IMAGES)
