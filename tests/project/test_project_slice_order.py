"""The next slice: by the ranked queue of the project, or by the list of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project
from napari_scsam.project.ranking import QueueEntry, RankedQueue, forget_queue, write_queue
from napari_scsam.project.slice_order import SliceOrder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Two volumes of five slices and two pictures."""
    rng = np.random.default_rng(0)
    paths = []
    for name, depth in (("a", 5), ("b", 5), ("c", 1), ("d", 1)):
        paths.append(tmp_path / f"{name}.tif")
        scan = rng.random((depth, 12, 10)).astype(np.float32)
        tifffile.imwrite(paths[-1], scan if depth > 1 else scan[0], photometric="minisblack")
    with Project.create(tmp_path / "project", ["one"]) as made:
        made.add_images(paths)
        yield made


def entry(image: str, *planes: int) -> QueueEntry:
    return QueueEntry(image, planes[0] if planes else None, 0.5, "why", "hybrid", planes)


def follow(order: SliceOrder, *entries: QueueEntry) -> None:
    order.use(RankedQueue("hybrid", None, entries))


def at(image: str, index: int = 0) -> tuple[str, Plane]:
    return (image, Plane(0, index))


def test_without_a_queue_it_is_the_order_of_the_list(project: Project) -> None:
    a, b, *_ = (record.id for record in project.images())
    order = SliceOrder(project)
    order.refresh()
    assert order.first() is None and order.waiting() == [] and order.strategy is None
    assert order.after(at(a, 2)) == at(a, 3) and order.after(at(a, 4)) == at(b, 0)
    assert order.back(at(b, 0)) == at(a, 4)


def test_ranked_slices_of_a_volume_come_before_the_next_image(project: Project) -> None:
    a, b, c, d = (record.id for record in project.images())
    order = SliceOrder(project)
    follow(order, entry(d), entry(b, 3, 1), entry(a, 4))
    here, way = order.first(), []
    while len(way) < 4:
        way.append(here)
        order.leave(here)
        here = order.after(here)
    assert way == [at(d), at(b, 3), at(b, 1), at(a, 4)]
    # What is not ranked follows, by the list.
    assert here == at(b, 0)
    assert order.back(at(b, 0)) == at(a, 4) and order.back(at(a, 4)) == at(b, 1)
    # From an image that is not ranked, and from the middle of the list, the best one follows.
    follow(order, entry(d), entry(b, 3, 1))
    assert order.after(at(c)) == at(d) == order.after(at(a, 2))
    assert order.upcoming(at(b, 3), 2) == [at(b, 1), at(d)]


def test_what_is_committed_or_skipped_drops_out_and_an_undo_brings_it_back(
    project: Project,
) -> None:
    _, b, c, d = (record.id for record in project.images())
    order = SliceOrder(project)
    follow(order, entry(d), entry(b, 3, 1), entry(c))
    project.commit(d, np.zeros((12, 10), np.uint8))
    project.commit(b, np.zeros((12, 10), np.uint8), plane=Plane(0, 3))
    assert [(w.entry.image, w.position, w.plane) for w in order.waiting()] == [
        (b, 1, 1),
        (c, 2, 0),
    ]
    kept = order.waiting()[1]
    project.skip(b, 1)
    assert order.waiting() == [kept] and order.waiting()[0] is kept  # only what changed is new
    assert order.first() == at(c)
    project.revert(d, None)
    assert order.first() == at(d) and order.rank_of(d) == (entry(d), 0)
    assert order.rank_of("00000000") is None


def test_a_queue_that_was_stored_is_followed_and_one_that_is_gone_is_not(
    project: Project,
) -> None:
    a, _, c, _ = (record.id for record in project.images())
    order = SliceOrder(project)
    # An image that was removed, slices that do not exist, and an image twice: of an old cache.
    entries = (entry("00000000"), entry(a, 9), entry(c), entry(c))
    write_queue(project.folder, RankedQueue("entropy", None, entries))
    order.refresh()
    assert order.strategy == "entropy" and [w.entry.image for w in order.waiting()] == [c]
    (project.folder / "cache/ranking/queue.json").write_text('{"strategy": 1}')
    order.refresh()
    assert order.strategy is None and order.after(at(a, 0)) == at(a, 1)
    write_queue(project.folder, RankedQueue("hybrid", None, (entry(c),)))
    order.refresh()
    assert order.first() == at(c)
    forget_queue(project.folder)
    forget_queue(project.folder)
    order.refresh()
    assert order.first() is None
