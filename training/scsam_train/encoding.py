"""Source of SAM's features in a step: cached embeddings, or an image encoder in training."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from napari_scsam.models import SAM_MEAN, SAM_STD, Profile, SamModel
from scsam_train.augment import Augmenter
from scsam_train.precision import mixed_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from peft import PeftModel

    from napari_scsam.core.settings import TrainProfile, TrainSettings
    from scsam_train.paper_views import Views

# Share of the feature channels that are dropped for an unlabelled plane, as a strong view
# (feature perturbation, Yang et al., UniMatch, CVPR 2023, who drop half). Arbitrary.
DROPPED = 0.1
# Pixels that are encoded at a time without gradients: one picture of a ViT.
AT_ONCE = 1024**2
# Stream of the random draws of views; any number that no other augmenter uses.
_STREAM = 2

_WHAT: dict[Profile, str] = {
    "frozen-encoder": "SAM's image encoder stays as it is, and each slice is encoded once",
    "adapted-encoder": "SAM's image encoder is trained, too, and encodes slices in every step",
}


def choose_profile(
    wanted: TrainProfile, device: str, *, trains_sam: bool = True
) -> tuple[Profile, str]:
    """Choose whether a round trains SAM's image encoder, and give the reason.

    Parameters
    ----------
    wanted : {'auto', 'frozen-encoder', 'adapted-encoder'}
        ``auto`` trains it if there is a GPU.
    device : {'cpu', 'cuda', 'mps'}
        Device of the round.
    trains_sam : bool
        Whether the recipe trains SAM at all.

    Returns
    -------
    profile : {'frozen-encoder', 'adapted-encoder'}
    reason : str
        One sentence for the user.
    """
    profile: Profile = "frozen-encoder" if wanted == "auto" else wanted
    why = "the settings ask for it"
    if not trains_sam:
        profile, why = "frozen-encoder", "this recipe does not train SAM"
    elif wanted == "auto" and device == "cpu":
        why = "this is a CPU, where training it would take long"
    elif wanted == "auto":
        profile, why = "adapted-encoder", f"there is a GPU for it ({device})"
    return profile, f"{_WHAT[profile]}: {why}."


class Encoding(Protocol):
    """Turns `SamView.features` into features for SAM's decoder.

    Attributes
    ----------
    sees_views : bool
        Whether views drawn during a step can be encoded.
    """

    sees_views: ClassVar[bool]

    def __call__(self, kept: Tensor) -> Tensor:
        """Return embeddings (N, 256, e, e), float32, of N stacked stored inputs."""

    def weak(self, kept: Tensor, target: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Augment one stored input (1, ...) and its mask (side, side) weakly, for a label."""

    def strong(
        self, kept: Tensor, target: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Augment them strongly, for a pseudo-label."""

    def in_view(self, kept: Tensor, views: Views) -> Tensor:
        """Return N stacked stored inputs in N views; unchanged without `sees_views`."""


def encoding_of(sam: SamModel, settings: TrainSettings) -> Encoding:
    """Return the encoding of a SAM, by whether its adapter includes the image encoder."""
    return TrainedEncoder(sam, settings) if sam.adapts_encoder else KeptEmbeddings(sam)


class KeptEmbeddings:
    """Frozen encoder: embeddings are computed once and used as they are.

    Parameters
    ----------
    sam : SamModel
    """

    sees_views: ClassVar[bool] = False

    def __init__(self, sam: SamModel) -> None:
        self._device = sam.torch_device

    def __call__(self, kept: Tensor) -> Tensor:
        """See `Encoding`."""
        return kept.to(self._device).float()

    def weak(self, kept: Tensor, target: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """See `Encoding`; augmented views were embedded beforehand."""
        return kept, target

    def strong(
        self, kept: Tensor, target: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `Encoding`; a random share of the channels is set to 0."""
        shown = torch.from_numpy(rng.random(kept.shape[1]) >= DROPPED)[None, :, None, None]
        return kept * shown / (1 - DROPPED), target

    def in_view(self, kept: Tensor, views: Views) -> Tensor:
        """See `Encoding`."""
        return kept


class TrainedEncoder:
    """Encoder in training: pixels (N, 3, s, s) are augmented and encoded in every step.

    BatchNorm statistics stay fixed, since the adapter file does not store them
    (docs/explanation/adapting-sam.md). Gradient checkpointing keeps only the input of each block:
    otherwise a ViT-B step of 12 pictures would not fit into the memory of a small
    machine.

    Parameters
    ----------
    sam : SamModel
    settings : TrainSettings
        Allowed augmentations, and the seed.
    """

    sees_views: ClassVar[bool] = True

    def __init__(self, sam: SamModel, settings: TrainSettings) -> None:
        self._device = sam.torch_device
        self._encoder = cast("nn.Module", sam.module.image_encoder)
        self._augmenter = Augmenter(settings, _STREAM)
        mean, std = (SAM_MEAN, SAM_STD) if sam.entry.normalisation == "sam" else (0.0, 255.0)
        self._mean, self._std = (
            torch.as_tensor(np.broadcast_to(value, 3) / 255).float()[:, None, None]
            for value in (mean, std)
        )

    def __call__(self, kept: Tensor) -> Tensor:
        """See `Encoding`."""
        pixels = kept.to(self._device).float()
        if torch.is_grad_enabled():
            return self._encode(pixels)
        parts = torch.split(pixels, max(1, AT_ONCE // pixels[0, 0].numel()))
        return torch.cat([self._encode(part) for part in parts])

    def weak(self, kept: Tensor, target: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """See `Encoding`; geometric changes and mild changes of intensity."""
        return self._view(kept, target, rng, self._augmenter.mild)

    def strong(
        self, kept: Tensor, target: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `Encoding`; geometric changes and strong changes of intensity."""
        return self._view(kept, target, rng, self._augmenter.strong)

    def in_view(self, kept: Tensor, views: Views) -> Tensor:
        """See `Encoding`."""
        # Padding is 0 in every channel.
        there = (kept != 0).any(1)
        unit = (kept.float() * self._std + self._mean) * there[:, None]
        shown = views.shown(there)[:, None]
        return ((views.pictures(unit.clamp(0, 1)) - self._mean) / self._std * shown).to(kept.dtype)

    def _encode(self, pixels: Tensor) -> Tensor:
        with mixed_precision(self._device), _checkpointed(self._encoder):
            features: Tensor = self._encoder(pixels)
        return features.float()

    def _view(
        self,
        kept: Tensor,
        target: Tensor,
        rng: np.random.Generator,
        change: Callable[[Tensor, int], Tensor],
    ) -> tuple[Tensor, Tensor]:
        number = int(rng.integers(2**31))
        # A label pixel covers several image pixels; both are warped on the finer grid.
        factor = kept.shape[-1] // target.shape[-1]
        label = target.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
        moved, label = self._augmenter.move(kept.float(), label[None], number)
        # Padding is 0 in every channel, and so are pixels warped in from outside.
        shown = (moved != 0).any(1, keepdim=True)
        unit = ((moved * self._std + self._mean) * shown).clamp(0, 1)
        changed = (change(unit, number) - self._mean) / self._std * shown
        return changed.to(kept.dtype), label[0, factor // 2 :: factor, factor // 2 :: factor]


@contextmanager
def _checkpointed(encoder: nn.Module) -> Iterator[None]:
    """Apply gradient checkpointing to each block of an encoder, inside the block.

    SAM's encoders have no such option that works with frozen weights
    (docs/explanation/adapting-sam.md).
    """
    lists = [part for name, part in encoder.named_modules() if name.split(".")[-1] == "blocks"]
    blocks = [block for blocks in lists for block in cast("nn.ModuleList", blocks)]
    for block in blocks:
        again = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
        object.__setattr__(block, "forward", again)
    try:
        yield
    finally:
        for block in blocks:
            object.__delattr__(block, "forward")


@contextmanager
def as_base(sam: SamModel) -> Iterator[SamModel]:
    """Disable the adapter of a SAM, including that of the image encoder, inside the block.

    This affects all users of the module.
    """
    with cast("PeftModel", sam.module).disable_adapter():
        yield SamModel(sam.weights.as_trained())
