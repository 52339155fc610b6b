"""Geometry, volumes and prompts: shapes, frames and what is refused."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from napari_scsam.core.errors import InputError, ScsamError
from napari_scsam.core.geometry import Plane, affine_from_spacing, as_affine, spacing_of
from napari_scsam.core.prompts import PointPrompt, Prompts, PromptSet, bounding_box, loosened
from napari_scsam.core.volume import Volume, take_plane

STACK = np.arange(2 * 3 * 4).reshape(2, 3, 4)


def test_spacing_and_affine_agree_with_nibabel() -> None:
    affine = affine_from_spacing((3.0, 0.5, 0.25))
    np.testing.assert_array_equal(nib.affines.voxel_sizes(affine), (0.25, 0.5, 3.0))
    assert spacing_of(affine, 3) == (3.0, 0.5, 0.25)
    assert spacing_of(affine_from_spacing((0.5, 0.25)), 2) == (0.5, 0.25)
    oblique = np.array([[0, -0.5, 0, 9], [0.6, 0, 0, 9], [0, 0, -2, 9], [0, 0, 0, 1]])
    assert spacing_of(oblique, 3) == (2.0, 0.5, 0.6)


@pytest.mark.parametrize("value", [np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_an_affine_must_be_usable(value: np.ndarray) -> None:
    with pytest.raises(InputError, match="affine"):
        as_affine(value)


def test_an_affine_is_a_copy() -> None:
    given = np.eye(4)
    taken = as_affine(given)
    given[0, 0] = 7
    assert taken[0, 0] == 1


def test_how_far_planes_lie_apart_is_known_where_the_file_says_so() -> None:
    volume = Volume(STACK, affine_from_spacing((3.0, 0.5, 0.25)), spacing_known=True)
    assert [volume.plane_spacing(axis) for axis in range(3)] == [3.0, 0.5, 0.25]
    assert Volume(STACK, affine_from_spacing((3.0, 0.5, 0.25))).plane_spacing() is None
    assert Volume.from_array(STACK[0], (0.5, 0.25)).plane_spacing() is None


def test_a_volume_can_not_be_changed_and_leaves_the_array_alone() -> None:
    own = STACK.copy()
    volume = Volume(own)
    with pytest.raises(ValueError, match="read-only"):
        volume.data[0, 0, 0] = 1
    own[0, 0, 0] = 5
    assert own.flags.writeable


@pytest.mark.parametrize(
    ("shape", "rgb", "spatial", "planes"),
    [
        ((3, 4), False, (3, 4), 1),
        ((2, 3, 4), False, (2, 3, 4), 2),
        ((3, 4, 3), True, (3, 4), 1),
        ((2, 3, 4, 3), True, (2, 3, 4), 2),
    ],
)
def test_shapes(shape: tuple[int, ...], rgb: bool, spatial: tuple[int, ...], planes: int) -> None:
    volume = Volume.from_array(np.zeros(shape), rgb=rgb)
    assert (volume.shape, volume.ndim, volume.plane_count()) == (spatial, len(spatial), planes)
    assert volume.plane(Plane(0, 0)).shape == spatial[-2:] + ((3,) if rgb else ())
    assert not volume.spacing_known


@pytest.mark.parametrize(
    ("shape", "rgb"), [((3,), False), ((2, 2, 3, 4), False), ((3, 4, 4), True), ((3, 3), True)]
)
def test_shapes_that_are_no_image(shape: tuple[int, ...], rgb: bool) -> None:
    with pytest.raises(InputError, match="got shape"):
        Volume(np.zeros(shape), rgb=rgb)


def test_planes_along_every_axis() -> None:
    for axis, expected in enumerate([STACK[1], STACK[:, 1], STACK[:, :, 1]]):
        np.testing.assert_array_equal(take_plane(STACK, Plane(axis, 1), 3), expected)
    for plane in (Plane(0, 2), Plane(0, -1), Plane(3, 0)):
        with pytest.raises(InputError, match="no plane"):
            take_plane(STACK, plane, 3)
    with pytest.raises(InputError, match="one plane, 0"):
        take_plane(STACK[0], Plane(0, 1), 2)


def test_prompts_are_checked() -> None:
    for arguments, message in [
        ({"points": [(1, 2)]}, "1 points and 0 labels"),
        ({"points": [(1, np.nan)], "labels": [1]}, "finite"),
        ({"points": [(1, 2)], "labels": [2]}, "1 .inside. or 0"),
        ({"box": (1, 2, 3)}, "row0, col0"),
        ({"box": (5, 2, 3, 4)}, "top left"),
        ({"box": (3, 2, 3, 2)}, "no area"),
        ({"mask": np.zeros((2, 2, 2), bool)}, "rows, cols"),
    ]:
        with pytest.raises(InputError, match=message):
            Prompts(**arguments)  # type: ignore[arg-type]
    assert Prompts().is_empty
    assert not Prompts(box=(0, 0, 1, 0)).is_empty


@pytest.mark.parametrize(
    ("prompts", "inside"),
    [
        (Prompts([(-0.5, 3.5)], [1]), True),
        (Prompts([(-0.6, 0)], [1]), False),
        (Prompts([(0, 3.6)], [0]), False),
        (Prompts(box=(-5, -5, 9, 9)), True),
        (Prompts(box=(3, 0, 5, 1)), False),
        (Prompts(mask=np.zeros((3, 4), bool)), True),
        (Prompts(mask=np.zeros((4, 3), bool)), False),
    ],
)
def test_prompts_must_lie_in_the_image_of_3_rows_and_4_columns(
    prompts: Prompts, inside: bool
) -> None:
    if inside:
        prompts.check_inside((3, 4))
    else:
        with pytest.raises(InputError, match="image"):
            prompts.check_inside((3, 4))


def test_a_prompt_set_gives_each_class_its_own_and_drops_the_rejected() -> None:
    prompts = PromptSet(
        points=(
            PointPrompt(1, 2, class_id=1),
            PointPrompt(3, 4, class_id=1, positive=False),
            PointPrompt(5, 6, class_id=2, state="rejected"),
        ),
        boxes={(3, 1): (0, 0, 9, 9)},
    )
    first = prompts.for_object((1, 1), (9, 9))
    assert (first.points, first.labels, first.box) == (((1, 2), (3, 4)), (1, 0), None)
    assert prompts.for_object((2, 1), (9, 9)).is_empty
    assert prompts.for_object((3, 1), (9, 9)).box == (0, 0, 9, 9)
    assert prompts.class_ids() == (1, 3)


def test_a_box_is_loosened_by_a_tenth_of_its_side_and_by_no_more_than_5_of_256_px() -> None:
    shape = (256, 200)
    assert loosened((100, 90, 119, 109), shape) == (98, 88, 121, 111)  # 20 x 20
    assert loosened((100, 90, 109, 129), shape) == (98, 88, 111, 131)  # 10 x 40
    assert loosened((50, 40, 149, 139), shape) == (45, 35, 154, 144)  # 100 x 100
    assert loosened((200, 160, 399, 359), (1024, 512)) == (180, 140, 419, 379)
    assert loosened((1, 0, 255, 198), shape) == (0, 0, 255, 199)


@pytest.mark.parametrize("at", [(0, 0), (0, 3), (2, 3), (1, 1)])
def test_a_loosened_box_has_an_area_even_of_one_pixel(at: tuple[int, int]) -> None:
    mask = np.zeros((3, 4), bool)
    mask[at] = True
    asked = Prompts(box=loosened(bounding_box(mask), (3, 4)))
    asked.check_inside((3, 4))


def test_every_error_of_a_value_is_the_users_and_a_value_error() -> None:
    assert issubclass(InputError, ScsamError)
    assert issubclass(InputError, ValueError)
