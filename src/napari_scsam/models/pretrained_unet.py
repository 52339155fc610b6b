"""A U-Net with an ImageNet encoder and SAM features of the slice as optional input."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_scsam.models.norms import ChannelsLastNorm
from napari_scsam.models.pretrained import MEAN, STD, build_encoder, feature_channels

# Channels of the decoder from 1/16 of the side up to 1/2, of its last stage at the full side, and
# of the branch at full resolution. Arbitrary.
DECODER, LAST, PIXELS = (96, 64, 48, 32), 16, 8
# Channels of SAM's features after projection (as in an experiment: docs/results/probes.md).
JOINED = 64
# Divides the channels of every stage. Arbitrary.
NORM_GROUPS = 8


class PretrainedUNet(nn.Module):
    """EfficientNet-Lite0 encoder, U-Net decoder with skips, and a branch at full resolution.

    The encoder's BatchNorm keeps the statistics of ImageNet, so that a moving average of the
    parameters is a complete network; its scale and shift are trained.

    Parameters
    ----------
    outputs : int
        Number of logit maps: background and classes.
    channels : int
        Channels of the pictures.
    sam_channels : int
        Channels of the SAM features (embedding and class log-odds), which are concatenated in the
        decoder at half of the side; 0 for a network on pixels alone.
    pretrained : bool
        Whether to load ImageNet weights into the encoder; False before loading a file.
    """

    def __init__(
        self, outputs: int, channels: int = 3, sam_channels: int = 0, *, pretrained: bool = True
    ) -> None:
        super().__init__()
        self.channels, self.sam_channels = channels, sam_channels
        self.encoder = build_encoder(channels, pretrained=pretrained)
        *skips, below = feature_channels(self.encoder)
        joined = [*skips[:0:-1], skips[0] + (JOINED if sam_channels else 0)]
        inputs = [below, *DECODER[:-1]]
        self.decoder = nn.ModuleList(
            _stage(coarse + skip, out, 2)
            for coarse, skip, out in zip(inputs, joined, DECODER, strict=True)
        )
        self.projection = _stage(sam_channels, JOINED, 1, side=1) if sam_channels else None
        self.pixels = _stage(channels, PIXELS, 1)
        self.last = _stage(DECODER[-1] + PIXELS, LAST, 1)
        self.head = nn.Conv2d(LAST, outputs, 3, padding=1)
        self.train(self.training)

    def train(self, mode: bool = True) -> PretrainedUNet:
        """Set the mode of all parts but BatchNorm, whose statistics stay fixed."""
        super().train(mode)
        for part in self.encoder.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def forward(self, images: Tensor, sam: Tensor | None = None) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        images : Tensor of shape (N, channels, s, s), float32
            0..1; s is a multiple of 32.
        sam : Tensor of shape (N, sam_channels, e, e), float32, optional
            SAM features of the same views; all 0 for views to be predicted from pixels alone.
            None: all views.

        Returns
        -------
        Tensor of shape (N, outputs, s, s)
        """
        images = images.contiguous(memory_format=torch.channels_last)
        *skips, found = self.encoder((images - MEAN) / STD)
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            parts = [_doubled(found), skip]
            if skip is skips[0] and self.projection is not None:
                parts.append(self._joined(sam, skip))
            found = stage(torch.cat(parts, dim=1))
        found = self.last(torch.cat([_doubled(found), self.pixels(images)], dim=1))
        logits: Tensor = self.head(found)
        return logits

    def _joined(self, sam: Tensor | None, skip: Tensor) -> Tensor:
        """Return the projected SAM features on the grid of `skip`; zeros if there are none."""
        if sam is None or self.projection is None:
            return skip.new_zeros((len(skip), JOINED, *skip.shape[2:]))
        present = sam.flatten(1).any(1)[:, None, None, None]
        seen = self.projection(sam.contiguous(memory_format=torch.channels_last)) * present
        if seen.shape[2:] == skip.shape[2:]:
            return cast("Tensor", seen)
        return functional.interpolate(seen, skip.shape[2:], mode="bilinear")


def _stage(inputs: int, outputs: int, convolutions: int, side: int = 3) -> nn.Sequential:
    """Return convolutions, each with group normalisation and a leaky ReLU."""
    parts: list[nn.Module] = []
    for place in range(convolutions):
        before = outputs if place else inputs
        parts += [
            nn.Conv2d(before, outputs, side, padding=side // 2, bias=False),
            ChannelsLastNorm(NORM_GROUPS, outputs),
            nn.LeakyReLU(0.01, inplace=True),
        ]
    return nn.Sequential(*parts)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
