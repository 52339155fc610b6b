"""The small U-Net that learns from what was accepted, and its file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.networks.nets.basic_unet import BasicUNet, UpCat
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from napari_scsam.core.errors import ModelError
from napari_scsam.core.volume import Around
from napari_scsam.models.checkpoint import load_strictly, read_state_dict
from napari_scsam.models.device import Place, bring
from napari_scsam.models.norms import ChannelsLastNorm, Standardised
from napari_scsam.models.preprocess import (
    PREPROCESS_VERSION,
    check_plane,
    prepare,
    with_neighbours,
)

FloatArray = NDArray[np.float32]

# Up to this side the network sees single pixels; from there on, 2 x 2 pixels as channels.
UNFOLDED_TO = 128
# Channels of MONAI's BasicUNet from top to bottom, then of its last stage, for single and for
# folded pixels: some 2 M parameters each.
FEATURES = {1: (16, 32, 64, 128, 256, 16), 2: (32, 32, 64, 128, 256, 32)}
# Four poolings halve what is left of a side by folding.
MULTIPLE = 2 * 16
NORM_GROUPS = 8
# The second has standardised weights; networks of the first are still read, and trained on.
_FIRST_FORMAT, _FORMAT = "napari-scsam-unet-1", "napari-scsam-unet-2"


class FoldedUNet(nn.Module):
    """A U-Net on ``fold`` x ``fold`` pixels as channels, which unfolds its answer.

    With 2, both ends keep the full resolution (sub-pixel convolution, Shi et al., CVPR 2016),
    while the stages that cost most, those at full resolution, fall away: a step takes half of
    the time on a CPU. Of small pictures too little is left: at 64 px, after as many pictures
    of Kvasir-SEG, Dice is 0.78 with single pixels and 0.72 with folded ones (one seed).

    Attributes
    ----------
    fold : int
    features : tuple of int
        Channels of the levels.
    """

    def __init__(self, outputs: int, fold: int, features: Sequence[int]) -> None:
        super().__init__()
        self.fold, self.features = fold, tuple(features)
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=3 * fold**2,
            out_channels=outputs * fold**2,
            features=self.features,
            act=("LeakyReLU", {"negative_slope": 0.01, "inplace": True}),
            norm=("group", {"num_groups": NORM_GROUPS}),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, outputs, s, s) of images (N, 3, s, s)."""
        folded = functional.pixel_unshuffle(images, self.fold)
        # The layout that a CPU's convolutions are fastest in.
        folded = folded.contiguous(memory_format=torch.channels_last)
        return functional.pixel_shuffle(self.unet(folded), self.fold)


def fold_for(size: int) -> int:
    """How many pixels the network of planes of side `size` folds in each direction."""
    return 1 if size <= UNFOLDED_TO else 2


def build_network(
    outputs: int,
    fold: int = 2,
    features: Sequence[int] | None = None,
    *,
    standardised: bool = True,
) -> FoldedUNet:
    """Build a 2-D U-Net for three channels with random weights.

    Group normalisation keeps no running statistics, so an exponential moving average of
    the parameters is the whole teacher (METHOD: BatchNorm buffers destroyed one). With
    standardised weights it learns as much from 12,000 pictures as without from 24,000
    (Kvasir-SEG, 64 px: Dice 0.69 and 0.70, one seed).

    Parameters
    ----------
    outputs : int
        Logit maps: background and the classes.
    fold : int
        1 or 2, as `fold_for` says.
    features : sequence of int, length 6, optional
        Channels of the levels; `FEATURES` by default.
    standardised : bool
        Whether the weights before each normalisation are standardised; not so in networks from
        before version 2 of the format.
    """
    network = FoldedUNet(outputs, fold, features or FEATURES[fold])
    for part in list(network.modules()):
        if isinstance(part, UpCat):
            # Sides are multiples of 16: nothing to pad, which would copy all the same.
            part.is_pad = False
        for name, child in part.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(part, name, ChannelsLastNorm(child.num_groups, child.num_channels))
        if standardised and isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3):
            parametrize.register_parametrization(part, "weight", Standardised())
    return network.to(memory_format=torch.channels_last)


