"""Each recipe by itself: what it trains, that it learns, repeats, and goes on after a break."""

from __future__ import annotations

import io
from typing import Any, get_args

import numpy as np
import pytest
import torch
from toy import SIDE, run, toy_context, weights_of

from napari_scsam.core.settings import Recipe, TrainSettings
from scsam_train.recipe_context import Diverged
from scsam_train.recipes import RECIPES
from scsam_train.sampling import BalancedSampler

STEPS = 12
NAMES = sorted(RECIPES)


def test_every_recipe_that_can_be_chosen_is_there() -> None:
    assert set(RECIPES) == set(get_args(Recipe))


def trained(name: str, steps: int = STEPS, **settings: Any) -> Any:
    context = toy_context(recipe=name, steps=steps, **settings)
    recipe = RECIPES[name](context)
    reports = run(recipe, 0, steps, steps)
    recipe.finish()
    return context, reports


@pytest.fixture(scope="module", params=NAMES)
def whole_run(request: pytest.FixtureRequest) -> Any:
    """A recipe's name, the context that it trained without a break, and its reports."""
    return request.param, *trained(request.param)


def test_a_recipe_changes_its_members_only(whole_run: Any) -> None:
    name, context, _ = whole_run
    before, after = weights_of(toy_context()), weights_of(context)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert any(key.startswith("unet.") for key in changed) == ("unet" in RECIPES[name].members)
    assert any("class_tokens" in key for key in changed) == ("sam" in RECIPES[name].members)
    assert not any("image_encoder" in key for key in changed)


def test_a_recipe_repeats_and_goes_on_where_it_was_stopped(whole_run: Any) -> None:
    """The second run is stopped and goes on with new models: it reports and makes the same."""
    name, whole, reports = whole_run
    stopped = RECIPES[name](toy_context(recipe=name, steps=STEPS))
    assert run(stopped, 0, 8, STEPS) == reports[:8]
    stream = io.BytesIO()
    torch.save(stopped.state(), stream)
    stream.seek(0)
    resumed = toy_context(recipe=name, steps=STEPS)
    recipe = RECIPES[name](resumed)
    recipe.restore(torch.load(stream, weights_only=True))
    assert run(recipe, 8, STEPS, STEPS) == reports[8:]
    recipe.finish()
    kept = weights_of(resumed)
    assert all(torch.equal(kept[key], value) for key, value in weights_of(whole).items())


@pytest.mark.parametrize(
    ("name", "loss"),
    [("supervised", "loss_unet"), ("sam-only", "loss_sam"), ("cps", "loss_unet")],
)
def test_a_baseline_learns(name: Any, loss: Any) -> None:
    _, reports = trained(name, steps=16, channels=None)
    values = [getattr(report, loss) for report in reports]
    assert np.mean(values[-4:]) < 0.85 * np.mean(values[:4])


@pytest.mark.parametrize("name", ["scsam", "scsam-paper", "cps", "mean-teacher"])
def test_without_unlabelled_planes_it_is_supervised(name: str) -> None:
    context = toy_context(unlabelled=0, recipe=name)
    recipe = RECIPES[name](context)
    assert all(report.agreement is None for report in run(recipe, 0, 6, 6))


