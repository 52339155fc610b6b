"""Random views: image and labels alike, never the same twice, always the same again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_scsam.core.settings import TrainSettings
from scsam_train.augment import Augmenter
from scsam_train.batches import Batch
from scsam_train.cutmix import cutmix


def augmenter(stream: int = 0, **settings: Any) -> Augmenter:
    return Augmenter(TrainSettings(**settings), stream)


def scene(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    label = torch.zeros((count, 64, 64), dtype=torch.uint8)
    label[:, 10:30, 35:50] = 2
    label[:, 40:50, 5:20] = 255
    return (label == 2).float()[:, None].repeat(1, 3, 1, 1), label


@pytest.mark.parametrize("turn", [False, True])
def test_image_and_label_move_alike_and_what_comes_in_is_unknown(turn: bool) -> None:
    image, label = scene()
    moved, moved_label = augmenter(turn=turn).move(image, label, 0)
    assert set(moved_label.unique().tolist()) == {0, 2, 255}
    inside = moved_label != 255
    alike = ((moved[:, 0] > 0.5) == (moved_label == 2))[inside].float().mean()
    assert alike > 0.99
    assert not torch.equal(moved_label[0], moved_label[1])
    assert (moved_label == 255).sum() > (label == 255).sum() * 0.5
    everywhere = augmenter(turn=turn).move(image, torch.zeros_like(label), 0)[1]
    assert (everywhere == 255).any()  # from outside of the canvas


def test_a_number_gives_the_same_views_again_and_no_other_number_does() -> None:
    image, label = scene()
    first, again = augmenter(seed=3), augmenter(seed=3)
    for number in (5, 1):  # in any order: a resumed round goes on where it was
        assert torch.equal(first.move(image, label, number)[0], again.move(image, label, number)[0])
        assert torch.equal(first.strong(image, number), again.strong(image, number))
        assert torch.equal(first.distorted(image, number), again.distorted(image, number))
    views = [first.move(image, label, n)[0] for n in range(20)]
    views += [
        augmenter(seed=4).move(image, label, 0)[0],
        augmenter(1, seed=3).move(image, label, 0)[0],
    ]
    assert len({view.numpy().tobytes() for view in views}) == len(views)


def test_drawing_leaves_torchs_own_stream_alone() -> None:
    image, label = scene()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    augmenter().move(image, label, 0)
    augmenter().strong(image, 0)
    assert torch.equal(torch.rand(3), expected)


def area(moved: torch.Tensor) -> torch.Tensor:
    return moved[:, 0].flatten(1).sum(1)


def test_turning_and_mirroring_are_settings() -> None:
    corner = torch.zeros((64, 3, 64, 64))
    corner[:, :, 28:36, 44:60] = 1  # to the right of the middle
    blank = torch.zeros((64, 64, 64), dtype=torch.uint8)
    upright = augmenter(mirror=False).move(corner, blank, 0)[0][:, 0]
    assert (upright[:, :, 32:].flatten(1).sum(1) > upright[:, :, :32].flatten(1).sum(1)).all()
    mirrored = augmenter(mirror=True).move(corner, blank, 0)[0][:, 0]
    left = mirrored[:, :, :32].flatten(1).sum(1) > mirrored[:, :, 32:].flatten(1).sum(1)
    assert 16 < int(left.sum()) < 48
    turned = augmenter(mirror=False, turn=True).move(corner, blank, 0)[0][:, 0]
    top = turned[:, :32].flatten(1).sum(1) > turned[:, 32:].flatten(1).sum(1)
    assert 16 < int(top.sum()) < 48


def test_intensities_differ_stay_in_range_and_keep_padding_black() -> None:
    image = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    image = image.repeat(8, 1, 1, 1)
    image[:, :, 20:] = 0
    views = augmenter()
    mild, strong = views.mild(image, 0), views.strong(image, 0)
    for out in (mild, strong):
        assert out.min() >= 0 and out.max() <= 1 and (out[:, :, 20:] == 0).all()
        assert len({one.numpy().tobytes() for one in out}) > 4
    assert (strong - image).abs().mean() > (mild - image).abs().mean() > 0


@pytest.mark.parametrize("turn", [False, True])
def test_maps_are_carried_to_where_the_pictures_are_moved(turn: bool) -> None:
    image, label = scene()
    image = torch.nn.functional.avg_pool2d(image, 9, stride=1, padding=4)  # so that cells suffice
    draws = augmenter(turn=turn)
    moved, _ = draws.move(image, label, 3)
    carried = draws.carry(torch.nn.functional.avg_pool2d(image, 2))
    assert carried.shape == (4, 3, 32, 32)
    assert (carried - torch.nn.functional.avg_pool2d(moved, 2)).abs().max() < 0.05
    assert (moved - image).abs().max() > 0.5


def test_neighbours_in_the_channels_are_not_mixed_as_colours_are() -> None:
    """What one neighbour shows must not change the others."""
    image, _ = scene(16)
    other = image.clone()
    other[:, 2] = 0.5
    slices = augmenter(context=True)
    views, changed = (slices.distorted(0.2 + 0.6 * one, 3) for one in (image, other))
    assert torch.equal(views[:, :2], changed[:, :2])
    colours = augmenter(context=False)
    views, changed = (
        colours.distorted(0.2 + 0.6 * image, 3),
        colours.distorted(0.2 + 0.6 * other, 3),
    )
    assert not torch.allclose(views[:, :2], changed[:, :2])


def batch_of(count: int, sam: bool = True) -> Batch:
    """Views whose pixels, labels and SAM's maps all hold the number of their plane."""
    plane = torch.arange(1, count + 1, dtype=torch.float32)[:, None, None, None]
    return Batch(
        images=plane.expand(-1, 3, 64, 64).clone(),
        labels=plane.expand(-1, 1, 64, 64)[:, 0].to(torch.uint8),
        weights=torch.ones(count),
        names=[f"u{i}" for i in range(count)],
        known=torch.ones((count, 1)),
        sam=plane.expand(-1, 5, 16, 16).clone() if sam else None,
    )


@pytest.mark.parametrize("sam", [True, False])
def test_cutmix_takes_pixels_labels_and_embeddings_from_the_same_plane(sam: bool) -> None:
    before = batch_of(4, sam)
    found = cutmix(before, np.random.default_rng(2))
    assert torch.equal(found.images[:, 0], found.labels.float())
    assert torch.equal(before.images, batch_of(4).images)  # what it was given stays
    mixed = (found.labels != before.labels).flatten(1).float().mean(1)
    assert (mixed == 0).any() and ((mixed > 0.03) & (mixed < 0.45)).any()
    assert not ((mixed > 0) & (mixed < 0.03)).any() and mixed.max() < 0.45
    if found.sam is not None:
        centres = found.labels[:, 2::4, 2::4].float()  # of the cells, 4 x 4 pixels each
        assert (found.sam[:, 0] == centres).float().mean() > 0.95
        own = torch.arange(1, 5)[:, None, None]
        assert ((found.sam[:, 0] != own).flatten(1).any(1) == (mixed > 0)).all()


def test_cutmix_of_one_view_is_that_view_and_the_same_draw_gives_the_same() -> None:
    alone = batch_of(1)
    assert cutmix(alone, np.random.default_rng(0)) is alone
    first, again = (cutmix(batch_of(6), np.random.default_rng(5)).labels for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, cutmix(batch_of(6), np.random.default_rng(6)).labels)