class UNet:
    """A U-Net with what has to be known to use it.

    Parameters
    ----------
    network : nn.Module
        From `build_network`; moved to `device`.
    class_ids : sequence of int
        Classes in the order of the logits after the background's.
    image_size : int
        Side of the square that it sees, a multiple of 32.
    device : torch.device
    may_move : bool
        Whether it goes on on the CPU, for good, when the device is full.
    context : bool
        Whether its three channels are a grey plane's neighbour before, the plane, and the
        neighbour after; else they are the plane three times.
    mirrored, turned : bool
        Whether it learned from planes mirrored left to right, and turned. It is then asked for
        those views, too, and its answers are averaged: on Kvasir-SEG, 100 pictures, Dice of five
        U-Nets of 40 labels each rose by 0.01 to 0.02 with both.
    """

    def __init__(
        self,
        network: nn.Module,
        class_ids: Sequence[int],
        image_size: int,
        device: torch.device | None = None,
        *,
        may_move: bool = False,
        context: bool = False,
        mirrored: bool = False,
        turned: bool = False,
    ) -> None:
        self._place = Place(device or torch.device("cpu"), may_move=may_move)
        self.network = network.to(self._place.device)
        self.class_ids = tuple(class_ids)
        self.image_size = image_size
        self.context = context
        self.mirrored, self.turned = mirrored, turned

    @property
    def device(self) -> torch.device:
        """Where it runs now."""
        return self._place.device

    def probabilities(self, image: NDArray[Any], around: Around | None = None) -> FloatArray:
        """Class probabilities on the plane's own grid.

        Parameters
        ----------
        image : ndarray of shape (rows, cols) or (rows, cols, 3), any real dtype
        around : pair of ndarrays of the shape of `image`, optional
            The planes before and after, for a U-Net with context; it sees the plane in
            their place where they are not known.

        Returns
        -------
        ndarray of shape (K + 1, rows, cols), float32
            Background first; sums to 1.

        Raises
        ------
        InputError
            As `preprocess.check_plane`.
        """
        seen = with_neighbours(check_plane(image), around if self.context else None)
        prepared = prepare(seen, self.image_size, "unit")
        self.network.eval()

        def infer(device: torch.device) -> FloatArray:
            bring(self.network, device)
            found = self._over_views(prepared.pixels[None].to(device))
            planes = prepared.frame.logits_to_plane(found)
            return np.ascontiguousarray(planes[0].cpu().numpy(), dtype=np.float32)

        with torch.inference_mode():
            return self._place.run(infer)

    def _over_views(self, canvas: Tensor) -> Tensor:
        """Mean probabilities (1, K + 1, s, s) of a canvas (1, 3, s, s) over its views."""
        views = _views(self.mirrored, self.turned)
        seen = torch.cat([canvas.flip(axes) for axes in views])
        found = self.network(seen).float().softmax(dim=1)
        back = [one.flip(axes) for one, axes in zip(found.split(1), views, strict=True)]
        return torch.stack(back).mean(dim=0)

    def save(self, path: Path) -> None:
        """Write weights and metadata to a ``.safetensors`` file."""
        network = cast(FoldedUNet, self.network)
        about = {
            "format": _FORMAT if _is_standardised(self.network) else _FIRST_FORMAT,
            "class_ids": list(self.class_ids),
            "image_size": self.image_size,
            "fold": network.fold,
            "features": list(network.features),
            "preprocess": PREPROCESS_VERSION,
            "context": self.context,
            "mirrored": self.mirrored,
            "turned": self.turned,
        }
        state: dict[str, Tensor] = {
            name: value.detach().cpu().contiguous()
            for name, value in self.network.state_dict().items()
        }
        save_file(state, path, metadata={"scsam": json.dumps(about)})

    @classmethod
    def load(cls, path: Path, device: torch.device | None = None) -> UNet:
        """Read what `save` wrote.

        Raises
        ------
        ModelError
            If it is no such file, or was made for another preprocessing.
        """
        about = _read_about(path)
        network = build_network(
            len(about["class_ids"]) + 1,
            about.get("fold", 2),
            about["features"],
            standardised=about["format"] == _FORMAT,
        )
        load_strictly(network, read_state_dict(path), path.name)
        network.eval()
        return cls(
            network,
            about["class_ids"],
            about["image_size"],
            device,
            may_move=True,
            context=about.get("context", False),
            mirrored=about.get("mirrored", False),
            turned=about.get("turned", False),
        )


def rounded_size(size: int) -> int:
    """Side of the square that the network can take, nearest to `size`."""
    return max(MULTIPLE, int(size / MULTIPLE + 0.5) * MULTIPLE)


def _views(mirrored: bool, turned: bool) -> list[tuple[int, ...]]:
    """The axes that are flipped for each view: as it is, mirrored, upside down, both."""
    views: list[tuple[int, ...]] = [()]
    if mirrored:
        views.append((-1,))
    if turned:
        # Half a turn; the quarters add nothing to it (Kvasir-SEG: 0.707, 0.739, 0.765 with four
        # views, 0.706, 0.738, 0.771 with eight).
        views += [tuple({-2, -1} ^ set(axes)) for axes in views]
    return views


def _is_standardised(network: nn.Module) -> bool:
    return any(parametrize.is_parametrized(part) for part in network.modules())


def _read_about(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as stream:
            about = json.loads((stream.metadata() or {}).get("scsam", "{}"))
    except (OSError, SafetensorError, ValueError) as exc:
        raise ModelError(f"{path} is not a U-Net of a round: {exc}.") from exc
    if not isinstance(about, dict) or about.get("format") not in (_FIRST_FORMAT, _FORMAT):
        raise ModelError(f"{path} is not a U-Net of a round, or of a newer version.")
    if about["preprocess"] != PREPROCESS_VERSION:
        raise ModelError(
            f"{path.name} was trained with another preprocessing ({about['preprocess']}, now "
            f"{PREPROCESS_VERSION}): train a new round."
        )
    return about
