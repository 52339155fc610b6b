"""A mask's grid against its image's, with numpy's own flips and world coordinates as the truth."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
import tifffile
from nibabel.affines import apply_affine, from_matvec
from scipy.spatial.transform import Rotation

from napari_scsam.core.errors import InputError
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.io import Placing, place, read_label_volume, read_labels, read_volume

if TYPE_CHECKING:
    from napari_scsam.core.volume import Volume

RNG = np.random.default_rng(0)
# Columns, rows, slices, as NIfTI stores them; no two sizes alike.
SHAPE = (9, 8, 5)
VOXELS = RNG.integers(0, 999, SHAPE).astype(np.int16)
MASK = RNG.integers(0, 3, SHAPE).astype(np.uint8)
TURN = Rotation.from_euler("xyz", [0.3, -0.2, 1.0]).as_matrix()
OBLIQUE = from_matvec(TURN @ np.diag([-0.7, 0.9, 2.5]), [10, -200, 33.3])
STRAIGHT = from_matvec(np.diag([-0.8, -0.8, 3.0]), [90, 70, -40])
NAMES = (Path("mask.nii"), "the image")


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Volume:
    return read_volume(save(tmp_path / "image.nii.gz", VOXELS, OBLIQUE))


def stored_otherwise(
    data: np.ndarray, affine: np.ndarray, order: tuple[int, ...], flips: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The same anatomy with its axes in another order, some of them backwards."""
    turned, matrix = data.transpose(order), np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, old in enumerate(order):
        matrix[old, new] = 1
    for axis in flips:
        turned = np.flip(turned, axis)
        matrix[:3, 3] += matrix[:3, axis] * (turned.shape[axis] - 1)
        matrix[:3, axis] *= -1
    return turned, affine @ matrix


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_same_anatomy_stored_otherwise_is_turned_onto_the_image(
    order: tuple[int, ...], image: Volume, tmp_path: Path
) -> None:
    for flips in ([], [0], [1], [2], [0, 1, 2]):
        turned, affine = stored_otherwise(MASK, OBLIQUE, order, tuple(flips))
        # Each voxel of what is stored lies where it lay: said by the affines alone.
        for index in product(*((0, n - 1) for n in turned.shape)):
            world = apply_affine(affine, index)
            old = np.rint(apply_affine(np.linalg.inv(OBLIQUE), world)).astype(int)
            assert turned[index] == MASK[tuple(old)]
        mask = read_label_volume(save(tmp_path / "mask.nii.gz", turned, affine))
        placed = place(mask, image, NAMES)
        np.testing.assert_array_equal(placed.data, MASK.transpose())
        as_stored = order == (0, 1, 2) and not flips
        assert placed.how == ("same" if as_stored else "reoriented")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (from_matvec(np.eye(3), [10, 0, 6]), r"shifted by 11\.7 mm .*\+10, \+0, \+6"),
        (from_matvec(np.eye(3), [0, -0.002, 0]), r"shifted by 0\.002 mm .*-0\.002"),
        (from_matvec(TURN), r"turned by [\d.]+ degrees"),
        (from_matvec(np.diag([1, 1, 1.1])), r"spacing is 3\.3 x 0\.8 x 0\.8 mm, .* 3 x 0\.8"),
        (from_matvec(np.diag([-1, 1, 1])), r"shifted"),
    ],
)
def test_another_place_is_refused_and_the_difference_named(
    change: np.ndarray, says: str, tmp_path: Path
) -> None:
    image = read_volume(save(tmp_path / "image.nii", VOXELS, STRAIGHT))
    mask = read_label_volume(save(tmp_path / "mask.nii", MASK, change @ STRAIGHT))
    with pytest.raises(InputError, match=says) as caught:
        place(mask, image, (tmp_path / "mask.nii", "the image"))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "mask.nii") in str(caught.value)
    assert "--resample" in str(caught.value) and "--same-grid" in str(caught.value)


def test_a_thousandth_of_a_voxel_is_the_same_place(tmp_path: Path) -> None:
    image = read_volume(save(tmp_path / "image.nii", VOXELS, STRAIGHT))
    for shift, same in ((0.0007, True), (0.0009, False)):
        moved = STRAIGHT + from_matvec(np.zeros((3, 3)), [shift, 0, 0]) * [[1], [1], [1], [0]]
        mask = read_label_volume(save(tmp_path / "mask.nii", MASK, moved))
        if same:
            assert place(mask, image, NAMES).how == "same"
            continue
        with pytest.raises(InputError, match=r"shifted by 0\.0009"):
            place(mask, image, NAMES)


