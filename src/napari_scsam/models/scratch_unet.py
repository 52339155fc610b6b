"""The small, randomly initialised U-Net, for rounds that start from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from napari_scsam.models.norms import ChannelsLastNorm, Standardised

if TYPE_CHECKING:
    from collections.abc import Sequence

# Up to this side the network works on single pixels, above it on 2 x 2 pixels as channels: see
# `FoldedUNet` for the loss at 64 px. The limit itself is arbitrary.
UNFOLDED_TO = 128
# Channels of MONAI's BasicUNet from top to bottom, then of its last stage, for single and for
# folded pixels: about 2 M parameters each.
FEATURES = {1: (16, 32, 64, 128, 256, 16), 2: (32, 32, 64, 128, 256, 32)}
# Divides the channels of every level. Arbitrary.
NORM_GROUPS = 8


class FoldedUNet(nn.Module):
    """A U-Net on ``fold`` x ``fold`` pixels as channels, with sub-pixel output.

    With 2, both ends keep the full resolution (sub-pixel convolution, Shi et al., CVPR 2016),
    while the most expensive stages, those at full resolution, are omitted: a step takes half of
    the time on a CPU. Small pictures lose too much: at 64 px, after as many pictures of
    Kvasir-SEG, Dice is 0.78 with single pixels and 0.72 with folded ones (one seed).

    Attributes
    ----------
    outputs : int
    fold : int
    features : tuple of int
        Channels of the levels.
    """

    def __init__(self, outputs: int, fold: int, features: Sequence[int]) -> None:
        # The import takes a second, and networks with a pretrained encoder don't need it.
        from monai.networks.nets.basic_unet import BasicUNet

        super().__init__()
        self.outputs, self.fold, self.features = outputs, fold, tuple(features)
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=3 * fold**2,
            out_channels=outputs * fold**2,
            features=self.features,
            act=("LeakyReLU", {"negative_slope": 0.01, "inplace": True}),
            norm=("group", {"num_groups": NORM_GROUPS}),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, outputs, s, s) for images (N, 3, s, s)."""
        folded = functional.pixel_unshuffle(images, self.fold)
        # The fastest layout for convolutions on a CPU.
        folded = folded.contiguous(memory_format=torch.channels_last)
        return functional.pixel_shuffle(self.unet(folded), self.fold)


def fold_for(size: int) -> int:
    """Return the folding factor for planes of side `size`."""
    return 1 if size <= UNFOLDED_TO else 2


def build_network(
    outputs: int,
    fold: int = 2,
    features: Sequence[int] | None = None,
    *,
    standardised: bool = True,
) -> FoldedUNet:
    """Build a 2-D U-Net for three channels with random weights.

    Group normalisation has no running statistics, so that an exponential moving average of the
    parameters is a complete teacher; averaging failed with BatchNorm's buffers
    (docs/results/probes.md). With standardised weights 12,000 pictures suffice instead of 24,000
    (Kvasir-SEG, 64 px: Dice 0.69 and 0.70, one seed).

    Parameters
    ----------
    outputs : int
        Number of logit maps: background and classes.
    fold : int
        1 or 2, see `fold_for`.
    features : sequence of int, length 6, optional
        Channels of the levels; default `FEATURES`.
    standardised : bool
        Whether the weights before each normalisation are standardised; False for files of
        format version 1.
    """
    network = FoldedUNet(outputs, fold, features or FEATURES[fold])
    for part in list(network.modules()):
        if hasattr(part, "is_pad"):  # MONAI's UpCat
            # Sides are multiples of 16: there is nothing to pad, but padding would copy anyway.
            part.is_pad = False  # type: ignore[assignment]  # nn.Module types any attribute
        for name, child in part.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(part, name, ChannelsLastNorm(child.num_groups, child.num_channels))
        if standardised and isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3):
            parametrize.register_parametrization(part, "weight", Standardised())
    return network.to(memory_format=torch.channels_last)


def is_standardised(network: nn.Module) -> bool:
    """Whether the weights before each normalisation are standardised."""
    return any(parametrize.is_parametrized(part) for part in network.modules())
