"""Batched SAM prompt encoder and mask decoder, one object per plane, with gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_scsam.core.log_odds import SURE
from napari_scsam.models import decode_mask, for_best_dice
from scsam_train.precision import mixed_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scsam_train.clicks import Click


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Prompts for N planes; all planes have the same kinds and numbers of prompts.

    Attributes
    ----------
    classes : Tensor of shape (N,), int64, or None
        Class positions 0..K-1; their learned tokens are appended to the prompts.
    clicks : list of N lists of (row, col, label), or None
        In pixels of the low-resolution masks.
    boxes : ndarray of shape (N, 4), float32, or None
        (row0, col0, row1, col1) on that grid.
    masks : Tensor of shape (N, 1, side, side), or None
        Mask prompts: logits of the previous mask, or log-odds of the class prior. All NaN for a
        plane without a mask prompt.
    """

    classes: Tensor | None = None
    clicks: Sequence[Sequence[Click]] | None = None
    boxes: NDArray[np.float32] | None = None
    masks: Tensor | None = None

    def with_clicks(self, clicks: Sequence[Click], masks: Tensor | None) -> PromptBatch:
        """Return the prompts with one more click per plane and the last logits as mask prompt."""
        before = self.clicks or [[] for _ in clicks]
        longer = [[*old, new] for old, new in zip(before, clicks, strict=True)]
        return replace(self, clicks=longer, masks=masks)


def as_shown(prompts: PromptBatch, logits: Tensor, iou: Tensor) -> Tensor:
    """Return logits (N, 1, side, side) whose ``> 0`` is the mask that the tool shows."""
    prompted = prompts.clicks is not None or prompts.boxes is not None
    if not prompted:
        return logits
    shown = for_best_dice(logits, iou)
    return shown if prompts.masks is None else torch.where(_unmasked(prompts.masks), shown, logits)


def _unmasked(masks: Tensor) -> Tensor:
    """Return which planes have no mask prompt, shape (N, 1, 1, 1), bool."""
    return masks[:, :, :1, :1].isnan()


class Decoder:
    """Batched decoding with the modules of an adapted SAM.

    There is one object per plane. Only the single-mask output is computed.

    Parameters
    ----------
    model : nn.Module
        SAM's modules and ``class_tokens``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model
        encoder: Any = model.prompt_encoder
        self.input_size = int(encoder.input_image_size[0])
        self.side = 4 * int(encoder.image_embedding_size[0])

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        device: torch.device = self.model.prompt_encoder.no_mask_embed.weight.device
        return device

    def __call__(self, features: Tensor, prompts: PromptBatch) -> tuple[Tensor, Tensor]:
        """Decode one mask per plane.

        Parameters
        ----------
        features : Tensor of shape (N, 256, e, e)
            Embeddings.
        prompts : PromptBatch
            Prompts for N planes.

        Returns
        -------
        logits : Tensor of shape (N, 1, side, side)
        iou : Tensor of shape (N,)
            IoU predicted by SAM.
        """
        with mixed_precision(self.device):
            logits, iou = self._decode(features, prompts)
        return logits.float(), iou.float()

    def _decode(self, features: Tensor, prompts: PromptBatch) -> tuple[Tensor, Tensor]:
        # In half precision, positional encodings would be off by a pixel or two.
        with torch.autocast(self.device.type, enabled=False):
            sparse, dense = self._prompts(prompts, len(features))
            position = self.model.prompt_encoder.get_dense_pe()
        logits, iou = decode_mask(self.model.mask_decoder, features, position, sparse, dense)
        return logits, iou[:, 0]

    def _prompts(self, prompts: PromptBatch, count: int) -> tuple[Tensor, Tensor]:
        points = None
        if prompts.clicks is not None:
            values = torch.tensor(np.array(prompts.clicks, dtype=np.float32), device=self.device)
            points = (self._xy(values[..., :2]), values[..., 2])
        boxes = None
        if prompts.boxes is not None:
            corners = torch.from_numpy(prompts.boxes.reshape(-1, 2, 2)).to(self.device)
            boxes = self._xy(corners).reshape(-1, 4)
        masks = None if prompts.masks is None else prompts.masks.clamp(-SURE, SURE).nan_to_num()
        sparse, dense = self.model.prompt_encoder(points=points, boxes=boxes, masks=masks)
        if prompts.masks is not None and bool((unmasked := _unmasked(prompts.masks)).any()):
            none = self.model.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
            dense = torch.where(unmasked, none, dense)
        if sparse.shape[0] != count:  # class tokens only
            sparse, dense = sparse.expand(count, -1, -1), dense.expand(count, -1, -1, -1)
        if prompts.classes is not None:
            sparse = torch.cat([sparse, self.model.class_tokens(prompts.classes)], dim=1)
        return sparse, dense

    def _xy(self, row_col: Tensor) -> Tensor:
        """Convert (row, col) of the low-resolution grid to (x, y) of SAM's input."""
        scale = self.input_size / self.side
        return (row_col.flip(-1) + 0.5) * scale - 0.5


@torch.no_grad()
def class_probabilities(
    decoder: Decoder, features: Tensor, known: Tensor, size: int, odds: Tensor | None = None
) -> Tensor:
    """Predict probabilities (N, K + 1, size, size) with class tokens and `odds` (`ClassPriors`).

    They are the softmax over the logits of the classes, with 0 for the background. A class that
    is not `known` (K,), bool, has probability 0, because its token was not trained.
    """
    count, device, classes = len(features), decoder.device, len(known)
    positions = torch.arange(classes, device=device).repeat(count)
    repeated = features.repeat_interleave(classes, dim=0)
    masks = None if odds is None else odds.flatten(0, 1)[:, None]
    found = decoder(repeated, PromptBatch(positions, masks=masks))[0]
    found = found.reshape(count, classes, decoder.side, decoder.side)
    found = found.masked_fill(~known.to(device)[:, None, None], float("-inf"))
    probabilities = torch.cat([torch.zeros_like(found[:, :1]), found], dim=1).softmax(1)
    return nn.functional.interpolate(probabilities, (size, size), mode="bilinear", antialias=True)
