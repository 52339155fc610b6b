"""Propagation without Qt: what is started, stopped, kept, flagged, committed and undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from annotation_desk import Desk, FakeSegmenter

from napari_scsam.annotation.propagation_job import COMMIT_FIRST
from napari_scsam.core.errors import ModelError
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project
from napari_scsam.propagation.walk import Carried, Trail, label_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_scsam.inference.messages import Question

COUNT = 8


class Carrier(FakeSegmenter):
    """Copies the neighbour's masks, flags some slices, and does something at others."""

    def __init__(self) -> None:
        super().__init__()
        self.flags: dict[int, str] = {}
        self.stops: set[int] = set()
        self.before: dict[int, Callable[[], None]] = {}
        self.carried: list[tuple[str, Plane]] = []

    def carry(self, question: Question, trail: Trail) -> Carried:
        index = question.key[1].index
        self.before.get(index, lambda: None)()
        self.carried.append(question.key)
        assert question.pixels.shape == trail.label.shape
        logits = {c: np.where(trail.label == c, 4.0, -4.0) for c in trail.areas}
        label = label_of(logits, trail.label.shape)
        why = {1: self.flags[index]} if index in self.flags else {}
        areas = {} if index in self.stops else dict(trail.areas)
        return Carried(Trail(label, areas), logits, why)


class VolumeDesk(Desk):
    """A desk at which volumes are filled."""

    def make_segmenter(self) -> Any:
        return Carrier()

    @property
    def image(self) -> str:
        return str(self.annotation.now.image_id)

    def drafts(self) -> list[int]:
        return [plane.index for plane in self.annotation.now.drafts]

    def commit_a_square(self, index: int = 3) -> None:
        self.canvas.go_to(Plane(0, index))
        self.annotation.editor.add_point(10, 10)
        self.settle()
        self.annotation.commit()
        self.settle()

    def propagate(self) -> None:
        self.annotation.propagate()
        self.carrier.work(ignore_cancel=True)
        self.settle()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    scans = []
    for name in ("volume", "other"):
        scan = np.random.default_rng(len(name)).normal(size=(COUNT, 20, 30)).astype(np.float32)
        scans.append(tmp_path / f"{name}.tif")
        tifffile.imwrite(scans[-1], scan, imagej=True, metadata={"axes": "ZYX"})
    with Project.create(tmp_path / "project", ["one"]) as made:
        made.add_images(scans)
        yield made


@pytest.fixture
def desk(project: Project) -> VolumeDesk:
    made = VolumeDesk(project)
    made.annotation.navigation.open_image(project.images()[0].id, Plane(0, 3))
    made.settle()
    return made


def test_a_committed_slice_fills_the_volume_with_drafts_and_one_undo_takes_them_back(
    desk: VolumeDesk,
) -> None:
    desk.commit_a_square()
    assert "propagate" in desk.state.enabled
    desk.propagate()
    assert desk.drafts() == [0, 1, 2, 4, 5, 6, 7]
    assert desk.state.status == "Drafts on 7 slices."
    assert desk.canvas.previews[Plane(0, 6)][10, 10] == 1
    assert desk.project.committed_planes(desk.image) == [3]  # a draft is not a label
    desk.annotation.undo()
    desk.settle()
    assert desk.drafts() == []
    assert desk.canvas.previews[Plane(0, 6)] is None
    assert desk.project.committed_planes(desk.image) == [3]
    desk.annotation.redo()
    desk.settle()
    assert len(desk.drafts()) == 7
    assert desk.canvas.previews[Plane(0, 6)][10, 10] == 1


def test_a_preview_is_carried_too_and_keeps_its_prompts(desk: VolumeDesk) -> None:
    assert "propagate" not in desk.state.enabled
    desk.annotation.propagate()
    assert desk.state.status == COMMIT_FIRST
    desk.annotation.editor.add_point(10, 10)
    desk.settle()
    desk.propagate()
    assert 3 not in desk.drafts()
    assert len(desk.drafts()) == 7
    assert len(desk.annotation.prompts.points) == 1


def test_a_click_corrects_a_draft_and_undo_brings_the_draft_back(desk: VolumeDesk) -> None:
    desk.commit_a_square()
    desk.propagate()
    desk.canvas.go_to(Plane(0, 4))
    assert desk.state.counts == "Draft, propagated from other slices."
    desk.annotation.editor.add_point(15, 20)
    desk.settle()
    assert desk.segmenter.asked[-1].draft[10, 10] == 1
    desk.annotation.undo()
    desk.settle()
    assert desk.canvas.previews[Plane(0, 4)][10, 10] == 1
    assert desk.annotation.now.draft is not None


