"""The round's U-Net: inference, and its file format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_scsam.core.errors import ModelError
from napari_scsam.core.log_odds import SURE
from napari_scsam.core.round_contract import SIDE_MULTIPLE
from napari_scsam.models.checkpoint import load_strictly, read_state_dict
from napari_scsam.models.class_prior import ClassPrior
from napari_scsam.models.device import Place, bring
from napari_scsam.models.preprocess import (
    PREPROCESS_VERSION,
    check_plane,
    prepare,
    with_neighbours,
)
from napari_scsam.models.pretrained import ENCODER, fold_batch_norm
from napari_scsam.models.pretrained_unet import PretrainedUNet
from napari_scsam.models.scratch_unet import FoldedUNet, build_network, fold_for, is_standardised

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray
    from napari_scsam.core.settings import UNetKind
    from napari_scsam.core.volume import Around
    from napari_scsam.models.protocols import Embedding

# Randomly initialised networks, the second with standardised weights; then one with a pretrained
# encoder. All can still be read and trained further.
_FIRST_FORMAT, _SECOND_FORMAT, _PRETRAINED_FORMAT = (f"napari-scsam-unet-{n}" for n in (1, 2, 3))
_FORMATS = (_FIRST_FORMAT, _SECOND_FORMAT, _PRETRAINED_FORMAT)
# Largest number in the description of a file: side of the input (core/settings.py), class id,
# channels. A convolution between so many channels takes 38 MB.
_MAX_SIZE = 1024
# Prefix of the class prior's tensors in the file.
_PRIOR = "prior."
# Divisor of log-odds, to bring them to the scale of the embedding. Arbitrary.
_SCALE = 4.0


class UNet:
    """A U-Net with everything needed for inference.

    Parameters
    ----------
    network : nn.Module
        A `FoldedUNet` or a `PretrainedUNet`; moved to `device`.
    class_ids : sequence of int
        Classes in the order of the logits, after the background.
    image_size : int
        Side of its square input, a multiple of 32.
    device : torch.device or Place, optional
        A Place also says whether the model may move to the CPU if the device is full.
    context : bool
        Whether its three channels are the previous plane, the plane, and the next plane of a grey
        volume; otherwise they are the plane three times.
    mirrored, turned : bool
        Whether it was trained on planes mirrored left to right, and on rotated ones. Inference
        then averages over these views (test-time augmentation): on Kvasir-SEG, 100 pictures, Dice
        of five U-Nets of 40 labels each rose by 0.01 to 0.02 with both.
    prior : ClassPrior, optional
        For a network with SAM features as input: its log-odds are an input, too.

    Attributes
    ----------
    on_own_grid : bool
        Whether `probabilities` returns those of the scaled plane, without resampling them to the
        plane's own pixels; False at first.
    """

    def __init__(
        self,
        network: nn.Module,
        class_ids: Sequence[int],
        image_size: int,
        device: torch.device | Place | None = None,
        *,
        context: bool = False,
        mirrored: bool = False,
        turned: bool = False,
        prior: ClassPrior | None = None,
    ) -> None:
        cpu = torch.device("cpu")
        self._place = device if isinstance(device, Place) else Place(device or cpu)
        self.network = network.to(self._place.device)
        self.class_ids = tuple(class_ids)
        self.image_size = image_size
        self.context = context
        self.mirrored, self.turned = mirrored, turned
        self.prior = prior
        self.on_own_grid = False

    @property
    def kind(self) -> UNetKind:
        """Initialisation of the network, and whether it takes SAM features."""
        if not isinstance(self.network, PretrainedUNet):
            return "scratch"
        return "pretrained+sam" if self.sees_sam else "pretrained"

    @property
    def sees_sam(self) -> bool:
        """Whether SAM's embedding of a plane is an optional input."""
        return getattr(self.network, "sam_channels", 0) > 0

    @property
    def device(self) -> torch.device:
        """Device that it currently runs on."""
        return self._place.device

    def probabilities(
        self,
        image: NDArray[Any],
        around: Around | None = None,
        embedding: Embedding | None = None,
    ) -> FloatArray:
        """Predict class probabilities on the plane's own grid, unless `on_own_grid`.

        Parameters
        ----------
        image : ndarray of shape (rows, cols) or (rows, cols, 3), any real dtype
        around : pair of ndarrays of the shape of `image`, optional
            The planes before and after, for a U-Net with context; a missing one is replaced by
            the plane itself.
        embedding : Embedding, optional
            SAM's embedding of the plane, for a U-Net that takes it. None: pixels only.

        Returns
        -------
        ndarray of shape (K + 1, rows, cols), float32
            Background first; sums to 1. With `on_own_grid` the longest side is `image_size`.

        Raises
        ------
        InputError
            As for `preprocess.check_plane`.
        """
        seen = with_neighbours(check_plane(image), around if self.context else None)
        prepared = prepare(seen, self.image_size, "unit")
        self.network.eval()

        joined = None
        if self.sees_sam and self.prior is not None and embedding is not None:
            joined = sam_channels(embedding.features.float(), self.prior, self.class_ids)

        def infer(device: torch.device) -> FloatArray:
            bring(self.network, device)
            sam = None if joined is None else joined.to(device)
            found = self._over_views(prepared.pixels[None].to(device), sam)
            if self.on_own_grid:
                planes = prepared.frame.without_padding(found)
            else:
                planes = prepared.frame.logits_to_plane(found)
            return np.ascontiguousarray(planes[0].cpu().numpy(), dtype=np.float32)

        with torch.inference_mode():
            return self._place.run(infer)

    def _over_views(self, canvas: Tensor, sam: Tensor | None) -> Tensor:
        """Average the probabilities (1, K + 1, s, s) of a canvas (1, 3, s, s) over its views."""
        views = _views(self.mirrored, self.turned)
        seen = [torch.cat([canvas.flip(axes) for axes in views])]
        if sam is not None:
            seen.append(torch.cat([sam.flip(axes) for axes in views]))
        found = self.network(*seen).float().softmax(dim=1)
        back = [one.flip(axes) for one, axes in zip(found.split(1), views, strict=True)]
        return torch.stack(back).mean(dim=0)

    def save(self, path: Path) -> None:
        """Write weights and metadata to a ``.safetensors`` file."""
        metadata = {
            **_network_metadata(self.network),
            "class_ids": list(self.class_ids),
            "image_size": self.image_size,
            "preprocess": PREPROCESS_VERSION,
            "context": self.context,
            "mirrored": self.mirrored,
            "turned": self.turned,
        }
        tensors = dict(self.network.state_dict())
        if self.prior is not None:
            tensors |= {_PRIOR + name: value for name, value in self.prior.tensors().items()}
        state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(state, path, metadata={"scsam": json.dumps(metadata)})

    @classmethod
    def load(
        cls, path: Path, device: torch.device | None = None, *, trainable: bool = False
    ) -> UNet:
        """Read what `save` wrote.

        Parameters
        ----------
        path : Path
        device : torch.device, optional
        trainable : bool
            Whether it will be trained and saved again; otherwise it is optimised for inference.

        Raises
        ------
        ModelError
            If the file is invalid, or was made with another preprocessing.
        """
        metadata = _read_metadata(path)
        try:
            network = _build_from_metadata(metadata)
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as exc:
            raise ModelError(f"{path} is damaged: {exc} in its description.") from exc
        state = read_state_dict(path)
        prior = {name: state.pop(name) for name in list(state) if name.startswith(_PRIOR)}
        load_strictly(network, state, path.name)
        network.eval()
        if isinstance(network, PretrainedUNet) and not trainable:
            fold_batch_norm(network.encoder)
        return cls(
            network,
            metadata["class_ids"],
            metadata["image_size"],
            Place(device or torch.device("cpu"), may_move=True),
            context=metadata.get("context", False),
            mirrored=metadata.get("mirrored", False),
            turned=metadata.get("turned", False),
            prior=ClassPrior.of_tensors(prior, path, _PRIOR) if prior else None,
        )


