"""inputs.json, planes, events and control."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest

from napari_scsam.core.errors import Cancelled, InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings
from napari_scsam.core.volume import Volume
from napari_scsam.core.windows import PRESETS, parse_window
from napari_scsam.io import write_labels
from scsam_train.config import read_inputs
from scsam_train.data import all_alike, class_positions, load_planes
from scsam_train.data import read_image as load
from scsam_train.embedded_views import label_canvas
from scsam_train.log import Control, EventLog
from scsam_train.splitting import choose_unlabelled, split_planes

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, array: np.ndarray) -> dict[str, str]:
    write_labels(path, array, Volume.from_array(array))
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def image_entry(
    folder: Path, name: str, array: np.ndarray, label: Any = None, case: str | None = None
) -> dict[str, Any]:
    entry = {"id": name, "case": case or name, "shape": list(array.shape), "rgb": False}
    entry |= write(folder / f"{name}.nii.gz", array)
    entry["label"] = None if label is None else write(folder / f"{name}-label.nii.gz", label)
    return entry


def write_inputs(folder: Path, images: Any, **changes: Any) -> None:
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


def volume(planes: Any, seed: int = 0) -> np.ndarray:
    data = np.random.default_rng(seed).integers(1, 200, (planes, 20, 30)).astype(np.uint8)
    data[0] = 7  # the empty end of a volume
    return data


def partly_labelled(shape: tuple[int, ...], planes: Any) -> np.ndarray:
    label = np.full(shape, 255, np.uint8)
    label[planes] = 0
    label[planes, 5:9, 4:8] = 2
    return label


def test_planes_are_labelled_where_anything_is_annotated(tmp_path: Path) -> None:
    data = volume(12)
    label = partly_labelled(data.shape, [0, 3, 7])
    images = [image_entry(tmp_path, "v", data, label), image_entry(tmp_path, "w", volume(9, 1))]
    write_inputs(tmp_path, images)
    inputs = read_inputs(tmp_path)
    assert inputs.class_ids == (2,)
    labelled, unlabelled = load_planes(inputs, 100)
    assert [p.name for p in labelled] == ["v:3", "v:7"]  # plane 0 is constant
    np.testing.assert_array_equal(labelled[0].pixels, data[3])
    np.testing.assert_array_equal(labelled[0].label, label[3])
    assert {p.name for p in unlabelled} == {
        *(f"v:{i}" for i in range(1, 12) if i not in (3, 7)),
        *(f"w:{i}" for i in range(1, 9)),
    }
    assert all((p.label == 255).all() for p in unlabelled)
    few = choose_unlabelled(load_planes(inputs, 4)[1], split_planes(labelled, 0, 0), 4)
    assert len(few) == 4 and {p.image for p in few} == {"v", "w"}
    assert load_planes(inputs, 0)[1] == []


def test_training_sees_the_scan_through_the_project_s_window(tmp_path: Path) -> None:
    data = volume(6)
    data[2] = np.where(data[2] > 100, 200, 150)  # all of it above the window
    label = partly_labelled(data.shape, [2, 3])
    write_inputs(tmp_path, [image_entry(tmp_path, "v", data, label)], window="brain")
    inputs = read_inputs(tmp_path)
    assert inputs.window == PRESETS["brain"]
    labelled, unlabelled = load_planes(inputs, 100)
    assert [p.name for p in labelled] == ["v:3"]  # plane 2 is constant in the window
    for plane in (*labelled, *unlabelled):
        np.testing.assert_allclose(plane.pixels, np.clip(data[plane.index] / 80, 0, 1), atol=1e-6)
    with pytest.raises(InputError, match="constant in the window Level/width 5000/10"):
        load_planes(replace(inputs, window=parse_window("5000/10")), 0)


def test_thousands_of_images_are_not_read_for_a_few_planes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = volume(4)
    images = [image_entry(tmp_path, "v", data, partly_labelled(data.shape, [1]))]
    rest = image_entry(tmp_path, "w", volume(1, 1) + np.arange(30, dtype=np.uint8))
    images += [rest | {"id": f"w{i:04}", "case": f"w{i:04}"} for i in range(2000)]
    write_inputs(tmp_path, images)
    inputs = read_inputs(tmp_path)
    read = []
    monkeypatch.setattr("scsam_train.data.read_image", lambda i: read.append(i.id) or load(i))
    labelled, others = load_planes(inputs, 6)
    assert len(labelled) == 1 and len(read) == 1 + 2 * 6
    found = choose_unlabelled(others, split_planes(labelled, 0, 0), 6)
    assert len(found) == 6
    # From all over the list, the first and the last included.
    numbers = [int(p.image[1:]) for p in others if p.image != "v"]
    assert min(numbers) < 200 and max(numbers) > 1800
    read.clear()
    assert load_planes(inputs, 0)[1] == [] and read == ["v"]


def test_changed_or_missing_files_are_refused(tmp_path: Path) -> None:
    data = volume(4)
    write_inputs(tmp_path, [image_entry(tmp_path, "v", data, partly_labelled(data.shape, [1]))])
    inputs = read_inputs(tmp_path)
    write(tmp_path / "v-label.nii.gz", partly_labelled(data.shape, [2]))
    with pytest.raises(InputError, match="was changed"):
        load_planes(inputs, 4)
    (tmp_path / "v-label.nii.gz").unlink()
    with pytest.raises(InputError, match="can't be read"):
        load_planes(inputs, 4)


def test_a_label_of_another_shape_is_refused(tmp_path: Path) -> None:
    data = volume(4)
    write_inputs(tmp_path, [image_entry(tmp_path, "v", data, partly_labelled((5, 20, 30), [1]))])
    with pytest.raises(InputError, match=r"\(5, 20, 30\)"):
        load_planes(read_inputs(tmp_path), 4)


def one_volume(folder: Path, label: Any, **changes: Any) -> Any:
    """inputs.json of one volume with this label, read."""
    write_inputs(folder, [image_entry(folder, "v", volume(len(label)), label)], **changes)
    return read_inputs(folder)


def test_values_that_are_no_class_are_refused_by_image_and_value(tmp_path: Path) -> None:
    label = partly_labelled((4, 20, 30), [1, 2])
    label[2, 0, :3] = (3, 9, 3)
    message = r"v\.nii\.gz \(image v\) holds \[3, 9\].*2=b;.*--map 3=2"
    with pytest.raises(InputError, match=message) as caught:
        load_planes(one_volume(tmp_path, label), 4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [-1, 256, 258])
def test_values_that_fit_no_byte_are_not_wrapped_into_classes(tmp_path: Path, value: int) -> None:
    label = partly_labelled((4, 20, 30), [1])
    inputs = one_volume(tmp_path, label)
    wide = label.astype(np.int16)
    wide[1, 0, 0] = value
    path = inputs.images[0].label.path
    nib.save(nib.Nifti1Image(wide.transpose(2, 1, 0), np.eye(4)), path)
    content = json.loads((tmp_path / "inputs.json").read_text())
    content["images"][0]["label"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "inputs.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"v\.nii\.gz has values .*{value}.*labels are 0 to 255"):
        load_planes(read_inputs(tmp_path), 4)


def test_labels_without_any_object_have_nothing_to_segment(tmp_path: Path) -> None:
    label = np.full((4, 20, 30), 255, np.uint8)
    label[1:3] = 0
    inputs = one_volume(tmp_path, label)
    with pytest.raises(InputError, match=r"nothing to segment: all 2 .*Commit one slice.*\(b\)"):
        load_planes(inputs, 4)


def test_a_slice_that_is_not_annotated_is_no_labelled_one(tmp_path: Path) -> None:
    nothing = np.full((4, 20, 30), 255, np.uint8)
    with pytest.raises(InputError, match="nothing is annotated"):
        load_planes(one_volume(tmp_path, nothing), 4)
    scribbles = nothing.copy()
    scribbles[1, 5, 4:9], scribbles[3, 8, 2:4] = 2, 0
    labelled, unlabelled = load_planes(one_volume(tmp_path, scribbles), 4)
    assert [p.name for p in labelled] == ["v:1", "v:3"]
    np.testing.assert_array_equal(labelled[0].label, scribbles[1])
    assert [p.name for p in unlabelled] == ["v:2"]


def test_a_scribbled_slice_teaches_beside_whole_ones_and_lines_from_other_planes_do_not(
    tmp_path: Path,
) -> None:
    label = np.full((4, 20, 30), 255, np.uint8)
    label[:, 7], label[:, :, 3] = 2, 0  # a coronal and a sagittal slice
    label[1] = 0
    label[1, 4:9, 4:9] = 2
    label[3, 10, 12:17] = 2
    labelled, unlabelled = load_planes(one_volume(tmp_path, label), 4)
    assert [p.name for p in labelled] == ["v:1", "v:3"]
    np.testing.assert_array_equal(labelled[1].label, label[3])
    assert [p.name for p in unlabelled] == ["v:2"]


def test_slices_that_all_show_the_same_are_noticed(tmp_path: Path) -> None:
    data = np.repeat(volume(2)[1:], 3, axis=0)
    label = partly_labelled(data.shape, [1])
    write_inputs(tmp_path, [image_entry(tmp_path, "v", data, label)])
    same = load_planes(read_inputs(tmp_path), 4)
    assert all_alike([*same[0], *same[1]])
    assert not all_alike(same[0])  # one alone is no repetition
    other = load_planes(one_volume(tmp_path, partly_labelled((4, 20, 30), [1, 2])), 4)
    assert not all_alike(other[0])


def test_neighbours_come_with_a_grey_volume_s_slices_in_the_same_window(tmp_path: Path) -> None:
    inputs = one_volume(tmp_path, partly_labelled((5, 20, 30), [1, 2]), window="brain")
    alone, _ = load_planes(inputs, 4)
    assert all(plane.around is None for plane in alone)
    labelled, unlabelled = load_planes(inputs, 9, neighbours=True)
    by_index = {plane.index: plane for plane in (*labelled, *unlabelled)}
    before, after = by_index[2].around
    np.testing.assert_array_equal(before, by_index[1].pixels)
    np.testing.assert_array_equal(after, by_index[3].pixels)
    before, after = by_index[4].around  # the last one: nothing after it
    np.testing.assert_array_equal(before, by_index[3].pixels)
    np.testing.assert_array_equal(after, by_index[4].pixels)


def test_pictures_and_colours_have_no_neighbours(tmp_path: Path) -> None:
    picture = image_entry(tmp_path, "p", volume(4)[1], np.full((20, 30), 2, np.uint8))
    write_inputs(tmp_path, [picture])
    (plane,), _ = load_planes(read_inputs(tmp_path), 4, neighbours=True)
    assert plane.around is None
    colours = Volume.from_array(np.random.default_rng(0).random((4, 20, 30, 3)), rgb=True)
    assert PRESETS["brain"].around(colours, Plane(0, 1)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2"),
        ({"images": []}, "no label"),
        ({"settings": {"stepz": 3}}, "stepz"),
        ({"classes": None}, "damaged"),
        ({"held_out": ["w"]}, r"no image w to hold out; there are v \(v.nii.gz\)"),
        ({"held_out": ["v"]}, "Every labelled image is held out"),
        ({"held_out": 3}, "damaged"),
    ],
)
def test_unusable_inputs_say_why(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    data = volume(4)
    images = [image_entry(tmp_path, "v", data, partly_labelled(data.shape, [1]))]
    write_inputs(tmp_path, **({"images": images} | change))
    with pytest.raises(InputError, match=message):
        read_inputs(tmp_path)


def test_a_folder_without_inputs_is_no_round(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the folder of a round"):
        read_inputs(tmp_path)
    (tmp_path / "inputs.json").write_text("{")
    with pytest.raises(InputError, match="not the folder of a round"):
        read_inputs(tmp_path)


def test_class_ids_become_positions() -> None:
    label = np.array([[0, 2, 9, 255]], np.uint8)
    assert class_positions(label, (2, 9)).tolist() == [[0, 1, 2, 255]]


def test_label_canvas_is_nearest_and_says_what_is_padding() -> None:
    label = np.repeat(np.repeat(np.array([[0, 2, 1]], np.uint8), 10, 0), 10, 1)
    canvas = label_canvas(label, 60)
    assert canvas.shape == (60, 60) and (canvas[20:] == 255).all()
    assert (canvas[:20, :20] == 0).all() and (canvas[:20, 20:40] == 2).all()
    assert (canvas[:20, 40:] == 1).all()


def test_events_are_lines_of_valid_json(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.write("progress", loss=float("nan"), dice={"a": float("inf"), "b": 0.5})
    log.message("ä")
    first, second = [
        json.loads(line, parse_constant=pytest.fail)
        for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert first["loss"] is None and first["dice"] == {"a": None, "b": 0.5}
    assert second["text"] == "ä" and second["time"] >= first["time"]


def test_control_cancels_pauses_and_survives_half_written_files(tmp_path: Path) -> None:
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