def test_accepting_a_draft_commits_it_and_goes_to_the_next_one_round_the_end(
    desk: VolumeDesk,
) -> None:
    desk.commit_a_square()
    desk.propagate()
    desk.canvas.go_to(Plane(0, 6))
    seen = []
    for _ in range(3):
        desk.annotation.accept_and_next()
        desk.settle()
        seen.append(desk.annotation.key[1].index)
    assert seen == [7, 0, 1]
    assert desk.project.committed_planes(desk.image) == [0, 3, 6, 7]
    assert desk.project.label(desk.image)[7, 10, 10] == 1
    assert desk.drafts() == [1, 2, 4, 5]
    desk.annotation.undo()
    desk.settle()
    assert desk.drafts() == [0, 1, 2, 4, 5]
    assert desk.project.committed_planes(desk.image) == [3, 6, 7]


def test_where_propagation_stopped_is_said_and_n_goes_there(desk: VolumeDesk) -> None:
    desk.segmenter.flags, desk.segmenter.stops = {5: "the models disagree"}, {1, 5}
    desk.commit_a_square()
    desk.propagate()
    assert desk.drafts() == [1, 2, 4, 5]
    assert desk.state.status == (
        "Drafts on 4 slices. Stopped at slice 1, 1 slice left and at slice 5, 2 slices left: "
        "N goes there; outline it, then Shift+G goes on. 1 flagged."
    )
    desk.annotation.next_to_check()
    assert desk.annotation.now.plane == Plane(0, 1)
    desk.annotation.next_to_check()
    assert desk.annotation.now.plane == Plane(0, 5)
    # Outlined there, it goes on.
    desk.segmenter.stops = set()
    desk.annotation.editor.add_point(10, 10)
    desk.settle()
    desk.propagate()
    assert desk.drafts() == [0, 1, 2, 4, 6, 7]
    assert desk.state.status == "Drafts on 6 slices."


def test_all_good_drafts_are_one_commit_and_one_undo_and_flagged_ones_stay(
    desk: VolumeDesk,
) -> None:
    desk.segmenter.flags = {1: "area doubled", 6: "outline unsure"}
    desk.commit_a_square()
    desk.propagate()
    assert desk.state.status == "Drafts on 7 slices. 2 flagged: N goes to the next."
    assert desk.state.commit_drafts == "Commit all 5 drafts   ·   2 flagged  N"
    versions = desk.project.label_version(desk.image)
    desk.annotation.commit_drafts()
    desk.settle()
    assert desk.project.label_version(desk.image) == versions + 1
    assert desk.project.committed_planes(desk.image) == [0, 2, 3, 4, 5, 7]
    assert desk.drafts() == [1, 6]
    (event,) = desk.project.events("drafts")
    assert [entry["plane"] for entry in event.payload["planes"]] == [0, 2, 4, 5, 7]
    desk.annotation.undo()
    desk.settle()
    assert desk.project.committed_planes(desk.image) == [3]
    assert len(desk.drafts()) == 7


def test_n_goes_from_one_flagged_slice_to_the_next_and_says_why(desk: VolumeDesk) -> None:
    desk.segmenter.flags = {1: "area doubled", 6: "outline unsure"}
    desk.commit_a_square()
    desk.propagate()
    seen = []
    for _ in range(3):
        desk.annotation.next_to_check()
        seen.append((desk.annotation.key[1].index, desk.state.counts.split(": ")[1]))
    assert seen == [(6, "outline unsure."), (1, "area doubled."), (6, "outline unsure.")]


def test_j_on_a_flagged_draft_goes_to_the_next_flagged_one_and_then_to_the_others(
    desk: VolumeDesk,
) -> None:
    desk.segmenter.flags = {1: "area doubled", 4: "outline unsure", 6: "outline unsure"}
    desk.commit_a_square()
    desk.propagate()
    desk.annotation.next_to_check()
    seen = []
    for _ in range(5):
        seen.append(desk.annotation.key[1].index)
        desk.annotation.accept_and_next()
        desk.settle()
    assert seen == [4, 6, 1, 2, 5]