@pytest.mark.parametrize("name", [n for n in NAMES if RECIPES[n].uses_unlabelled])
def test_unlabelled_planes_teach(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other unlabelled pictures, other weights."""
    monkeypatch.setattr("scsam_train.pseudo.CONFIDENT", 0.5)
    trusted = property(lambda exam: np.array([1.0]))
    monkeypatch.setattr("scsam_train.teacher_reliability.TeacherReliability.reliability", trusted)
    kits = [toy_context(recipe=name, steps=STEPS) for _ in range(2)]
    kits[1].materials.unlabelled_images[:] = kits[1].materials.unlabelled_images.flip(3)
    kits[1].materials.unlabelled_features[:] = [
        f.flip(3) for f in kits[1].materials.unlabelled_features
    ]
    for context in kits:
        run(RECIPES[name](context), 0, STEPS, STEPS)
    first, second = (weights_of(context) for context in kits)
    assert any(not torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["supervised", "mean-teacher", "cps", "scsam"])
def test_small_pictures_come_in_batches_of_twice_as_many(name: str) -> None:
    context, side = toy_context(recipe=name), 128
    for part in ("images", "labels", "unlabelled_images", "unlabelled_valid"):
        values = getattr(context.materials, part)
        values = values.repeat_interleave(side // SIDE, -1).repeat_interleave(side // SIDE, -2)
        object.__setattr__(context.materials, part, values)
    context.unet.image_size = side
    object.__setattr__(context, "fresh", False)  # no lead of SAM's
    seen = []

    def watch(network: Any, inputs: Any) -> None:
        if torch.is_grad_enabled():
            seen.append(tuple(inputs[0].shape))

    context.unet.network.register_forward_pre_hook(watch)
    recipe = RECIPES[name](context)
    for fraction in (0.0, 0.1, 0.9):  # SAM looks at all planes first
        recipe.step(fraction)
    assert seen[-2:] == [(8, 3, 64, 64), (4, 3, 128, 128)]


@pytest.mark.parametrize(("without", "lead"), [("nothing", 2), ("prior", 4)])
def test_sam_leads_alone_at_first_and_looks_at_every_plane_before_the_unet_learns(
    without: str, lead: int
) -> None:
    """Of 40 steps 5 % where it is told how the classes look, and else 10 %."""
    recipe = RECIPES["scsam"](toy_context(recipe="scsam", steps=40, without=without))
    reports = run(recipe, 0, lead, 40)
    assert all(r.loss_unet is None and r.loss_sam is not None for r in reports)
    assert not len(recipe._teachers.pseudo.ready)
    looked, first = run(recipe, lead, lead + 2, 40)
    assert len(recipe._teachers.pseudo.ready) == 3
    assert looked.loss_unet is None and first.loss_unet is not None


def test_a_round_that_goes_on_from_another_has_no_lead() -> None:
    context = toy_context(recipe="scsam")
    object.__setattr__(context, "fresh", False)
    reports = run(RECIPES["scsam"](context), 0, 2, 40)
    assert reports[0].loss_sam is None and reports[0].loss_unet is None  # it looks at the planes
    assert reports[1].loss_unet is not None


def test_planes_are_looked_at_again_by_how_many_the_unet_learned_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scsam_train.recipes.scsam.PICTURES_PER_PREDICTION", 4)
    recipe = RECIPES["scsam"](toy_context(recipe="scsam", steps=40))
    run(recipe, 0, 8, 40)  # SAM's lead, a look at every plane, and one of the U-Net's steps
    before = recipe._teachers.predicted
    run(recipe, 8, 28, 40)
    assert recipe._teachers.predicted - before == 20 * 2 // 4


def scsam_without(part: str) -> dict[str, torch.Tensor]:
    """Weights after two of SAM's steps beside the U-Net: all that may be left out has a say."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scsam_train.pseudo.CONFIDENT", 0.5)
        patch.setattr("scsam_train.sam_student.TOKENS_FIRST", 0.0)
        patch.setattr(
            "scsam_train.teacher_reliability.TeacherReliability.reliability",
            property(lambda exam: np.array([1.0])),
        )
        context = toy_context(recipe="scsam", steps=17, without=part)
        run(RECIPES["scsam"](context), 0, 17, 17)
        return weights_of(context)


@pytest.fixture(scope="module")
def whole() -> dict[str, torch.Tensor]:
    return scsam_without("nothing")


@pytest.mark.parametrize("part", ["sam-to-unet", "unet-to-sam", "points", "agreement", "prior"])
def test_each_part_can_be_left_out_and_matters(part: str, whole: Any) -> None:
    without = scsam_without(part)
    assert any(not torch.equal(whole[key], without[key]) for key in whole)


def test_a_short_run_repeats_so_what_differs_is_the_part(whole: Any) -> None:
    again = scsam_without("nothing")
    assert all(torch.equal(whole[key], again[key]) for key in whole)


@pytest.mark.parametrize("name", ["supervised", "scsam-paper"])
def test_a_loss_that_is_no_number_changes_nothing_and_names_the_images(name: str) -> None:
    context = toy_context(recipe=name)
    context.materials.images[:] = float("nan")
    recipe = RECIPES[name](context)
    before = weights_of(context)
    with pytest.raises(Diverged, match=r"a:0|b:0"):
        recipe.step(0.5)
    assert all(torch.equal(before[key], value) for key, value in weights_of(context).items())


def test_rare_classes_and_small_cases_are_drawn_as_often() -> None:
    labels = torch.zeros((20, 4, 4), dtype=torch.uint8)
    labels[:, 0] = 1
    labels[3, 2] = 2  # one plane of twenty holds the second class
    cases = ["large"] * 18 + ["small"] * 2
    drawn = BalancedSampler(labels, cases, 2).draw(4000, np.random.default_rng(0))
    share = (drawn == 3).mean()
    assert 0.22 < share < 0.34  # a quarter by its class, and a little by its case
    assert 0.30 < (drawn >= 18).mean() < 0.45
    blank = BalancedSampler(torch.zeros((2, 4, 4), dtype=torch.uint8), ["a", "b"], 1)
    assert set(blank.draw(50, np.random.default_rng(0)).tolist()) == {0, 1}


def test_defaults_fit_each_recipe() -> None:
    assert TrainSettings().recipe == "scsam" and TrainSettings(recipe="cps").without == "nothing"
