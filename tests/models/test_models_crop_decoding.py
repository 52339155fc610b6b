"""Small objects of large planes come back at the plane's own sharpness."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from napari_scsam.core.errors import InputError
from napari_scsam.core.prompts import Prompts
from napari_scsam.models import Decoded, Embedding, EmbeddingCache, decode_region, open_cache
from napari_scsam.models.crop_decoding import MIN_GAIN, Region, choose_region
from napari_scsam.models.embeddings import embedding_key

if TYPE_CHECKING:
    from napari_scsam.core.jobs import CancelToken
    from napari_scsam.models.sam import SamModel

CENTRE = (1210, 2730)


@pytest.fixture(scope="module")
def micrograph() -> tuple[np.ndarray, np.ndarray, EmbeddingCache]:
    """A colour picture of 3,000 x 4,000 with one disc of 60 pixels that has a fine notch."""
    rng = np.random.default_rng(0)
    shape = (3000, 4000)
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    r, c = rows - CENTRE[0], cols - CENTRE[1]
    truth = (r**2 + c**2 <= 30**2) & ~((np.abs(r) <= 4) & (c > 0))
    grey = np.tile(rng.integers(60, 81, (300, 400)).astype(np.float32), (10, 10))
    grey += 30 * np.sin(rows / 300) * np.cos(cols / 500)
    picture = np.empty((*shape, 3), np.uint8)
    for channel, (light, stain) in enumerate(((1, 90), (0.8, 20), (0.7, 10))):
        picture[..., channel] = np.clip(grey * light + stain * truth, 0, 255)
    return picture, truth, open_cache()


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def mean_boundary_distance(mask: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance in pixels of each outline to the other, near the object."""
    at = (slice(CENTRE[0] - 200, CENTRE[0] + 200), slice(CENTRE[1] - 200, CENTRE[1] + 200))
    edges = [m[at] ^ ndimage.binary_erosion(m[at]) for m in (mask, truth)]
    away = [ndimage.distance_transform_edt(~edge) for edge in edges]
    return float(np.mean([away[1][edges[0]].mean(), away[0][edges[1]].mean()]))


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(box=(CENTRE[0] - 31, CENTRE[1] - 31, CENTRE[0] + 31, CENTRE[1] + 31)),
        Prompts([(CENTRE[0] + 15, CENTRE[1] - 5)], [1]),
    ],
    ids=["box", "click"],
)
def test_a_small_object_comes_back_sharp(
    lite: SamModel, micrograph: tuple[np.ndarray, np.ndarray, EmbeddingCache], prompts: Prompts
) -> None:
    picture, truth, cache = micrograph
    embedding = cache.get_or_embed(lite, picture)
    coarse = lite.decode(embedding, prompts).mask
    found = decode_region(lite, cache, picture, embedding, prompts)
    assert found.mask.shape == found.logits.shape == truth.shape
    assert np.array_equal(found.mask, found.logits > 0)
    assert dice(coarse, truth) < 0.6  # 15 pixels of the plane are one of the coarse mask's
    assert dice(found.mask, truth) > 0.93
    assert mean_boundary_distance(found.mask, truth) < 2
    assert mean_boundary_distance(coarse, truth) > 8


class Watching:
    """A SAM of 64 pixels whose object is what is brighter than 0.5; notes what it is asked."""

    name, device, understands_points, base_hash = "lite-medsam", "cpu", True, "base"
    side = 64

    def __init__(self) -> None:
        self.embedded: list[tuple[int, ...]] = []
        self.asked: list[Prompts] = []

    def embedding_key(self, image: np.ndarray) -> str:
        return embedding_key(image, self.base_hash)

    def embed(self, image: np.ndarray, cancel: CancelToken | None = None) -> Embedding:
        self.embedded.append(image.shape)
        scale = self.side / max(image.shape)
        rows, cols = (
            ((np.arange(round(n * scale)) + 0.5) / scale).astype(int) for n in image.shape
        )
        return Embedding(image, image.shape, image[np.ix_(rows, cols)], self.embedding_key(image))

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        prompts.check_inside(embedding.shape)
        self.asked.append(prompts)
        seen = embedding.view if embedding.shape == embedding.view.shape else embedding.features
        logits = np.where(seen > 0.5, 4.0, -4.0).astype(np.float32)
        return Decoded(logits > 0, logits, 0.9)


def scene(
    top: int, left: int, rows: int, cols: int, shape: tuple[int, ...] = (640, 480)
) -> np.ndarray:
    image = np.zeros(shape, np.float32)
    image[top : top + rows, left : left + cols] = 1
    return image


def decoded(
    image: np.ndarray, prompts: Prompts, sam: Watching | None = None
) -> tuple[Decoded, Watching]:
    sam = sam or Watching()
    cache = open_cache()
    return decode_region(sam, cache, image, cache.get_or_embed(sam, image), prompts), sam