def test_stopping_keeps_what_was_made(desk: VolumeDesk) -> None:
    desk.commit_a_square()
    desk.segmenter.before[2] = desk.annotation.propagate  # pressed again: stop
    desk.propagate()
    assert desk.state.status == "Stopped. Drafts on 1 slice."
    assert desk.drafts() == [2]
    assert desk.state.propagate == "Propagate"


def test_an_error_on_the_way_keeps_what_was_made_and_is_said(desk: VolumeDesk) -> None:
    def fail() -> None:
        raise ModelError("The model process stopped.")

    desk.commit_a_square()
    desk.segmenter.before[5] = fail
    desk.propagate()
    assert desk.state.is_error
    assert desk.state.status == "The model process stopped."
    assert desk.drafts() == [0, 1, 2, 4]


def test_what_is_committed_or_prompted_meanwhile_is_left_alone(desk: VolumeDesk) -> None:
    desk.commit_a_square()

    def meanwhile() -> None:
        desk.segmenter.before.clear()
        desk.canvas.go_to(Plane(0, 6))
        desk.annotation.editor.add_point(5, 25)
        desk.settle()
        desk.annotation.commit()
        desk.settle()
        desk.canvas.go_to(Plane(0, 7))
        desk.annotation.editor.add_point(15, 5)
        desk.settle()

    desk.segmenter.before[0] = meanwhile
    desk.propagate()
    assert desk.drafts() == [0, 1, 2, 4, 5]
    label = desk.project.label(desk.image)
    assert label[6, 5, 25] == 1
    assert label[6, 10, 10] == 0
    assert desk.annotation.preview[15, 5] == 1
    assert desk.annotation.preview[10, 10] == 0


def test_drafts_of_an_image_that_was_left_are_there_on_coming_back(
    desk: VolumeDesk, project: Project
) -> None:
    first, second = (record.id for record in project.images())
    desk.commit_a_square()

    def leave() -> None:
        desk.segmenter.before.clear()
        desk.annotation.navigation.open_image(second)
        desk.settle()

    desk.segmenter.before[1] = leave
    desk.propagate()
    assert desk.annotation.now.image_id == second
    assert desk.drafts() == []
    assert {key[0] for key in desk.segmenter.carried} == {first}
    desk.annotation.navigation.open_image(first)
    desk.settle()
    assert len(desk.drafts()) == 7
    assert desk.canvas.previews[Plane(0, 6)][10, 10] == 1


def test_closing_while_it_runs_neither_fails_nor_changes_anything(desk: VolumeDesk) -> None:
    desk.commit_a_square()
    desk.segmenter.before[1] = desk.annotation.close
    desk.propagate()
    assert desk.drafts() == []
    assert desk.project.committed_planes(desk.image) == [3]


def test_slices_between_committed_ones_come_from_both_and_none_is_asked_again(
    desk: VolumeDesk,
) -> None:
    desk.commit_a_square(1)
    desk.commit_a_square(5)
    desk.propagate()
    asked = [key[1].index for key in desk.segmenter.carried]
    assert sorted(asked) == [0, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7]  # 1 and 5 to learn from
    assert desk.drafts() == [0, 2, 3, 4, 6, 7]


def test_another_axis_is_filled_along_itself_and_never_over_what_is_committed(
    desk: VolumeDesk,
) -> None:
    desk.commit_a_square(3)
    desk.canvas.go_to(Plane(2, 20))
    desk.annotation.editor.add_point(6, 10)
    desk.settle()
    desk.propagate()
    assert {plane.axis for plane in desk.annotation.now.drafts} == {2}
    assert len(desk.drafts()) == 29
    before = desk.project.label(desk.image)[3]
    desk.annotation.commit_drafts()
    desk.settle()
    label = desk.project.label(desk.image)
    np.testing.assert_array_equal(label[3], before)
    assert label[6, 10, 4] == 1
    assert label[6, 10, 20] == 1  # the slice that was clicked is committed with them
    assert (label[0, :, 20] == 0).all()


def test_a_plane_across_the_drafts_shows_them(desk: VolumeDesk) -> None:
    desk.commit_a_square(3)
    desk.propagate()
    desk.canvas.go_to(Plane(1, 10))
    shown = desk.canvas.previews[Plane(1, 10)]
    assert shown.shape == (COUNT, 30)
    assert shown[:, 10].tolist() == [1, 1, 1, 0, 1, 1, 1, 1]
    assert not shown[:, 20].any()
    assert desk.annotation.preview is None  # seen here, and not this plane's to commit