def test_a_cropped_mask_is_refused_by_its_shape(image: Volume, tmp_path: Path) -> None:
    cropped = OBLIQUE @ from_matvec(np.eye(3), [1, 0, 0])
    mask = read_label_volume(save(tmp_path / "mask.nii", MASK[1:], cropped))
    with pytest.raises(InputError, match=r"shape \(5, 8, 8\), but the image has \(5, 8, 9\)"):
        place(mask, image, NAMES)
    with pytest.raises(InputError, match=r"shape .*\(5, 8, 9\)"):
        place(mask, image, NAMES, Placing(same_grid=True))
    placed = place(mask, image, NAMES, Placing(resample=True))
    assert placed.how == "resampled"
    np.testing.assert_array_equal(placed.data[..., 1:], MASK[1:].transpose())
    assert (placed.data[..., 0] == NOT_ANNOTATED).all()


def test_resampling_takes_the_nearest_voxel_in_the_world(image: Volume, tmp_path: Path) -> None:
    affine = from_matvec(TURN.T @ np.diag([1.3, 0.6, 2.1]))
    stored = RNG.integers(0, 3, (11, 13, 9)).astype(np.uint8)
    # The middles of the two lie upon each other.
    affine[:3, 3] = apply_affine(OBLIQUE, (4, 3.5, 2)) - apply_affine(affine, (5, 6, 4))
    mask = read_label_volume(save(tmp_path / "mask.nii", stored, affine))
    placed = place(mask, image, NAMES, Placing(resample=True, outside=0))
    back = np.linalg.inv(read_volume(tmp_path / "mask.nii").affine) @ image.affine
    reached = 0
    for index in np.ndindex(SHAPE):
        exact = apply_affine(back, index)
        near = np.floor(exact + 0.5).astype(int)
        inside = (near >= 0).all() and (near < stored.shape).all()
        reached += inside
        assert placed.data[index[::-1]] == (stored[tuple(near)] if inside else 0), exact
    assert image.data.size / 4 < reached < image.data.size


def test_a_mask_that_misses_the_image_is_not_resampled(image: Volume, tmp_path: Path) -> None:
    far = from_matvec(np.eye(3), [500, 0, 0]) @ OBLIQUE
    mask = read_label_volume(save(tmp_path / "mask.nii", MASK, far))
    with pytest.raises(InputError, match="nothing of it lies there"):
        place(mask, image, NAMES, Placing(resample=True))
    assert place(mask, image, NAMES, Placing(same_grid=True)).how == "same-grid"


def test_files_without_geometry_are_compared_by_shape(image: Volume, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "mask.tif", MASK.transpose())
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.tif", like=image), MASK.transpose())
    iio.imwrite(tmp_path / "mask.png", MASK[..., 0])
    with pytest.raises(InputError, match=r"mask\.png .*shape \(9, 8\)"):
        read_labels(tmp_path / "mask.png", like=image)
    # What knew no geometry wrote the identity; an image whose voxels have 1 mm may mean it.
    save(tmp_path / "none.nii", MASK, np.eye(4))
    np.testing.assert_array_equal(read_labels(tmp_path / "none.nii", like=image), MASK.transpose())
    cubes = save(tmp_path / "cubes.nii", VOXELS, from_matvec(np.eye(3), [-90, -126, -72]))
    with pytest.raises(InputError, match="shifted"):
        read_labels(tmp_path / "none.nii", like=read_volume(cubes))


def test_a_tiff_is_compared_by_its_spacing(image: Volume, tmp_path: Path) -> None:
    for slices, same in ((2.5, True), (5.0, False)):
        tifffile.imwrite(
            tmp_path / "mask.tif",
            MASK.transpose(),
            imagej=True,
            resolution=(1 / 0.7, 1 / 0.9),
            metadata={"axes": "ZYX", "spacing": slices, "unit": "mm"},
        )
        if same:
            assert read_labels(tmp_path / "mask.tif", like=image).shape == image.shape
            continue
        with pytest.raises(InputError, match=r"spacing is 5 x 0\.9 x 0\.7 mm.* 2\.5 x 0\.9"):
            read_labels(tmp_path / "mask.tif", like=image)
        mask = read_label_volume(tmp_path / "mask.tif")
        with pytest.raises(InputError, match="does not say where it lies"):
            place(mask, image, NAMES, Placing(resample=True))


def test_flat_pictures_have_a_place_too(tmp_path: Path) -> None:
    flat = from_matvec(np.diag([0.5, 0.6, 1]), [3, 4, 0])
    image = read_volume(save(tmp_path / "image.nii", VOXELS[..., 0], flat))
    turned, affine = stored_otherwise(MASK[..., :1], flat, (1, 0, 2), (0,))
    affine[:, 2] *= 7  # How thick the one slice is does not matter.
    save(tmp_path / "mask.nii", turned[..., 0], affine)
    np.testing.assert_array_equal(
        read_labels(tmp_path / "mask.nii", like=image), MASK[..., 0].transpose()
    )
    affine[0, 3] += 1
    with pytest.raises(InputError, match="shifted by 1 mm"):
        read_labels(save(tmp_path / "mask.nii", turned[..., 0], affine), like=image)


def test_only_one_way_out_may_be_asked_for() -> None:
    with pytest.raises(InputError, match="one of the two"):
        Placing(resample=True, same_grid=True)