def test_a_region_twice_the_object_is_embedded_once_for_all_clicks() -> None:
    image = scene(300, 200, 40, 60)
    cache, sam = open_cache(), Watching()
    embedding = cache.get_or_embed(sam, image)
    for place in ((310, 210), (320, 240), (330, 255)):
        found = decode_region(sam, cache, image, embedding, Prompts([place], [1]))
        assert np.array_equal(found.mask, image > 0.5)
    assert sam.embedded == [image.shape, (128, 128)]


def test_prompts_are_moved_into_the_region_and_those_far_away_left_out() -> None:
    image = scene(300, 200, 40, 60)
    mask = image > 0.5
    prompts = Prompts([(310, 210), (20, 20)], [1, 0], (299, 199, 340, 260), mask)
    found, sam = decoded(image, prompts)
    (asked,) = sam.asked  # a box or a mask tells the extent: nothing is asked of the plane
    assert asked.labels == (1,)
    corner = np.array([310, 210]) - asked.points[0]
    row, col = corner.astype(int)
    assert np.array_equal(asked.mask, mask[row : row + 128, col : col + 128])
    assert asked.box == (299 - corner[0], 199 - corner[1], 340 - corner[0], 260 - corner[1])
    assert np.array_equal(found.mask, mask)


def test_an_object_that_vanishes_is_looked_for_round_the_click() -> None:
    image = scene(301, 201, 4, 4)  # between the coarse grid's pixels, 10 apart
    found, sam = decoded(image, Prompts([(302, 202)], [1]))
    assert sam.embedded == [image.shape, (64, 64)]
    assert np.array_equal(found.mask, image > 0.5)


def test_an_object_that_goes_on_beyond_its_box_gets_a_larger_region() -> None:
    image = scene(300, 200, 30, 150)
    found, sam = decoded(image, Prompts(box=(300, 200, 329, 229)))
    assert [shape[0] for shape in sam.embedded[1:]] == sorted(s[0] for s in sam.embedded[1:])
    assert len(sam.embedded) > 2
    assert np.array_equal(found.mask, image > 0.5)


def test_a_large_object_is_decoded_on_the_plane() -> None:
    image = scene(100, 100, 400, 300)
    found, sam = decoded(image, Prompts([(200, 200)], [1]))
    assert sam.embedded == [image.shape]
    assert dice(found.mask, image > 0.5) > 0.97


def test_a_plane_not_much_larger_than_the_input_is_decoded_as_ever() -> None:
    image = scene(30, 30, 8, 8, shape=(95, 90))
    found, sam = decoded(image, Prompts([(33, 33)], [1]))
    assert sam.embedded == [image.shape]
    assert np.array_equal(found.mask, image > 0.5)


def test_a_region_of_one_value_leaves_the_plane_s_answer() -> None:
    image = scene(300, 200, 40, 60)
    found, sam = decoded(image, Prompts(box=(20, 20, 40, 40)))
    assert sam.embedded == [image.shape]
    assert dice(found.mask, image > 0.5) > 0.8


def test_clicks_outside_alone_choose_no_region() -> None:
    found, sam = decoded(scene(300, 200, 40, 60), Prompts([(1, 1)], [0]))
    assert sam.embedded == [(640, 480)]
    assert found.mask.any()


def test_prompts_outside_the_plane_are_refused() -> None:
    with pytest.raises(InputError, match="outside the image"):
        decoded(scene(300, 200, 40, 60), Prompts([(700, 20)], [1]))


@pytest.mark.parametrize("seed", range(20))
def test_regions_hold_their_object_and_lie_in_the_plane(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(300, 4000, 2))
    r0, c0 = (float(rng.uniform(0, n - 2)) for n in shape)
    extent = (r0, c0, min(r0 + rng.uniform(1, 200), shape[0] - 1), c0 + 1)
    region = choose_region(extent, shape, 256)
    assert region == choose_region(extent, shape, 256)
    if region is None:
        assert max(shape) < MIN_GAIN * 2 * (extent[2] - r0 + 1) * 2**0.5 or max(shape) < 384
        return
    assert 0 <= region.row <= shape[0] - region.rows
    assert 0 <= region.col <= shape[1] - region.cols
    assert region.holds(extent[:2]) and region.holds(extent[2:])
    assert max(region.rows, region.cols) * MIN_GAIN <= max(shape)
    larger = choose_region(extent, shape, 256, max(region.rows, region.cols))
    assert larger is None or larger.rows > region.rows or larger.cols > region.cols


def test_a_small_move_keeps_the_region() -> None:
    extent = (1000.0, 1000.0, 1100.0, 1100.0)
    moved = (1003.0, 998.0, 1103.0, 1104.0)
    assert choose_region(extent, (3000, 4000), 256) == choose_region(moved, (3000, 4000), 256)


def test_a_region_knows_its_edges() -> None:
    region = Region(10, 20, 30, 40)
    assert region.holds((9.5, 59.5)) and not region.holds((9.4, 30)) and not region.holds((20, 60))
    assert np.zeros((100, 100))[region.slices].shape == (30, 40)
    assert replace(region, row=0).slices[0] == slice(0, 30)
