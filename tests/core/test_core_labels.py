"""Class tables and label arrays."""

from __future__ import annotations

import numpy as np
import pytest

from napari_scsam.core.errors import InputError
from napari_scsam.core.labels import annotated_planes, as_label_array, make_classes

CLASSES = make_classes(["brain", " ventricles "])


def test_classes_are_numbered_and_coloured_in_order() -> None:
    assert [(c.id, c.name) for c in CLASSES] == [(1, "brain"), (2, "ventricles")]
    many = make_classes([str(i) for i in range(254)])
    assert many[-1].id == 254
    assert many[7].colour == many[0].colour != many[1].colour
    for names, message in [
        ([], "at least one"),
        (["a", " "], "at least one"),
        (["a", "b", "a"], "given twice: a"),
        ([str(i) for i in range(255)], "At most 254"),
    ]:
        with pytest.raises(InputError, match=message):
            make_classes(names)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32, np.uint16])
def test_whole_numbers_of_any_type_become_uint8(dtype: type) -> None:
    label = as_label_array(np.eye(3, 4).astype(dtype), (3, 4), CLASSES)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, np.eye(3, 4))


def test_values_are_mapped_before_they_are_checked() -> None:
    given = np.array([[0, 255], [7, 1]])
    label = as_label_array(given, (2, 2), CLASSES, {255: 2, 7: 255})
    np.testing.assert_array_equal(label, [[0, 2], [255, 1]])


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.zeros((2, 3)), r"shape \(2, 3\), but the image has \(2, 2\)"),
        (np.full((2, 2), 0.5), "fractions or NaN"),
        (np.full((2, 2), np.nan), "fractions or NaN"),
        (np.full((2, 2), np.inf), "fractions or NaN"),
        (np.full((2, 2), "a"), "values of <U1"),
        (np.full((2, 2), 3), r"1=brain, 2=ventricles.*also \[3\].*--map 3=1"),
        (np.full((2, 2), -1), r"also \[-1\]"),
        (np.array([[0, 255], [0, 255]]), "--map 255=1"),
    ],
)
def test_what_is_no_label_names_the_fix(label: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_label_array(label, (2, 2), CLASSES)


def test_annotated_planes() -> None:
    label = np.full((4, 3, 3), 255, np.uint8)
    assert annotated_planes(label) == []
    label[1] = 0
    label[3, 2, 2] = 1
    assert annotated_planes(label) == [1, 3]
    assert annotated_planes(label[1]) == [0]
    assert annotated_planes(label[0]) == []
