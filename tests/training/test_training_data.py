"""inputs.json, planes, the split, events and control."""

from __future__ import annotations

import hashlib
import json
import threading
import time

import numpy as np
import pytest

from napari_scsam.core.errors import Cancelled, InputError
from napari_scsam.core.settings import TrainSettings
from napari_scsam.core.volume import Volume
from napari_scsam.core.windows import PRESETS, parse_window
from napari_scsam.io import write_labels
from scsam_train.config import read_inputs
from scsam_train.data import TrainPlane, class_positions, load_planes, split_planes
from scsam_train.log import Control, EventLog
from scsam_train.views import label_canvas


def write(path, array):
    write_labels(path, array, Volume.from_array(array))
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def image_entry(folder, name, array, label=None, case=None):
    entry = {"id": name, "case": case or name, "shape": list(array.shape), "rgb": False}
    entry |= write(folder / f"{name}.nii.gz", array)
    entry["label"] = None if label is None else write(folder / f"{name}-label.nii.gz", label)
    return entry


def write_inputs(folder, images, **changes):
    content = {
        "schema": 1,
        "round": 1,
        "project": "toy",
        "modality": "mr",
        "classes": [{"id": 2, "name": "b", "colour": "#ff0000"}],
        "images": images,
        "parent_round": None,
        "settings": TrainSettings().to_dict(),
    } | changes
    (folder / "inputs.json").write_text(json.dumps(content))


def volume(planes, seed=0):
    data = np.random.default_rng(seed).integers(1, 200, (planes, 20, 30)).astype(np.uint8)
    data[0] = 7  # the empty end of a volume
    return data


def partly_labelled(shape, planes):
    label = np.full(shape, 255, np.uint8)
    label[planes] = 0
    label[planes, 5:9, 4:8] = 2
    return label


def test_planes_are_labelled_where_anything_is_annotated(tmp_path):
    data = volume(12)
    label = partly_labelled(data.shape, [0, 3, 7])
    images = [image_entry(tmp_path, "v", data, label), image_entry(tmp_path, "w", volume(9, 1))]
    write_inputs(tmp_path, images)
    inputs = read_inputs(tmp_path)
    assert inputs.class_ids == (2,)
    labelled, unlabelled = load_planes(inputs.images, 100)
    assert [p.name for p in labelled] == ["v:3", "v:7"]  # plane 0 is constant
    np.testing.assert_array_equal(labelled[0].pixels, data[3])
    np.testing.assert_array_equal(labelled[0].label, label[3])
    assert {p.name for p in unlabelled} == {
        *(f"v:{i}" for i in range(1, 12) if i not in (3, 7)),
        *(f"w:{i}" for i in range(1, 9)),
    }
    assert all((p.label == 255).all() for p in unlabelled)
    few = load_planes(inputs.images, 4)[1]
    assert len(few) == 4 and {p.image for p in few} == {"v", "w"}
    assert load_planes(inputs.images, 0)[1] == []


def test_training_sees_the_scan_through_the_project_s_window(tmp_path):
    data = volume(6)
    data[2] = np.where(data[2] > 100, 200, 150)  # all of it above the window
    label = partly_labelled(data.shape, [2, 3])
    write_inputs(tmp_path, [image_entry(tmp_path, "v", data, label)], window="brain")
    inputs = read_inputs(tmp_path)
    assert inputs.window == PRESETS["brain"]
    labelled, unlabelled = load_planes(inputs.images, 100, inputs.window)
    assert [p.name for p in labelled] == ["v:3"]  # plane 2 is constant in the window
    for plane in (*labelled, *unlabelled):
        np.testing.assert_allclose(plane.pixels, np.clip(data[plane.index] / 80, 0, 1), atol=1e-6)
    with pytest.raises(InputError, match="constant in the window Level/width 5000/10"):
        load_planes(inputs.images, 0, parse_window("5000/10"))


def test_changed_or_missing_files_are_refused(tmp_path):
    data = volume(4)
    write_inputs(tmp_path, [image_entry(tmp_path, "v", data, partly_labelled(data.shape, [1]))])
    inputs = read_inputs(tmp_path)
    write(tmp_path / "v-label.nii.gz", partly_labelled(data.shape, [2]))
    with pytest.raises(InputError, match="was changed"):
        load_planes(inputs.images, 4)
    (tmp_path / "v-label.nii.gz").unlink()
    with pytest.raises(InputError, match="can't be read"):
        load_planes(inputs.images, 4)


