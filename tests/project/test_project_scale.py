"""What a project keeps in memory is updated by what is appended, and is not read again."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest

from napari_scsam.cli.__main__ import main
from napari_scsam.core.errors import Cancelled, InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project, files, image_queue, journal
from napari_scsam.project.schema import ImageLocation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of events of each read from the journal."""
    found: list[int] = []
    plain = journal.Journal._iterate

    def counted(self: journal.Journal, *arguments: object) -> Iterator[journal.Event]:
        events = list(plain(self, *arguments))  # type: ignore[arg-type]
        found.append(len(events))
        return iter(events)

    monkeypatch.setattr(journal.Journal, "_iterate", counted)
    return found


def test_a_step_to_the_next_slice_reads_no_event_and_resolves_no_path(
    project: Project, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = project.images()[0].id
    image_queue.rows(project)
    reads.clear()

    def resolved(_self: ImageLocation) -> tuple[Path, ...]:
        raise AssertionError("a path was resolved")

    monkeypatch.setattr(ImageLocation, "places", property(resolved))
    for index in range(4):
        key = (volume, Plane(0, index))
        assert image_queue.neighbour(project, key) == (volume, Plane(0, index + 1))
    assert [row.total for row in image_queue.rows(project)] == [5, 1]
    assert reads == []


def test_an_event_of_another_kind_makes_nothing_be_read_again(
    project: Project, reads: list[int]
) -> None:
    volume = project.images()[0].id
    project.commit(volume, np.ones((7, 9), np.uint8), plane=Plane(0, 0))
    image_queue.rows(project)
    reads.clear()
    project.record("note", {"image": volume})
    image_queue.rows(project)
    assert sum(reads) == 0
    project.commit(volume, np.ones((7, 9), np.uint8), plane=Plane(0, 2))
    assert image_queue.rows(project)[0].done == 2
    assert sum(reads) <= 4  # the new commit and that before it


def test_only_the_rows_of_changed_images_are_made_anew(
    project: Project, scans: list[Path], tmp_path: Path
) -> None:
    volume, picture = (record.id for record in project.images())
    rows = image_queue.ImageRows(project)
    before = rows.read()
    assert [(row.image_id, row.done, row.skipped) for row in before] == [
        (volume, 0, False),
        (picture, 0, False),
    ]

    def assert_changed(image: str) -> image_queue.QueueRow:
        nonlocal before
        now = rows.read()
        assert now == image_queue.rows(project)
        assert [b.image_id for a, b in zip(before, now, strict=True) if a is not b] == [image]
        before = now
        return next(row for row in now if row.image_id == image)

    project.skip(picture, 0)
    assert assert_changed(picture).skipped
    project.commit(volume, np.ones((7, 9), np.uint8), plane=Plane(0, 3))
    assert assert_changed(volume).done == 1
    project.commit(picture, np.ones(project.image(picture).shape, np.uint8))
    assert (row := assert_changed(picture)).done == 1 and not row.skipped
    project.revert(volume, None)
    assert assert_changed(volume).done == 0
    other = tmp_path / "other.png"
    other.write_bytes(scans[1].read_bytes() + b"\0")
    (new,) = project.add_images([other])
    assert rows.read()[:2] == before and rows.read()[2].image_id == new


def test_a_reader_sees_what_another_program_adds(
    project: Project, scans: list[Path], tmp_path: Path
) -> None:
    volume = project.images()[0].id
    with Project.open(project.folder, read_only=True) as reader:
        assert len(reader.images()) == 2 and reader.all_committed_planes() == {}
        assert reader.commit_count() == 0
        project.commit(volume, np.ones((7, 9), np.uint8), plane=Plane(0, 3))
        project.commit(volume, np.ones((7, 9), np.uint8), plane=Plane(0, 1))
        assert reader.all_committed_planes() == {volume: [1, 3]}
        assert reader.labelled() == {volume: 2} and reader.commit_count() == 2
        project.revert(volume, 1)
        assert reader.committed_planes(volume) == [3]
        project.revert(volume, None)
        assert reader.all_committed_planes() == {} and reader.commit_count() == 2
        moved = tmp_path / "moved.nii.gz"
        scans[0].rename(moved)
        assert project.add_images([moved]) == [volume]
        assert reader.image(volume).path == moved
        other = tmp_path / "other.png"
        shutil.copyfile(scans[1], other)
        other.write_bytes(other.read_bytes() + b"\0")
        (new,) = project.add_images([other])
        assert [record.id for record in reader.images()][2:] == [new]


def test_the_path_of_an_image_is_where_it_is_now(project: Project, scans: list[Path]) -> None:
    record = project.images()[0]
    assert record.path == scans[0] and record.path.is_file()
    scans[0].unlink()
    assert record.path == scans[0] and scans[0] in record.places


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("only_open", [True, False])
def test_the_next_slice_is_the_first_that_is_open(
    project: Project, step: int, only_open: bool
) -> None:
    """Against the list of all slices, from every slice of it."""
    volume, picture = (record.id for record in project.images())
    for index in (0, 2, 3):
        project.commit(volume, np.ones((7, 9), np.uint8), plane=Plane(0, index))
    every = [(volume, Plane(0, index)) for index in range(5)] + [(picture, Plane(0, 0))]
    done = {(volume, Plane(0, index)) for index in (0, 2, 3)} if only_open else set()
    for at, key in enumerate(every):
        later = every[at + 1 :] if step > 0 else every[:at][::-1]
        if step > 0 and only_open:
            later += every[:at]  # it begins again
        expected = next((one for one in later if one not in done), None)
        found = image_queue.neighbour(project, key, step, only_open=only_open)
        assert found == expected


def pictures(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(1)
    folder.mkdir()
    paths = [folder / f"{number:02d}.png" for number in range(count)]
    for path in paths:
        iio.imwrite(path, rng.integers(0, 255, (6, 8)).astype(np.uint8))
    return paths


def test_adding_reports_each_file_and_keeps_the_order(project: Project, tmp_path: Path) -> None:
    paths = pictures(tmp_path / "many", 20)
    steps: list[tuple[int, int]] = []
    ids = project.add_images(paths, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(number, 20) for number in range(1, 21)]
    assert [project.image(image).path for image in ids] == paths


def test_adding_is_cancelled_by_its_progress_and_then_adds_nothing(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = pictures(tmp_path / "many", 60)
    read: list[Path] = []
    plain = files._examine_one

    def examined(path: Path) -> files.Candidate:
        read.append(path)
        time.sleep(0.02)
        return plain(path)

    monkeypatch.setattr(files, "_examine_one", examined)

    def cancel(done: int, _total: int) -> None:
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        project.add_images(paths, progress=cancel)
    assert len(read) < 40  # those that were being read are finished
    assert len(project.images()) == 2


def test_every_unusable_file_is_named_when_several_are_read_at_a_time(
    project: Project, tmp_path: Path
) -> None:
    paths = pictures(tmp_path / "many", 12)
    for path in paths[::5]:
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match="3 files can't be added, so none was") as caught:
        project.add_images(paths)
    assert all(path.name in str(caught.value) for path in paths[::5])
    assert len(project.images()) == 2


def test_large_files_are_read_one_at_a_time(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two volumes may not fit into memory."""
    paths = pictures(tmp_path / "many", 8)
    at_once, most = 0, 0
    plain = files._examine_one

    def examined(path: Path) -> files.Candidate:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.01)
        found = plain(path)
        at_once -= 1
        return found

    monkeypatch.setattr(files, "_examine_one", examined)
    monkeypatch.setattr(files, "_LARGE_BYTES", 1)
    project.add_images(paths)
    assert most == 1


def test_the_command_shows_the_progress_of_many_images(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.close()
    pictures(tmp_path / "few", 2)
    assert main(["add", str(project.folder), str(tmp_path / "few")]) == 0
    assert capsys.readouterr().err == ""
    pictures(tmp_path / "many", 120)
    assert main(["add", str(project.folder), str(tmp_path / "many")]) == 0
    assert capsys.readouterr().err.splitlines() == ["Reading 120 images"]


def test_skipped_slices_are_read_once_and_then_updated(project: Project, reads: list[int]) -> None:
    volume, picture = (record.id for record in project.images())
    label = np.ones((7, 9), np.uint8)
    project.skip(volume, 3)
    project.commit(volume, label, plane=Plane(0, 3))
    for image, index in ((volume, 1), (picture, 0), (volume, 4), (volume, 3)):
        project.skip(image, index)
    assert project.skipped() == [(volume, 1), (picture, 0), (volume, 4), (volume, 3)]
    with Project.open(project.folder, read_only=True) as reader:
        assert reader.skipped() == project.skipped()
        reads.clear()
        assert reader.skipped() and reads == []
        project.commit(volume, label, plane=Plane(0, 4))
        reads.clear()
        assert reader.skipped() == [(volume, 1), (picture, 0), (volume, 3)]
        assert sum(reads) == 1
