"""How classes look on SAM's features, as the planes of other cases tell it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toy import toy_context

from napari_scsam.core.prompts import Prompts
from napari_scsam.models import Embedding
from scsam_train.class_priors import PARTS, ClassPriors
from scsam_train.embedded_views import SamView
from scsam_train.recipes import RECIPES
from scsam_train.sam_student import SamStudent

DEPTH, CELLS = 6, 8


def views(seed: int, classes: Any = (0, 1, 2), wrong: bool = False) -> list[SamView]:
    """One view whose features are its classes, under noise; labelled right, or upside down."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, len(classes), (CELLS, CELLS), generator=generator)
    label = torch.tensor(classes)[label]
    features = torch.nn.functional.one_hot(label, DEPTH).permute(2, 0, 1)[None].float()
    features += 0.1 * torch.randn(features.shape, generator=generator)
    told = label.flip(0) if wrong else label
    grid = told.repeat_interleave(4, 0).repeat_interleave(4, 1).byte()
    return [SamView(features, grid)]


def looks_of(found: Any, cases: Any, judged: Any = None) -> ClassPriors:
    everything = torch.ones((len(found), 2), dtype=torch.bool)
    return ClassPriors.of(found, cases, everything if judged is None else torch.tensor(judged))


def test_a_plane_is_told_what_other_cases_show() -> None:
    cases = ["a", "a", "b", "c"]
    right = looks_of([views(0), views(1), views(2), views(3)], cases)
    features = views(0)[0].features
    label = views(0)[0].label
    odds = right.odds(features, 0)
    assert odds.shape == (1, 2, 4 * CELLS, 4 * CELLS)
    for position in (1, 2):
        found = odds[0, position - 1, 1::4, 1::4] > 0
        assert (found == (label[1::4, 1::4] == position)).float().mean() > 0.9
    # Neither its own label nor that of another plane of its case makes a difference to it.
    for changed in ([views(0, wrong=True), views(1)], [views(0), views(1, wrong=True)]):
        other = looks_of([*changed, views(2), views(3)], cases)
        assert torch.equal(other.odds(features, 0), odds)
        assert not torch.equal(other.odds(features, 2), right.odds(features, 2))
        assert not torch.equal(other.odds(features), right.odds(features))


def test_of_two_cases_each_plane_is_left_out_and_of_many_they_are_in_parts() -> None:
    both = looks_of([views(0), views(1), views(2)], ["a", "a", "b"])
    other = looks_of([views(0), views(1, wrong=True), views(2)], ["a", "a", "b"])
    features = views(0)[0].features
    assert not torch.equal(both.odds(features, 0), other.odds(features, 0))
    many = looks_of([views(i) for i in range(3 * PARTS)], [f"{i:02}" for i in range(3 * PARTS)])
    assert torch.equal(many.odds(features, 0), many.odds(features, PARTS))


def test_nothing_is_told_of_a_single_plane() -> None:
    assert looks_of([views(0)], ["a"]) is None


@pytest.mark.parametrize("shown", [[(0, 1, 2), (0, 1), (0, 1)], [(0, 1), (0, 1), (0, 1)]])
def test_a_class_that_no_other_case_shows_is_not_told_and_the_others_are(
    shown: list[tuple[int, ...]],
) -> None:
    """A class on one case, and one without any label."""
    found = [views(seed, classes) for seed, classes in enumerate(shown)]
    looks = looks_of(found, ["a", "b", "c"])
    assert looks.covered == (1,) and looks.complete == (2 not in shown[0])
    for plane in (None, 1):
        odds = looks.odds(found[1][0].features, plane)
        assert odds.shape == (1, 2, 4 * CELLS, 4 * CELLS)
        truth = found[1][0].label[1::4, 1::4] == 1
        assert ((odds[0, 0, 1::4, 1::4] > 0) == truth).float().mean() > 0.9
        assert odds[:, 1].isnan().all()
    prior = looks.named((10, 20))
    assert prior.knows(10) and not prior.knows(20)
    # What looks like the class that is not told is not taken for the one that is.
    where = found[0][0].label[1::4, 1::4] == 2
    said = prior.log_odds(found[0][0].features, 10)[0, 0, 1::4, 1::4]
    assert (said[where] < 0).all()


def test_background_that_may_be_a_class_does_not_teach_that_it_is_not() -> None:
    """Class 2 came late: the first two cases were not judged for it, and show it as background."""
    late = [views(seed) for seed in (2, 3)]
    early = []
    for seed in (0, 1):
        (view,) = views(seed)
        early.append([SamView(view.features, view.label.masked_fill(view.label == 2, 0))])
    cases, judged = ["a", "b", "c", "d"], [[1, 0], [1, 0], [1, 1], [1, 1]]
    right = looks_of([*early, *late], cases, judged)
    wrong = looks_of([*early, *late], cases)
    assert right.covered == wrong.covered == (1, 2)
    (new,) = views(9)
    truth = new.label[1::4, 1::4] == 2
    said, misled = (x.odds(new.features)[0, 1, 1::4, 1::4][truth].mean() for x in (right, wrong))
    assert said > misled + 1
    # With one case that shows it nothing is told of it, and it takes nothing from the other.
    first = looks_of([*early, late[0]], cases[:3], judged[:3])
    assert first.covered == (1,)
    same = looks_of([*early, late[0]], cases[:3])  # as if all had been judged
    assert torch.equal(first.odds(new.features)[:, 0], same.odds(new.features)[:, 0])
    # A class that no plane shows takes nothing away.
    alone = [[1, 0]] * 4
    plain = [*early, [SamView(v.features, v.label.masked_fill(v.label == 2, 0)) for v in late[0]]]
    odds = [looks_of(plain, cases[:3], j).odds(new.features)[:, 0] for j in (alone[:3], None)]
    assert torch.equal(*odds)


def test_a_round_s_sam_is_asked_with_it_in_training_and_answering() -> None:
    context = toy_context()
    student = SamStudent(context)
    assert context.sam.prior is not None and context.sam.prior.class_ids == (0, 1)
    view = context.materials.views[0][0]
    embedding = Embedding(view.features.float(), (32, 32), None, "key")
    told = context.sam.decode(embedding, Prompts(), class_id=1).logits
    plain_student = SamStudent(plain := toy_context(without="prior"))
    assert plain.sam.prior is None
    assert abs(plain.sam.decode(embedding, Prompts(), class_id=1).logits - told).max() > 1e-3
    maps, without = (s.predicted([view.features], 32) for s in (student, plain_student))
    assert (maps - without).abs().max() > 1e-3
    left_out = student.predicted([view.features], 32, 0)
    assert (maps - left_out).abs().max() > 1e-3


def test_a_sam_whose_encoder_learns_is_told_nothing() -> None:
    context = toy_context(profile="adapted-encoder")
    RECIPES["scsam"](context)
    assert context.sam.prior is None
