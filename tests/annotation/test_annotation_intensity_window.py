"""The project's window: chosen, saved, kept apart from the one that a round learned with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_scsam.annotation.intensity_window import IntensityWindow
from napari_scsam.core.errors import InputError, ProjectError, ReadOnlyError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, Job, ignore_progress
from napari_scsam.core.project_layout import PROJECT_FILE
from napari_scsam.core.prompts import PromptSet
from napari_scsam.core.settings import TrainSettings
from napari_scsam.core.volume import Volume
from napari_scsam.core.windows import AUTO, PRESETS, WHOLE_VOLUME
from napari_scsam.inference.messages import Question
from napari_scsam.project import Project, RoundRecord
from napari_scsam.project.rounds import round_window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Now:
    """Runs a job where it stands."""

    def run(self, job: Job, on_done: Any, on_failed: Any, on_progress: Any = None) -> CancelToken:
        token = CancelToken()
        try:
            result = job.function(ignore_progress, token)
        except Exception as error:  # noqa: BLE001 - a runner's boundary
            on_failed(error)
        else:
            on_done(result)
        return token


def never(error: Exception) -> None:
    raise error


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "p", ["liver"], modality="ct") as made:
        yield made


@pytest.fixture
def scan() -> Volume:
    values = np.linspace(-1000, 1000, 4 * 10 * 10).reshape(4, 10, 10)
    return Volume(values.astype(np.int16))


def a_round(folder: Path, **config: Any) -> RoundRecord:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    return RoundRecord(3, folder, {}, True, "")


def test_a_project_begins_with_its_modality_s_window_and_keeps_another(tmp_path: Path) -> None:
    with Project.create(tmp_path / "ct", ["a"], modality="ct") as made:
        assert made.window == PRESETS["soft-tissue"]
        made.change(window=PRESETS["lung"], cache_gb=0.5)
    with Project.open(tmp_path / "ct") as again:
        assert (again.window, again.cache_gb) == (PRESETS["lung"], 0.5)
        again.change(cache_gb=3)
        assert (again.window, again.cache_gb) == (PRESETS["lung"], 3.0)
        with pytest.raises(InputError, match="between 0 and 10000 GB; got -1"):
            again.change(cache_gb=-1)
    with Project.open(tmp_path / "ct", read_only=True) as seen, pytest.raises(ReadOnlyError):
        seen.change(window=AUTO)
    with Project.create(tmp_path / "mr", ["a"], modality="mr") as made:
        assert made.window == AUTO


def test_a_project_from_before_there_were_windows_keeps_what_it_did(project: Project) -> None:
    path = project.folder / PROJECT_FILE
    lines = path.read_text().splitlines(keepends=True)
    project.close()
    path.write_text("".join(x for x in lines if not x.startswith(("window", "cache_gb"))))
    with Project.open(project.folder) as old:
        assert (old.modality, old.window, old.cache_gb) == ("ct", AUTO, 2.0)


@pytest.mark.parametrize("line", ['window = "abdomen"', "cache_gb = -1.0"])
def test_a_damaged_setting_is_one_line(project: Project, line: str) -> None:
    path = project.folder / PROJECT_FILE
    name = line.split(" ")[0]
    lines = path.read_text().splitlines()
    project.close()
    path.write_text("\n".join(line if x.startswith(name) else x for x in lines))
    with pytest.raises(ProjectError, match="damaged") as caught:
        Project.open(project.folder)
    assert "\n" not in str(caught.value)


def test_the_choice_is_seen_asked_with_and_saved(project: Project, scan: Volume) -> None:
    choice = IntensityWindow(project, Now())
    assert choice.contrast(scan).limits == (-160, 240)
    assert choice.choose("lung", never) == "Window: Lung (\N{MINUS SIGN}600/1500)."
    assert choice.contrast(scan).limits == (-1350, 150)
    assert choice.for_models(scan) == PRESETS["lung"]
    assert project.window == PRESETS["lung"]
    choice.choose("volume", never)
    assert choice.for_models(scan) == WHOLE_VOLUME.on(scan)
    assert choice.contrast(scan).limits == choice.for_models(scan).limits
    choice.choose("auto", never)
    assert choice.contrast(scan).limits is None


def test_a_window_of_one_s_own_is_among_the_choices(project: Project) -> None:
    choice = IntensityWindow(project, Now())
    offered = len(choice.choices)
    choice.choose("30/300", never)
    assert choice.choices[0].name == "30/300"
    assert len(choice.choices) == offered + 1
    with pytest.raises(InputError):
        choice.choose("fog", never)
    assert choice.chosen.name == "30/300"


def test_a_read_only_project_is_looked_at_without_saving(project: Project, scan: Volume) -> None:
    with Project.open(project.folder, read_only=True) as looked_at:
        choice = IntensityWindow(looked_at, Now())
        choice.choose("bone", never)
        assert choice.contrast(scan).limits == (-500, 1300)
    assert project.window == PRESETS["soft-tissue"]


def test_a_round_is_asked_with_the_window_that_it_learned_with(
    project: Project, scan: Volume, tmp_path: Path
) -> None:
    choice = IntensityWindow(project, Now())
    choice.use_round(a_round(tmp_path / "3", window="liver"))
    assert choice.for_models(scan) == PRESETS["liver"]
    assert choice.contrast(scan).limits == (-160, 240)
    said = choice.choose("lung", never)
    assert "Round 3 was trained with Liver" in said and "\n" not in said
    assert choice.for_models(scan) == PRESETS["liver"]
    assert choice.choose("liver", never) == "Window: Liver (60/160)."
    choice.use_round(None)
    choice.choose("lung", never)
    assert choice.for_models(scan) == PRESETS["lung"]


def test_only_a_round_that_sees_the_neighbours_is_asked_with_them(
    project: Project, scan: Volume, tmp_path: Path
) -> None:
    choice, place = IntensityWindow(project, Now()), Plane(0, 1)
    assert choice.neighbours(scan, place) is None
    choice.use_round(a_round(tmp_path / "3", window="liver", settings={"context": True}))
    before, after = choice.neighbours(scan, place) or ()
    np.testing.assert_array_equal(before, scan.plane(Plane(0, 0)))
    np.testing.assert_array_equal(after, scan.plane(Plane(0, min(2, len(scan.data) - 1))))
    choice.use_round(a_round(tmp_path / "4", window="liver", settings={"context": False}))
    assert choice.neighbours(scan, place) is None


def test_old_and_damaged_rounds_learned_with_each_slice_s_own(tmp_path: Path) -> None:
    assert round_window(a_round(tmp_path / "old", settings={}).folder) == AUTO
    assert round_window(a_round(tmp_path / "odd", window="fog").folder) == AUTO
    assert round_window(tmp_path / "gone") == AUTO


def test_a_round_is_begun_with_the_project_s_window(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, np.arange(400, dtype=np.int16).reshape(20, 20))
    (image,) = project.add_images([path])
    project.commit(image, np.eye(20, dtype=np.uint8))
    project.change(window=PRESETS["brain"])
    folder = project.begin_round(TrainSettings(steps=1))
    assert json.loads((folder / "inputs.json").read_text())["window"] == "brain"


def test_a_question_is_asked_through_its_window(scan: Volume) -> None:
    plane = Plane(0, 2)
    asked = Question(
        ("a", plane), scan.plane(plane), PromptSet(), None, window=PRESETS["liver"].on(scan)
    )
    seen = asked.seen()
    np.testing.assert_array_equal(seen.pixels, PRESETS["liver"].apply(scan.plane(plane)))
    np.testing.assert_array_equal(seen.seen().pixels, seen.pixels)
    np.testing.assert_array_equal(PRESETS["liver"].over(scan).plane(plane), seen.pixels)
    dark = Question(
        ("a", Plane(0, 0)), scan.plane(Plane(0, 0)), PromptSet(), None, window=PRESETS["bone"]
    )
    with pytest.raises(InputError, match="Nothing to see in the window Bone"):
        dark.seen()