def kind_in(path: Path) -> UNetKind | None:
    """Return the kind of the U-Net in a file without reading its weights; None if unreadable."""
    try:
        metadata = _read_metadata(path)
    except ModelError:
        return None
    if metadata["format"] != _PRETRAINED_FORMAT:
        return "scratch"
    return "pretrained+sam" if metadata.get("sam_channels") else "pretrained"


def new_network(kind: UNetKind, outputs: int, size: int, sam_channels: int) -> nn.Module:
    """Build a network to train.

    Parameters
    ----------
    kind : {'scratch', 'pretrained', 'pretrained+sam'}
    outputs : int
        Number of logit maps: background and classes.
    size : int
        Side of the input.
    sam_channels : int
        Channels of the SAM features, for the last kind.

    Raises
    ------
    ModelError
        If the pretrained encoder's weights are not installed.
    """
    if kind == "scratch":
        return build_network(outputs, fold_for(size))
    joined = sam_channels if kind == "pretrained+sam" else 0
    network = PretrainedUNet(outputs, sam_channels=joined)
    return network.to(memory_format=torch.channels_last)


def twin_network(network: nn.Module) -> nn.Module:
    """Build another network of the same kind with new random weights."""
    if isinstance(network, PretrainedUNet):
        outputs = network.head.out_channels
        twin = PretrainedUNet(outputs, network.channels, network.sam_channels)
        return twin.to(memory_format=torch.channels_last)
    folded = cast("FoldedUNet", network)
    return build_network(folded.outputs, folded.fold, folded.features)


