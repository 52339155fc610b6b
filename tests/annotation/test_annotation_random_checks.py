"""Suggestions on random slices are stored before they are shown, and compared with the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import PointPrompt
from napari_scsam.project.random_checks import CHECK, random_checks
from napari_scsam.project.ranking import QueueEntry, RankedQueue
from napari_scsam.workflows.check_estimate import CheckReader

if TYPE_CHECKING:
    from annotation_desk import Desk

    from napari_scsam.project import Project


def suggested(row: int, col: int) -> PointPrompt:
    return PointPrompt(row, col, 1, origin="model", kind="confirm", state="proposed")


def entry(image: str, plane: int, strategy: str = "random") -> QueueEntry:
    score = None if strategy == "random" else 0.7
    return QueueEntry(image, plane, score, "why", strategy, (plane, (plane + 1) % 3))


@pytest.fixture
def ranked(desk: Desk, project: Project) -> Desk:
    """A desk whose next image is a random check, by a queue with one slice of it drawn."""
    second = project.images()[1].id
    desk.use_round()
    desk.annotation.navigation.queue.order.use(RankedQueue("hybrid", 1, (entry(second, 1),)))
    desk.segmenter.proposals = [suggested(8, 9)]
    return desk


def test_a_suggestion_on_a_random_slice_is_recorded_before_it_is_shown(
    ranked: Desk, project: Project
) -> None:
    second = project.images()[1].id
    ranked.annotation.navigation.next_open()
    ranked.files.work()  # the image is read, the pick is noted
    ranked.inference.work()  # the answer is there
    assert ranked.annotation.key == (second, Plane(0, 1))
    assert not ranked.annotation.prompts.points and not project.events(CHECK)
    ranked.files.work()
    (check,) = random_checks(project)
    assert (check.image, check.plane, check.round) == (second, 1, 1)
    assert check.label.sum() == 9 and check.label[7:10, 8:11].all()
    assert [p.row for p in ranked.annotation.prompts.points] == [8]
    # Corrected before it is committed: it is the suggestion that is compared.
    ranked.annotation.editor.add_point(8, 12)
    ranked.settle()
    ranked.annotation.accept_and_next()
    ranked.settle()
    checks, problems = CheckReader().read(project)
    (one,) = checks.checked
    assert one.mean == pytest.approx(2 * 9 / (9 + 18)) and problems == []
    assert checks.text == "On 1 random slice: Dice 0.67."
    # The other slice of the volume was not drawn at random: it is no check.
    assert ranked.annotation.key == (second, Plane(0, 2)) and len(random_checks(project)) == 1


def test_a_click_that_comes_first_is_kept_and_the_slice_counts_as_missing(
    ranked: Desk, project: Project
) -> None:
    ranked.annotation.navigation.next_open()
    ranked.files.work()
    ranked.annotation.editor.add_point(3, 3)  # cancels the suggestion
    ranked.settle()
    ranked.annotation.suggest()  # beside the click it says nothing of the models alone
    ranked.settle()
    assert not project.events(CHECK) and len(ranked.annotation.prompts.points) == 2
    ranked.annotation.commit()
    ranked.settle()
    checks, _ = CheckReader().read(project)
    assert checks.checked == () and checks.missing == 1
    assert checks.text == "No random slice with a structure yet. 1 had no suggestion."


def test_a_click_while_it_is_recorded_is_not_written_over(ranked: Desk, project: Project) -> None:
    ranked.annotation.navigation.next_open()
    ranked.files.work()
    ranked.inference.work()
    ranked.annotation.editor.add_point(3, 3)
    ranked.settle()
    assert [p.origin for p in ranked.annotation.prompts.points] == ["person"]


def test_what_was_skipped_or_is_not_committed_is_counted_apart(
    ranked: Desk, project: Project
) -> None:
    ranked.annotation.navigation.next_open()
    ranked.settle()
    ranked.annotation.navigation.skip()
    ranked.settle()
    checks, _ = CheckReader().read(project)
    assert (checks.checked, checks.missing, checks.open) == ((), 0, 1)
    second = project.images()[1].id
    # A label that was there before the suggestion says nothing of it.
    project.commit(second, np.ones((16, 18), np.uint8), plane=Plane(0, 1))
    checks, _ = CheckReader().read(project)
    assert len(checks.checked) == 1 and checks.open == 0
