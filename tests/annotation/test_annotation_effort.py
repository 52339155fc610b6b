"""The simulated annotator of `benchmarks/annotation_effort.py`, with models that are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as imageio
import numpy as np
import pytest
from scipy import ndimage

from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import PointPrompt, PromptSet
from napari_scsam.inference.messages import Answer, Question
from napari_scsam.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (60, 80)


class KnownMasks:
    """Outlines the parts of the truth that points lie in, and a square around any other point."""

    def __init__(self, truth: np.ndarray, proposed: tuple[PointPrompt, ...] = ()) -> None:
        self.truth, self.proposed, self.blind = truth, proposed, False

    def decode(self, question: Question) -> Answer:
        label = np.zeros(SHAPE, np.uint8)
        for point in question.prompts.points:
            if not point.positive or point.state == "rejected":
                continue
            row, col = round(point.row), round(point.col)
            parts, _ = ndimage.label(self.truth == point.class_id)
            if self.blind or not parts[row, col]:
                label[max(row - 12, 0) : row + 13, col - 12 : col + 13] = point.class_id
            else:
                label[parts == parts[row, col]] = point.class_id
        return Answer(question.prompts, label, "points", 0.9)

    def suggest(self, question: Question, _class_ids: Iterable[int]) -> Answer:
        points = (*question.prompts.points, *self.proposed)
        prompts = PromptSet(points)
        return self.decode(Question(question.key, question.pixels, prompts, None))

    def prefetch(self, _questions: Iterable[Question]) -> None:
        pass

    def wait_ahead(self, _seconds: float) -> bool:
        return True

    def close(self) -> None:
        pass


@pytest.fixture
def effort(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the annotator."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import effort_annotator

    return effort_annotator


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    imageio.imwrite(tmp_path / "a.png", np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint8))
    with Project.create(tmp_path / "project", ["one", "two"]) as made:
        made.add_images([tmp_path / "a.png"])
        yield made


def two_parts() -> np.ndarray:
    truth = np.zeros(SHAPE, np.uint8)
    truth[5:25, 5:25] = truth[35:55, 40:70] = 1
    return truth


def proposal(row: int, col: int) -> PointPrompt:
    return PointPrompt(row, col, 1, origin="model", state="proposed")


def outlined(effort: Any, project: Project, models: KnownMasks, *, suggests: bool = False) -> Any:
    """Outline the picture; return what it took, and the saved label."""
    from effort_cases import Task

    task = Task({1: "one", 2: "two"}, "other", 6)
    annotator = effort.Annotator(project, models, task, boxes=False)
    image = project.images()[0].id
    if suggests:
        annotator.annotation.use_tuned(project.folder)
    annotator.open((image, Plane()))
    found = annotator.outline(models.truth)
    annotator.commit()
    annotator.annotation.close()
    return found, project.label(image)


def test_each_part_takes_a_click_and_each_further_one_the_key_of_a_new_object(
    effort: Any, project: Project
) -> None:
    truth = two_parts()
    found, saved = outlined(effort, project, KnownMasks(truth))
    np.testing.assert_array_equal(saved, truth)
    # Two clicks; A between them, and J.
    assert (found.prompts, found.actions) == (2, 4)
    assert [round(dice[1], 2) for dice in found.dice] == [0.0, 0.75, 1.0]


def test_a_good_suggestion_takes_no_prompt(effort: Any, project: Project) -> None:
    truth = two_parts()
    models = KnownMasks(truth, (proposal(10, 10), proposal(45, 50)))
    found, saved = outlined(effort, project, models, suggests=True)
    np.testing.assert_array_equal(saved, truth)
    assert (found.prompts, found.actions) == (0, 1)


def test_a_point_in_the_wrong_place_is_deleted_and_a_wrong_outline_rejected(
    effort: Any, project: Project
) -> None:
    truth = two_parts()
    # One part is right, and a square is in the wrong place: select and delete its point, then A and
    # a click for the other part, and J.
    models = KnownMasks(truth, (proposal(45, 50), proposal(8, 60)))
    found, saved = outlined(effort, project, models, suggests=True)
    np.testing.assert_array_equal(saved, truth)
    assert (found.prompts, found.actions) == (2, 5)
    models = KnownMasks(truth, (proposal(8, 60),))
    found, saved = outlined(effort, project, models, suggests=True)
    np.testing.assert_array_equal(saved, truth)
    assert found.prompts == 3  # the rejection, and a click in each part


def test_a_picture_that_can_not_be_outlined_counts_with_the_most_prompts(
    effort: Any, project: Project
) -> None:
    models = KnownMasks(two_parts())
    models.blind = True
    found, saved = outlined(effort, project, models)
    assert found.prompts == 6  # those of the task for one class
    assert found.dice[-1][1] < effort.GOOD and saved is not None
