"""SAM's prompt encoder and mask decoder on a batch of planes, one object each, with gradients."""

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
class Ask:
    """What SAM is asked of N planes; each gets the same kinds and numbers of prompts.

    Attributes
    ----------
    classes : Tensor of shape (N,), int64, or None
        Positions 0..K-1 whose learned tokens go with the prompts.
    clicks : list of N lists of (row, col, label), or None
        On the grid of the low-resolution masks.
    boxes : ndarray of shape (N, 4), float32, or None
        (row0, col0, row1, col1) on that grid.
    masks : Tensor of shape (N, 1, side, side), or None
        An earlier answer's logits, or what is known of a class's looks; NaN all over for a
        plane that gets no mask prompt.
    """

    classes: Tensor | None = None
    clicks: Sequence[Sequence[Click]] | None = None
    boxes: NDArray[np.float32] | None = None
    masks: Tensor | None = None

    def corrected(self, clicks: Sequence[Click], masks: Tensor | None) -> Ask:
        """The same with one more click for each plane, and the last answer fed back."""
        before = self.clicks or [[] for _ in clicks]
        longer = [[*old, new] for old, new in zip(before, clicks, strict=True)]
        return replace(self, clicks=longer, masks=masks)


def as_shown(ask: Ask, logits: Tensor, iou: Tensor) -> Tensor:
    """Logits (N, 1, side, side) whose ``> 0`` is the mask that the tool shows for `ask`."""
    prompted = ask.clicks is not None or ask.boxes is not None
    if not prompted:
        return logits
    shown = for_best_dice(logits, iou)
    return shown if ask.masks is None else torch.where(_unmasked(ask.masks), shown, logits)


def _unmasked(masks: Tensor) -> Tensor:
    """Planes that have no mask prompt, of shape (N, 1, 1, 1), bool."""
    return masks[:, :, :1, :1].isnan()


class Decoder:
    """Batched decoding with an adapted SAM's modules.

    Each plane has one object. Only the single-mask output is computed.

    Parameters
    ----------
    model : nn.Module
        With SAM's modules and ``class_tokens``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model
        encoder: Any = model.prompt_encoder
        self.input_size = int(encoder.input_image_size[0])
        self.side = 4 * int(encoder.image_embedding_size[0])

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.model.prompt_encoder.no_mask_embed.weight.device
        return device

    def __call__(self, features: Tensor, ask: Ask) -> tuple[Tensor, Tensor]:
        """Answer.

        Parameters
        ----------
        features : Tensor of shape (N, 256, e, e)
            Embeddings.
        ask : Ask
            Of N planes.

        Returns
        -------
        logits : Tensor of shape (N, 1, side, side)
        iou : Tensor of shape (N,)
            SAM's own estimate.
        """
        with mixed_precision(self.device):
            logits, iou = self._decode(features, ask)
        return logits.float(), iou.float()

    def _decode(self, features: Tensor, ask: Ask) -> tuple[Tensor, Tensor]:
        # In half precision a place's code would be a pixel or two off.
        with torch.autocast(self.device.type, enabled=False):
            sparse, dense = self._prompts(ask, len(features))
            position = self.model.prompt_encoder.get_dense_pe()
        logits, iou = decode_mask(self.model.mask_decoder, features, position, sparse, dense)
        return logits, iou[:, 0]

    def _prompts(self, ask: Ask, count: int) -> tuple[Tensor, Tensor]:
        points = None
        if ask.clicks is not None:
            values = torch.tensor(np.array(ask.clicks, dtype=np.float32), device=self.device)
            points = (self._xy(values[..., :2]), values[..., 2])
        boxes = None
        if ask.boxes is not None:
            corners = torch.from_numpy(ask.boxes.reshape(-1, 2, 2)).to(self.device)
            boxes = self._xy(corners).reshape(-1, 4)
        masks = None if ask.masks is None else ask.masks.clamp(-SURE, SURE).nan_to_num()
        sparse, dense = self.model.prompt_encoder(points=points, boxes=boxes, masks=masks)
        if ask.masks is not None and bool((unmasked := _unmasked(ask.masks)).any()):
            none = self.model.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
            dense = torch.where(unmasked, none, dense)
        if sparse.shape[0] != count:  # nothing was asked but the class tokens
            sparse, dense = sparse.expand(count, -1, -1), dense.expand(count, -1, -1, -1)
        if ask.classes is not None:
            sparse = torch.cat([sparse, self.model.class_tokens(ask.classes)], dim=1)
        return sparse, dense

    def _xy(self, row_col: Tensor) -> Tensor:
        """From (row, col) on the low-resolution grid to (x, y) in SAM's input."""
        scale = self.input_size / self.side
        return (row_col.flip(-1) + 0.5) * scale - 0.5


@torch.no_grad()
def class_probabilities(
    decoder: Decoder, features: Tensor, known: Tensor, size: int, odds: Tensor | None = None
) -> Tensor:
    """SAM's probabilities (N, K + 1, size, size) by its class tokens and `odds` (`ClassPriors`).

    A softmax over the logits of each class, the background's being 0. A class that is not
    `known` (K,), bool, has the probability 0: its token has learned nothing.
    """
    count, device, classes = len(features), decoder.device, len(known)
    positions = torch.arange(classes, device=device).repeat(count)
    asked = features.repeat_interleave(classes, dim=0)
    masks = None if odds is None else odds.flatten(0, 1)[:, None]
    found = decoder(asked, Ask(positions, masks=masks))[0]
    found = found.reshape(count, classes, decoder.side, decoder.side)
    found = found.masked_fill(~known.to(device)[:, None, None], float("-inf"))
    probabilities = torch.cat([torch.zeros_like(found[:, :1]), found], dim=1).softmax(1)
    return nn.functional.interpolate(probabilities, (size, size), mode="bilinear", antialias=True)
