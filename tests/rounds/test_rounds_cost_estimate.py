"""What a round will take: numbers by hand, from rates of another round, and from a project."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest

from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import Recipe, TrainSettings
from napari_scsam.rounds import assumed_costs
from napari_scsam.rounds.assumed_costs import Past, Planes
from napari_scsam.rounds.cost_estimate import (
    Survey,
    count_planes,
    estimate,
    estimate_round,
    rounded_time,
    survey,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_scsam.project import Project

# 12 labelled slices of three cases, 40 unlabelled pictures, one class.
SURVEY = Survey({"a": 4, "b": 4, "c": 4}, (*[0] * 12, *[1] * 40), 1, 200 * 100)
DEFAULTS = TrainSettings(
    steps=700, unet="scratch", image_size=192, labelled_batch=2, unlabelled_batch=2
)
RATES = {
    "device": "cpu",
    "seconds_loading": 5.0,
    "embeddings": 40,
    "seconds_per_embedding": 0.3,
    "seconds_per_step": 0.2,
    "seconds_judging": 10.0,
    "memory_gb": 2.5,
}


def measured(settings: TrainSettings = DEFAULTS, **rates: Any) -> Survey:
    planes = count_planes(SURVEY, settings)
    return replace(SURVEY, past=Past(3, settings, planes, {**RATES, **rates}))


def test_it_counts_as_the_training_room_does() -> None:
    from scsam_train import schedules
    from scsam_train.recipes import RECIPES

    for size in (64, 128, 160, 192):  # on average over a round's steps
        shown = np.mean([schedules.pictures_at(i / 100, 4, size) for i in range(100)])
        settings = replace(DEFAULTS, image_size=size)
        assert assumed_costs.pictures_in_step(settings, Planes(8, 4, 24, 1)) == pytest.approx(
            shown
        ), size
    assert set(assumed_costs.COSTS) == set(RECIPES) == set(get_args(Recipe))
    for name, recipe in RECIPES.items():
        cost = assumed_costs.COSTS[name]
        assert cost.uses_unlabelled == recipe.uses_unlabelled, name
        assert cost.uses_sam == ("sam" in recipe.members), name


def test_what_is_assumed_before_the_first_round() -> None:
    found = estimate(SURVEY, DEFAULTS)
    assert found is not None
    # One of three cases is held out: 8 slices with 2 views each, and 24 unlabelled ones.
    assert count_planes(SURVEY, DEFAULTS) == Planes(8, 4, 24, 1)
    embedding, judging = (2 * 8 + 24) * 0.7, 1 + 4 * 0.7 + 4 * (0.7 + 1.5)
    steps = 700 * (1.3 * (4 * 192**2) / (24 * 128**2) + 4 * 0.03)
    assert found.seconds == pytest.approx(6 + 2 + embedding + steps + judging)
    assert found.memory_gb == pytest.approx(1.1 + 0.44 + 0.093 + 40 * 0.0021 + 0.0172 + 0.022, 0.01)
    assert found.sentence == "About 8 min, 1.8 GB (assumed for two cores)."
    assert "40 views of slices 35 s" in found.detail and "training 7 min" in found.detail


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 700 * 0.2),
        ({"steps": 350}, 350 * 0.2),
        # The U-Net's part of a step grows with the pixels, SAM's with the objects.
        ({"labelled_batch": 6}, 700 * 0.2 * (2 * 0.4875 + 0.12) / 0.6075),
        ({"image_size": 96}, 700 * 0.2 * (0.4875 / 4 + 0.12) / 0.6075),
        ({"sam_batch": 8}, 700 * 0.2 * (0.4875 + 0.24) / 0.6075),
    ],
)
def test_rates_of_another_round_are_scaled(changes: dict[str, Any], seconds: float) -> None:
    found = estimate(measured(), replace(DEFAULTS, **changes))
    assert found is not None
    assert found.seconds == pytest.approx(6 + 5 + 40 * 0.3 + seconds + 10)
    assert found.source == "measured in round 3"
    assert found.to_dict()["measured_in"] == 3


def test_rates_that_do_not_name_their_device_count_for_no_other() -> None:
    survey = measured()
    rates = {name: rate for name, rate in RATES.items() if name != "device"}
    nameless = replace(survey, past=replace(survey.past, rates=rates))
    for device, source in (("auto", "measured in round 3"), ("cpu", "assumed for two cores")):
        found = estimate(nameless, replace(DEFAULTS, device=device))
        assert found is not None and found.source == source


# What a picture takes where pictures are counted, in times of where steps are.
PER_STEP = (1 + 0.35) * (1 - 0.35 / 2)


@pytest.mark.parametrize(
    ("changes", "pictures"),
    [
        ({}, 700 * 4 * 1.35),
        ({"steps": 100}, 100 * 4 * 1.35),
        # Where pictures are counted, 35 % of them are seen two for one: 4.85 in a step.
        ({"steps": None}, 480 * PER_STEP),
        ({"steps": None, "pictures": 1000}, 1000 * PER_STEP),
        ({"pictures": 1000, "steps": 100}, 100 * 4 / 0.825 * PER_STEP),
        ({"pictures": 100, "steps": 100}, 100 * PER_STEP),
        # Small pictures of 64 px never grow: 4 in a step.
        ({"pictures": 500, "image_size": 64}, 500 * (0.4875 / 9 + 0.12) / 4 / (0.6075 / 5.4)),
        # Another kind of U-Net by what it is assumed to take in times of the one that was measured.
        ({"pictures": 9, "unet": "pretrained"}, 9 * (0.7 * 0.4875 + 0.12) / 4 / (0.6075 / 5.4)),
    ],
)
def test_a_budget_in_pictures_takes_what_a_picture_takes(
    changes: dict[str, Any], pictures: float
) -> None:
    found = estimate(measured(seconds_per_picture=0.04), replace(DEFAULTS, **changes))
    assert found is not None
    assert found.seconds == pytest.approx(6 + 5 + 40 * 0.3 + pictures * 0.04 + 10, rel=1e-3)


def test_a_round_that_counted_no_pictures_tells_by_its_steps() -> None:
    found = estimate(measured(), replace(DEFAULTS, steps=None, pictures=1000))
    assert found is not None
    assert found.seconds == pytest.approx(6 + 5 + 40 * 0.3 + 1000 * 0.2 * 0.825 / 4 + 10)


def test_a_first_round_takes_what_this_machine_was_measured_at() -> None:
    was = measured(memory_gb=1.9).past
    assert was is not None
    machine = replace(SURVEY, machine=replace(was, number=None))
    found = estimate(machine, DEFAULTS)
    assert found is not None and found.measured_in is None
    assert found.sentence == "About 3 min, 1.9 GB (measured on this machine)."
    assert found.seconds == pytest.approx(6 + 5 + 40 * 0.3 + 700 * 0.2 + 10)
    # An own round tells more, unless it was on something else.
    both = replace(machine, past=replace(was, settings=replace(DEFAULTS, sam="vit_b")))
    other = estimate(both, DEFAULTS)
    assert other is not None and other.source == "measured on this machine"
    assert estimate(replace(both, past=was), DEFAULTS).measured_in == 3  # type: ignore[union-attr]


def test_a_time_limit_that_is_too_short_says_what_it_can_do() -> None:
    # Of 12 s, loading takes 5 s, 14 embeddings 4.2 s (35 %), and judging 1.44 s (12 %). That leaves
    # 1.36 s for 3.4 pictures of 0.4 s, of which half are labelled.
    survey = measured(seconds_per_picture=0.4)
    hurried = estimate(survey, replace(DEFAULTS, steps=None, minutes=0.2))
    assert hurried is not None
    assert hurried.note == (
        "In 0.2 min the U-Net sees about 1 of 8 labelled slices; 0.5 min are enough to see each "
        "once."
    )
    assert hurried.to_dict()["note"] == hurried.note
    enough = estimate(survey, replace(DEFAULTS, steps=None, minutes=0.5))
    assert enough is not None and enough.note == ""
    none = estimate(survey, replace(DEFAULTS, steps=None, minutes=0.1))
    assert none is not None and none.note.startswith("In 0.1 min the U-Net sees about 0 of 8")
    unhurried = estimate(survey, TrainSettings(steps=1))
    assert unhurried is not None and unhurried.note == ""  # as it was asked


def test_memory_is_what_was_measured_and_what_is_added() -> None:
    same, more = (estimate(measured(), replace(DEFAULTS, unlabelled_planes=n)) for n in (24, 34))
    assert same is not None and same.memory_gb == pytest.approx(2.5)
    # Ten more embeddings, canvases with pseudo-labels, and the slices themselves.
    each = 2.1e-3 + (17 * 192**2 + 5 * 20_000) / 1e9
    assert more is not None and more.memory_gb == pytest.approx(2.5 + 10 * each)


@pytest.mark.parametrize(
    ("changes", "times"),
    [({"device": "cuda"}, 1.0), ({"sam": "vit_b"}, 2.0), ({"profile": "adapted-encoder"}, 3.0)],
)
def test_another_machine_or_sam_was_not_measured(changes: dict[str, Any], times: float) -> None:
    found = estimate(measured(), replace(DEFAULTS, **changes))
    plain = estimate(SURVEY, DEFAULTS)
    assert found is not None and plain is not None and found.measured_in is None
    assert times <= found.seconds / plain.seconds < times + 1
    assert estimate(measured(), replace(DEFAULTS, device="cpu")).measured_in == 3  # type: ignore[union-attr]


def test_what_was_not_measured_is_assumed() -> None:
    found = estimate(measured(seconds_per_embedding=None), DEFAULTS)
    assert found is not None  # every embedding of that round had been kept
    assert found.seconds == pytest.approx(6 + 5 + 40 * 0.7 + 700 * 0.2 + 10)


def test_a_time_limit_is_the_time() -> None:
    limited = replace(DEFAULTS, steps=None, pictures=3200, minutes=3)
    found = estimate(SURVEY, limited)
    assert found is not None and found.seconds == 180 and found.text.startswith("about 3 min")
    # It only ends a round sooner than its pictures do.
    assert estimate(SURVEY, replace(limited, minutes=99)).seconds < 600  # type: ignore[union-attr]
    short = estimate(SURVEY, TrainSettings(minutes=3, steps=7))
    assert short is not None and short.seconds < 100
    # In so little time only the labelled slices are embedded: less is kept in memory.
    hurried = estimate(SURVEY, replace(limited, minutes=0.1))
    assert hurried is not None and hurried.seconds == 6
    assert found.memory_gb - hurried.memory_gb == pytest.approx(32 * 2.1e-3)


def test_recipes_cost_what_they_do() -> None:
    seconds = {}
    for recipe in get_args(Recipe):
        found = estimate(SURVEY, TrainSettings(recipe=recipe))
        assert found is not None
        seconds[recipe] = found.seconds
    assert max(seconds, key=seconds.__getitem__) in ("sam-only", "scsam-paper")
    assert min(seconds, key=seconds.__getitem__) == "supervised"
    assert count_planes(SURVEY, TrainSettings(recipe="supervised")).unlabelled == 0
    assert count_planes(SURVEY, TrainSettings(unlabelled_batch=0)).unlabelled == 0


def test_few_labels_of_one_case_are_all_learned_from() -> None:
    alone = Survey({"a": 4}, (6,), 1, 100)
    assert count_planes(alone, DEFAULTS) == Planes(4, 0, 6, 1)
    more = Survey({"a": 10}, (6,), 1, 100)
    assert count_planes(more, DEFAULTS) == Planes(8, 2, 6, 1)
    assert estimate(Survey({}, (6,), 1, 100), DEFAULTS) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "5 s"),
        (42, "40 s"),
        (58, "1 min"),
        (150, "2 min"),
        (760, "13 min"),
        (3400, "55 min"),
        (5300, "1.5 h"),
    ],
)
def test_times_are_rounded_as_one_says_them(seconds: float, text: str) -> None:
    assert rounded_time(seconds) == text


def test_a_project_is_counted_by_its_commits(project: Project) -> None:
    volume, other = project.images()
    assert estimate_round(project, DEFAULTS) is None
    for index in (0, 3):
        project.commit(volume.id, np.ones((20, 30), np.uint8), plane=Plane(0, index))
    found = survey(project)
    assert found.labelled == {volume.case: 2} and found.unlabelled == (3, 3) and found.classes == 2
    assert found.plane_pixels == (20 * 30 + 16 * 18) / 2
    # One line across all slices, which are all learned from then.
    project.commit(other.id, _line(other.shape), mapping={255: 255})
    assert survey(project).labelled == {volume.case: 2, other.case: 3}
    other.path.unlink()
    assert survey(project).labelled == {volume.case: 2}


def _line(shape: tuple[int, ...]) -> np.ndarray:
    label = np.full(shape, 255, np.uint8)
    label[:, 4] = 0
    return label


def test_the_last_round_that_was_measured_is_found(
    project: Project, finish_round: Callable[..., Path]
) -> None:
    (volume, _) = project.images()
    project.commit(volume.id, np.ones((20, 30), np.uint8), plane=Plane(0, 0))
    settings = TrainSettings(steps=9, image_size=64)
    counts = {"labelled_planes": 4, "unlabelled_planes": 7}
    finish_round(project.begin_round(settings), 0.8, None, rates=RATES, **counts)
    finish_round(project.begin_round(DEFAULTS), 0.9, 0.8)  # from before rates were kept
    assert [r.number for r in project.adopt_rounds()] == [1, 2]
    past = survey(project).past
    assert past is not None and past.number == 1 and past.settings == settings
    assert past.planes == Planes(4, 9, 7, 1)
    found = estimate_round(project, settings)
    assert found is not None and found.measured_in == 1
    assert found.text.endswith("GB") and "about" in found.text
