"""The way into SAM's frame and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from napari_scsam.core.errors import InputError
from napari_scsam.models.preprocess import Frame, check_plane, normalise, prepare

if TYPE_CHECKING:
    from napari_scsam.core.arrays import Pixels

SHAPES = [(150, 240), (400, 90), (33, 32), (2, 1000), (1500, 1100)]


@pytest.mark.parametrize("size", [256, 1024])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_corners_of_the_plane_are_the_corners_of_its_part_of_the_square(
    shape: tuple[int, ...], size: int
) -> None:
    frame = Frame(shape, size)
    h, w = frame.resized
    assert max(h, w) == size
    # Half a pixel outside the first and last centres lie the edges, in both frames.
    edges = [(-0.5, -0.5), (shape[0] - 0.5, shape[1] - 0.5)]
    assert frame.to_xy(edges) == pytest.approx(np.array([(-0.5, -0.5), (w - 0.5, h - 0.5)]))


@pytest.mark.parametrize("shape", SHAPES)
def test_there_and_back(shape: tuple[int, ...]) -> None:
    frame = Frame(shape, 256)
    points = np.random.default_rng(0).uniform(-0.5, np.array(shape) - 0.5, (50, 2))
    scale = np.array(frame.resized) / shape[:2]
    back = (frame.to_xy(points)[:, ::-1] + 0.5) / scale - 0.5
    assert back == pytest.approx(points, abs=2e-3)


def test_a_picture_of_the_frames_size_is_left_where_it_is() -> None:
    frame = Frame((256, 100), 256)
    assert frame.to_xy([(17, 3)]).tolist() == [[3, 17]]
    assert frame.box_to_xyxy((4, 5, 60, 70)).tolist() == [5, 4, 70, 60]


def test_a_box_that_leaves_the_plane_is_cut_to_it() -> None:
    assert Frame((256, 100), 256).box_to_xyxy((-9, -9, 300, 300)).tolist() == [0, 0, 99, 255]


@pytest.mark.parametrize("size", [256, 1024])
@pytest.mark.parametrize("shape", [(150, 240), (400, 90), (700, 900)])
def test_a_mask_survives_the_way_there_and_back(shape: tuple[int, ...], size: int) -> None:
    rows, cols = np.indices(shape)
    mask = np.hypot(rows - shape[0] * 0.3, cols - shape[1] * 0.7) < min(shape) * 0.2
    frame = Frame(shape, size)
    low = frame.mask_to_input(mask, 256)
    assert low.shape == (1, 1, 256, 256)
    back = frame.logits_to_plane(low)[0, 0].numpy() > 0
    assert (back & mask).sum() / (back | mask).sum() > 0.96
    # Not shifted: the centres agree to a tenth of a low-resolution pixel.
    off = np.argwhere(back).mean(axis=0) - np.argwhere(mask).mean(axis=0)
    assert np.abs(off).max() < 0.1 * max(shape) / 256


def test_the_padding_of_a_mask_prompt_is_outside() -> None:
    low = Frame((100, 50), 256).mask_to_input(np.ones((100, 50), bool), 256)
    assert (low[..., :128] == 8).all()
    assert (low[..., 128:] == -8).all()


def test_mask_logits_are_limited_and_must_be_finite() -> None:
    frame = Frame((256, 256), 256)
    low = frame.mask_to_input(np.full((256, 256), 50, np.float32), 256)
    assert low.max() == 8
    with pytest.raises(InputError, match="NaN"):
        frame.mask_to_input(np.full((256, 256), np.nan, np.float32), 256)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", ">f4", "u4"])
def test_every_dtype_is_seen_the_same(dtype: str) -> None:
    ramp = np.tile(np.arange(100, dtype="f8"), (60, 1))
    reference = normalise(ramp)
    assert normalise(ramp.astype(dtype)) == pytest.approx(reference, abs=1e-6)
    assert (reference.min(), reference.max()) == (0, 1)


def test_a_large_offset_does_not_wash_out_the_picture() -> None:
    ramp = np.tile(np.arange(100, dtype="f8"), (60, 1))
    assert normalise(ramp + 1e9) == pytest.approx(normalise(ramp), abs=1e-6)


def test_outliers_are_cut_and_colours_stretched_together() -> None:
    image = np.random.default_rng(0).uniform(0, 1, (80, 80, 3))
    image[..., 2] *= 0.5
    image[0, 0] = 1e6
    unit = normalise(image)
    assert unit[..., 0].mean() == pytest.approx(0.5, abs=0.03)
    assert unit[..., 2].mean() == pytest.approx(0.25, abs=0.03)


def test_a_few_bright_pixels_on_one_grey_stay_visible() -> None:
    image = np.zeros((200, 200))
    image[50, 60] = 3
    assert normalise(image)[50, 60] == 1


def test_prepared_pixels_are_as_the_backbones_were_trained() -> None:
    rgb = astronaut()[:300]
    unit = prepare(rgb, 256, "unit")
    h, w = unit.frame.resized
    assert (h, w) == (150, 256)
    inner = unit.pixels[:, :h]
    assert (float(inner.min()), float(inner.max())) == (0, 1)
    assert not unit.pixels[:, h:].any()
    assert unit.view.shape == (h, w)
    sam = prepare(rgb, 256, "sam").pixels[:, :h]
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    assert torch.allclose(sam * std + mean, inner * 255, atol=1e-3)


def test_grey_becomes_three_equal_channels() -> None:
    pixels = prepare(astronaut()[..., 0], 256, "unit").pixels
    assert torch.equal(pixels[0], pixels[1])
    assert torch.equal(pixels[0], pixels[2])


RAMP = np.arange(60.0).reshape(6, 10)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((4, 5, 6)), "rows, cols"),
        (np.zeros(9), "rows, cols"),
        (np.zeros((4, 5, 4)), "rows, cols"),
        (RAMP[:1], "too thin"),
        (np.where(RAMP == 3, np.nan, RAMP), "NaN"),
        (np.where(RAMP == 3, np.inf, RAMP), "infinite"),
        (np.full((9, 9), 7), "All pixels"),
        (RAMP.astype(complex), "real numbers"),
        (RAMP.astype(str), "real numbers"),
    ],
)
def test_what_cannot_be_seen_is_refused_in_one_line(image: Pixels, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        check_plane(image)
    assert "\n" not in str(caught.value)