def test_a_label_of_another_shape_is_refused(tmp_path):
    data = volume(4)
    write_inputs(tmp_path, [image_entry(tmp_path, "v", data, partly_labelled((5, 20, 30), [1]))])
    with pytest.raises(InputError, match=r"\(5, 20, 30\)"):
        load_planes(read_inputs(tmp_path).images, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2"),
        ({"images": []}, "no label"),
        ({"settings": {"stepz": 3}}, "stepz"),
        ({"classes": None}, "damaged"),
    ],
)
def test_unusable_inputs_say_why(tmp_path, change, message):
    data = volume(4)
    images = [image_entry(tmp_path, "v", data, partly_labelled(data.shape, [1]))]
    write_inputs(tmp_path, **({"images": images} | change))
    with pytest.raises(InputError, match=message):
        read_inputs(tmp_path)


def test_a_folder_without_inputs_is_no_round(tmp_path):
    with pytest.raises(InputError, match="not the folder of a round"):
        read_inputs(tmp_path)
    (tmp_path / "inputs.json").write_text("{")
    with pytest.raises(InputError, match="not the folder of a round"):
        read_inputs(tmp_path)


def planes(*places):
    blank = np.zeros((4, 4), np.uint8)
    return [TrainPlane(image, image, index, blank, blank) for image, index in places]


def test_whole_cases_are_held_out():
    everything = planes(*((case, i) for case in "abcde" for i in range(3)))
    split = split_planes(everything, 0.4, seed=3)
    held, train = {p.case for p in split.held_out}, {p.case for p in split.train}
    assert split.gated and len(held) == 2 and not held & train
    assert len(split.held_out) + len(split.train) == 15
    assert split_planes(everything, 0.4, seed=3).to_dict() == split.to_dict()
    others = {tuple(split_planes(everything, 0.4, seed=s).to_dict()["held_out"]) for s in range(9)}
    assert len(others) > 1


def test_two_cases_leave_one_to_learn_from():
    split = split_planes(planes(("a", 0), ("b", 0)), 0.9, seed=0)
    assert split.gated and len(split.train) == len(split.held_out) == 1


def test_planes_of_a_single_case_are_held_out_far_from_the_others():
    spread = planes(*(("a", i) for i in (10, 20, 30, 40, 50)))
    split = split_planes(spread, 0.2, seed=0)
    assert split.gated and [p.index for p in split.held_out] == [30]
    assert "One labelled case only" in split.reason
    together = split_planes(planes(*(("a", i) for i in range(10, 16))), 0.2, seed=0)
    assert not together.gated and "neighbours" in together.reason and len(together.train) == 6
    few = split_planes(planes(*(("a", i) for i in (10, 20, 30, 40))), 0.2, seed=0)
    assert not few.gated and "too few" in few.reason and not few.held_out
    assert not split_planes(spread, 0.0, seed=0).gated


def test_class_ids_become_positions():
    label = np.array([[0, 2, 9, 255]], np.uint8)
    assert class_positions(label, (2, 9)).tolist() == [[0, 1, 2, 255]]


def test_label_canvas_is_nearest_and_says_what_is_padding():
    label = np.repeat(np.repeat(np.array([[0, 2, 1]], np.uint8), 10, 0), 10, 1)
    canvas = label_canvas(label, 60)
    assert canvas.shape == (60, 60) and (canvas[20:] == 255).all()
    assert (canvas[:20, :20] == 0).all() and (canvas[:20, 20:40] == 2).all()
    assert (canvas[:20, 40:] == 1).all()


def test_events_are_lines_of_valid_json(tmp_path):
    log = EventLog(tmp_path)
    log.write("progress", loss=float("nan"), dice={"a": float("inf"), "b": 0.5})
    log.message("ä")
    first, second = [
        json.loads(line, parse_constant=pytest.fail)
        for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert first["loss"] is None and first["dice"] == {"a": None, "b": 0.5}
    assert second["text"] == "ä" and second["time"] >= first["time"]


def test_control_cancels_pauses_and_survives_half_written_files(tmp_path):
    control, path = Control(tmp_path, EventLog(tmp_path)), tmp_path / "control.json"
    control.check()
    path.write_text('{"comm')
    control.check()
    path.write_text('{"command": "pause"}')
    resume = threading.Timer(0.4, path.write_text, ['{"command": "run"}'])
    resume.start()
    began = time.monotonic()
    control.check()
    resume.join()
    assert time.monotonic() - began > 0.35 and control.paused_s > 0.3
    path.write_text('{"command": "cancel"}')
    with pytest.raises(Cancelled):
        control.check()
