"""Random augmentation of square canvases with kornia; the same geometry for image and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from kornia.augmentation import (
    AugmentationSequential,
    ColorJiggle,
    RandomAffine,
    RandomGamma,
    RandomGaussianBlur,
    RandomGaussianNoise,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomRotation90,
)
from kornia.geometry import warp_affine
from torch import Tensor

from scsam_train.losses import IGNORE

if TYPE_CHECKING:
    from napari_scsam.core.settings import TrainSettings

# Maximum rotation in degrees, range of the scale, and maximum shift as a share of the side. They
# are small: with shear, any angle and scales of 0.75 to 1.33 a U-Net from scratch had a Dice of
# 0.53 after 7,200 pictures, with these 0.57 (Kvasir-SEG, one seed).
TILT, SCALES, MAX_SHIFT = 10.0, (0.8, 1.25), 0.1


class Augmenter:
    """Draws views; the same seed, stream and number always give the same ones.

    So views are not repeated within a round, and a resumed round continues with the next one.

    Parameters
    ----------
    settings : TrainSettings
        ``seed``, ``mirror``, ``turn`` and ``context`` are used.
    stream : int
        Stream of the random draws; each purpose has its own number.
    """

    def __init__(self, settings: TrainSettings, stream: int) -> None:
        self._seed, self._stream = settings.seed, stream
        steps: list[Any] = [RandomHorizontalFlip(p=0.5)] if settings.mirror else []
        if settings.turn:
            steps.append(RandomRotation90((0, 3), p=1.0))
        shift = (MAX_SHIFT, MAX_SHIFT)
        steps.append(RandomAffine(degrees=TILT, translate=shift, scale=SCALES, p=1.0))
        self._geometry = AugmentationSequential(*steps, data_keys=["input", "mask"])
        self._mild = AugmentationSequential(
            RandomGamma((0.8, 1.25), (1.0, 1.0), p=0.5),
            ColorJiggle(0.15, 0.15, 0.0, 0.0, p=0.5),
            data_keys=["input"],
        )
        self._strong = AugmentationSequential(
            RandomGamma((0.7, 1.43), (1.0, 1.0), p=0.7),
            ColorJiggle(0.2, 0.25, 0.0, 0.0, p=0.7),
            RandomGaussianBlur((3, 3), (0.3, 0.7), p=0.1),
            RandomGaussianNoise(std=0.02, p=0.2),
            data_keys=["input"],
        )
        # The channels of a slice with its neighbours are not colours, and must not be mixed.
        saturation, hue, grey = (0.0, 0.0, 0.0) if settings.context else (0.3, 0.08, 0.15)
        self._distorting = AugmentationSequential(
            ColorJiggle(0.3, 0.3, saturation, hue, p=0.8),
            RandomGrayscale(p=grey),
            RandomGaussianBlur((7, 7), (0.3, 2.0), p=0.4),
            data_keys=["input"],
        )

    def move(self, images: Tensor, labels: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Rotate, scale, shift and perhaps mirror each image with its labels.

        Parameters
        ----------
        images : Tensor of shape (N, 3, s, s), float32, 0..1
        labels : Tensor of shape (N, s, s), uint8
            0..K; 255 for unknown pixels.
        number : int
            Number of the draw.

        Returns
        -------
        images, labels : Tensor
            Of the same shapes and types; 0 and 255 outside of the old canvas.
        """
        # 255 is coded as 0 here, because kornia fills what comes from outside of the canvas with 0.
        coded = (labels[:, None].to(torch.int16) + 1) % (IGNORE + 1)
        self._side = images.shape[-1]
        with self._draw(number, 0):
            moved, moved_code = self._geometry(images, coded.float())
        back = (moved_code.round().to(torch.int16) + IGNORE) % (IGNORE + 1)
        return moved, back[:, 0].to(torch.uint8)

    def carry(self, maps: Tensor) -> Tensor:
        """Warp maps (N, C, e, e) of the same planes as the last `move` did; 0 outside."""
        matrices = cast("Tensor", self._geometry.transform_matrix)
        # From pixels of the canvas to cells of the maps, both with centres at whole numbers.
        scale = maps.shape[-1] / self._side
        to_cells = matrices.new_tensor(
            [[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]]
        )
        moved = to_cells @ matrices @ torch.linalg.inv(to_cells)
        return warp_affine(maps, moved[:, :2], (maps.shape[-2], maps.shape[-1]), align_corners=True)

    def mild(self, images: Tensor, number: int) -> Tensor:
        """Change brightness, contrast and gamma a little."""
        with self._draw(number, 1):
            return _within(self._mild(images), images)

    def strong(self, images: Tensor, number: int) -> Tensor:
        """Change brightness, contrast and gamma more, blur and add noise."""
        with self._draw(number, 2):
            return _within(self._strong(images), images)

    def distorted(self, images: Tensor, number: int) -> Tensor:
        """Distort strong views further, in colours and sharpness, for a student of pseudo-labels.

        Its teacher predicts from the plain picture. The student learns little from a view that is
        almost the same (Sohn et al., "FixMatch", NeurIPS 2020, arXiv 2001.07685).
        """
        strong = self.strong(images, number)
        with self._draw(number, 3):
            return _within(self._distorting(strong), images)

    def _draw(self, number: int, part: int) -> _Seeded:
        return _Seeded((self._seed * 31 + self._stream) * 1_000_003 + 4 * number + part)


class _Seeded:
    """Sets the seed of torch's generator inside the block, and restores its state afterwards."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __enter__(self) -> None:
        self._fork = torch.random.fork_rng(devices=[])
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)


def _within(changed: Tensor, images: Tensor) -> Tensor:
    """Limit values to 0..1, and set the padding to 0."""
    return changed.clamp(0, 1) * (images.amax(1, keepdim=True) > 0)
