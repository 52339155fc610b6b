"""Random views: image and labels alike, never the same twice, always the same again."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from napari_scsam.core.settings import TrainSettings
from scsam_train.augment import Augmenter


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