def sam_channels(features: Tensor, prior: ClassPrior, class_ids: Sequence[int]) -> Tensor:
    """Return the SAM features for a U-Net: embeddings and the classes' log-odds on their grid.

    Parameters
    ----------
    features : Tensor of shape (N, D, e, e), float32
        SAM's embeddings.
    prior : ClassPrior
    class_ids : sequence of int
        K classes; the log-odds of those without a prior are 0.

    Returns
    -------
    Tensor of shape (N, D + K, e, e), float32
    """
    odds = prior.cell_log_odds(features, class_ids).clamp(-SURE, SURE) / _SCALE
    return torch.cat([features, odds], dim=1)


def rounded_size(size: int) -> int:
    """Return the valid input side nearest to `size`."""
    return max(SIDE_MULTIPLE, int(size / SIDE_MULTIPLE + 0.5) * SIDE_MULTIPLE)


def _views(mirrored: bool, turned: bool) -> list[tuple[int, ...]]:
    """Return the flipped axes of each view: identity, mirrored, upside down, both."""
    views: list[tuple[int, ...]] = [()]
    if mirrored:
        views.append((-1,))
    if turned:
        # Half a turn; quarter turns don't help further (Kvasir-SEG: 0.707, 0.739, 0.765 with four
        # views, 0.706, 0.738, 0.771 with eight).
        views += [tuple({-2, -1} ^ set(axes)) for axes in views]
    return views


def _network_metadata(network: nn.Module) -> dict[str, Any]:
    """Return the metadata needed to rebuild a network."""
    if isinstance(network, PretrainedUNet):
        sizes = {"channels": network.channels, "sam_channels": network.sam_channels}
        return {"format": _PRETRAINED_FORMAT, "encoder": ENCODER, **sizes}
    folded = cast("FoldedUNet", network)
    made = _SECOND_FORMAT if is_standardised(network) else _FIRST_FORMAT
    return {"format": made, "fold": folded.fold, "features": list(folded.features)}


def _build_from_metadata(metadata: dict[str, Any]) -> nn.Module:
    outputs = len(metadata["class_ids"]) + 1
    if metadata["format"] == _PRETRAINED_FORMAT:
        sizes = int(metadata["channels"]), int(metadata["sam_channels"])
        return PretrainedUNet(outputs, *sizes, pretrained=False).to(
            memory_format=torch.channels_last
        )
    standardised = metadata["format"] == _SECOND_FORMAT
    fold, features = metadata.get("fold", 2), metadata["features"]
    return build_network(outputs, fold, features, standardised=standardised)


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = json.loads((stream.metadata() or {}).get("scsam", "{}"))
    except (OSError, SafetensorError, ValueError) as exc:
        raise ModelError(f"{path} is not a U-Net of a round: {exc}.") from exc
    if not isinstance(metadata, dict) or metadata.get("format") not in _FORMATS:
        raise ModelError(f"{path} is not a U-Net of a round, or of a newer version.")
    if metadata.get("preprocess") != PREPROCESS_VERSION:
        raise ModelError(
            f"{path.name} was trained with another preprocessing ({metadata.get('preprocess')}, "
            f"now {PREPROCESS_VERSION}): train a new round."
        )
    numbers = [metadata.get("image_size"), *_listed(metadata.get("class_ids"))]
    numbers += [metadata.get(name, 1) for name in ("channels", "fold")]
    numbers += [*_listed(metadata.get("features", [1])), metadata.get("sam_channels") or 1]
    if not all(type(n) is int and 1 <= n <= _MAX_SIZE for n in numbers):
        raise ModelError(f"{path} is damaged: a number in its description can't be one of a U-Net.")
    return metadata


def _listed(value: Any) -> list[Any]:
    """The items of a list; a value that no list has if it is none or is empty."""
    return list(value) if isinstance(value, list) and value else [None]
