"""Pooled features of a slice from the pretrained encoder, to compare slices before any training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_scsam.models.device import Place, bring
from napari_scsam.models.preprocess import check_plane, prepare
from napari_scsam.models.pretrained import MEAN, STD, build_encoder, fold_batch_norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray

# Side of the encoder's input. EfficientNet-Lite0 was trained with 224 (Tan and Le, ICML 2019); 160
# takes half of the time. Arbitrary; raise `ranking.FEATURES_VERSION` when it changes.
SIDE = 160


class FeatureEncoder:
    """The U-Net's ImageNet encoder, for one feature vector a slice.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        encoder = build_encoder().eval()
        fold_batch_norm(encoder)
        self._encoder = encoder.requires_grad_(False).to(memory_format=torch.channels_last)
        self._place = Place(device, may_move=True)

    def features(self, image: NDArray[Any]) -> FloatArray:
        """Return the mean of each channel of all feature maps, without the padding.

        Parameters
        ----------
        image : ndarray of shape (rows, cols) or (rows, cols, 3), any real dtype

        Returns
        -------
        ndarray of shape (512,), float32
            2 kB.

        Raises
        ------
        InputError
            As for `preprocess.check_plane`.
        """
        prepared = prepare(_shrunk(check_plane(image)), SIDE, "unit")
        rows, cols = prepared.frame.resized

        def infer(device: torch.device) -> FloatArray:
            bring(self._encoder, device)
            pixels = prepared.pixels[None].to(device, memory_format=torch.channels_last)
            pooled = []
            for maps in self._encoder((pixels - MEAN) / STD):
                step = SIDE // maps.shape[-1]
                inside = maps[0, :, : -(-rows // step), : -(-cols // step)]
                pooled.append(inside.float().mean(dim=(1, 2)))
            return np.asarray(torch.cat(pooled).cpu().numpy(), np.float32)

        with torch.inference_mode():
            return self._place.run(infer)


def _shrunk(image: NDArray[Any]) -> NDArray[Any]:
    """Return the means of square blocks, at least `SIDE` of them along the longest side.

    What follows is then faster (530 x 620 pixels: 45 instead of 62 ms for the features, one core).
    """
    step = max(image.shape[:2]) // SIDE
    rows, cols = (side // step for side in image.shape[:2]) if step > 1 else (0, 0)
    if not rows or not cols:
        return image
    blocks = image[: rows * step, : cols * step].reshape(rows, step, cols, step, -1)
    means: NDArray[Any] = blocks.mean(axis=(1, 3), dtype=np.float32)
    if means.min() == means.max():  # a pattern finer than the blocks
        return image
    return means if image.ndim == 3 else means[..., 0]
