"""Promptable segmentation with SAM's three modules, for all image encoders."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from napari_scsam.core.errors import InputError
from napari_scsam.core.log_odds import SURE
from napari_scsam.core.prompts import Prompts
from napari_scsam.models.base import BaseSam, decoder_copy, load_base
from napari_scsam.models.class_prior import PRIOR_FILE, ClassPrior
from napari_scsam.models.clicks_to_box import box_from_prompts, carve
from napari_scsam.models.decoder import decode_mask, for_best_dice
from napari_scsam.models.device import Place, bring, resolve_device
from napari_scsam.models.embeddings import embedding_key
from napari_scsam.models.encoder import for_inference, stopped_by
from napari_scsam.models.preprocess import Frame, prepare
from napari_scsam.models.protocols import Decoded, Embedding
from napari_scsam.models.zoo import ZooEntry, find_entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray
    from napari_scsam.core.jobs import CancelToken
    from napari_scsam.core.settings import Device
    from napari_scsam.models.adapters import AdapterInfo


# peft's name for an adapter's weights.
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def load_sam(
    name: str = "lite-medsam",
    *,
    device: Device = "auto",
    checkpoint: str | Path | None = None,
    adapter: str | Path | None = None,
) -> SamModel:
    """Load a SAM; see `napari_scsam.models.load_sam`."""
    target = resolve_device(device)
    if adapter is None:
        return SamModel(SamWeights.of(load_base(name, checkpoint), target, may_move=True))
    # Not at the top: peft takes seconds to import, and the base does not need it.
    from napari_scsam.models.adapters import load_adapter, read_info

    info = read_info(Path(adapter))
    released = find_entry("lite-medsam-released")
    if name == "lite-medsam" and info.base == released.sha256:
        name = released.name  # trained before the warm-up existed
    base = load_base(name, checkpoint, info.sam_size)
    bare = decoder_copy(base.module)
    module, info = load_adapter(base.module, Path(adapter), base.base_hash)
    prior = Path(adapter) / PRIOR_FILE
    weights = SamWeights.of(replace(base, module=module), target, bare=bare, may_move=True)
    return SamModel(weights, info, ClassPrior.load(prior) if prior.is_file() else None)


@dataclass(frozen=True, eq=False)
class SamWeights:
    """The networks of a SAM on a device; created by `of`.

    Attributes
    ----------
    module : nn.Module
        SAM's three modules, adapted or not, in eval mode.
    entry : ZooEntry
        Input conventions of the image encoder.
    base_hash : str
        SHA-256 of the base weights.
    place : Place
        Device of the networks.
    encoder : nn.Module
        The image encoder, optimised for inference.
    encoder_hash : str
        Hash of the adapter's weights in the image encoder; empty without any.
    bare : nn.Module or None
        Prompt encoder and mask decoder without the adapter, if there is one.
    encoding, decoding : threading.Lock
        Held while embedding and while decoding: a click can be decoded while another plane is
        embedded ahead.
    """

    module: nn.Module
    entry: ZooEntry
    base_hash: str
    place: Place
    encoder: nn.Module
    encoder_hash: str = ""
    bare: nn.Module | None = None
    encoding: threading.Lock = field(default_factory=threading.Lock)
    decoding: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(
        cls,
        base: BaseSam,
        device: torch.device,
        *,
        bare: nn.Module | None = None,
        may_move: bool = False,
    ) -> SamWeights:
        """Move a SAM to a device, in eval mode.

        Parameters
        ----------
        base : BaseSam
            Its module may have been adapted after loading.
        device : torch.device
        bare : nn.Module, optional
            Its decoder without the adapter, from `decoder_copy`.
        may_move : bool
            Whether to move to the CPU for good if the device runs out of memory. Not for a
            module that is used elsewhere, too.
        """
        module = base.module.to(device).eval()
        return cls(
            module,
            base.entry,
            base.base_hash,
            Place(device, may_move=may_move),
            *_encoder_for_inference(module, device),
            bare=None if bare is None else bare.to(device).eval(),
        )

    def as_trained(self) -> SamWeights:
        """Return a copy with the current weights of the image encoder, after training."""
        encoder, encoder_hash = _encoder_for_inference(self.module, self.place.device)
        return replace(self, encoder=encoder, encoder_hash=encoder_hash)

    def apart(self) -> SamWeights:
        """Return a copy with its own locks, for another thread."""
        return replace(self, encoding=threading.Lock(), decoding=threading.Lock())


def _encoder_for_inference(module: nn.Module, device: torch.device) -> tuple[nn.Module, str]:
    """Return the image encoder for inference, and the hash of its adapter."""
    return for_inference(cast("nn.Module", module.image_encoder), device), _encoder_hash(module)


def _encoder_hash(module: nn.Module) -> str:
    if not any(hasattr(part, "get_base_layer") for part in module.modules()):
        return ""  # there is no adapter, and importing peft takes seconds
    from napari_scsam.models.adapters import encoder_hash

    return encoder_hash(module)


class SamModel:
    """A `SamBackend`: a view on the weights of a SAM, with metadata of the adapter.

    Parameters
    ----------
    weights : SamWeights
    adapter : AdapterInfo, optional
        Metadata of the adapter inside the module, from `load_adapter`. None: the abilities of
        the base are assumed.
    prior : ClassPrior, optional

    Attributes
    ----------
    weights : SamWeights
    prior : ClassPrior or None
        Class prior on its embeddings. It is the mask prompt for a class that it covers, if no
        other mask is given. A round sets it as soon as it is fitted.
    """

    def __init__(
        self,
        weights: SamWeights,
        adapter: AdapterInfo | None = None,
        prior: ClassPrior | None = None,
    ) -> None:
        self.weights = weights
        self.prior = prior
        self._adapter = adapter

    @cached_property
    def shipped(self) -> SamModel | None:
        """The SAM without its adapter, using the same embeddings.

        None without an adapter, or if the adapter changes the image encoder.
        """
        bare = self.weights.bare
        if bare is None or self.weights.encoder_hash:
            return None
        return SamModel(replace(self.weights, module=bare, bare=None))

    def with_adapter(self, adapter: AdapterInfo | None) -> SamModel:
        """Return the same network with other metadata of its adapter; None for no adapter."""
        return SamModel(self.weights, adapter, self.prior)

    def follow_encoder(self) -> None:
        """Use the current weights of the image encoder from now on, after training."""
        self.weights = self.weights.as_trained()

    def twin(self) -> SamModel:
        """Return a copy for another thread, which embeds and decodes independently."""
        return SamModel(self.weights.apart(), self._adapter, self.prior)

    @property
    def module(self) -> nn.Module:
        """SAM's three modules."""
        return self.weights.module

    @property
    def entry(self) -> ZooEntry:
        """Input conventions of its image encoder."""
        return self.weights.entry

    @property
    def name(self) -> str:
        """Name in the zoo."""
        return self.entry.name

    @property
    def device(self) -> str:
        """Device that it currently runs on: ``cpu``, ``cuda`` or ``mps``."""
        return self.torch_device.type

    @property
    def torch_device(self) -> torch.device:
        """The device as a torch object."""
        return self.weights.place.device

    @property
    def understands_points(self) -> bool:
        """Whether it was trained with points, by its authors or in a round."""
        if self._adapter is not None:
            return self._adapter.understands_points
        return self.entry.understands_points

    @property
    def base_hash(self) -> str:
        """SHA-256 of the base weights."""
        return self.weights.base_hash

    @property
    def adapts_encoder(self) -> bool:
        """Whether its adapter includes the image encoder."""
        return self._adapter is not None and self._adapter.profile == "adapted-encoder"

    def embedding_key(self, image: NDArray[Any]) -> str:
        """Return the key of the embedding of this plane."""
        return embedding_key(image, self.weights.base_hash, self.weights.encoder_hash)

    def embed(self, image: NDArray[Any], cancel: CancelToken | None = None) -> Embedding:
        """Encode one plane; see `SamBackend.embed`."""
        prepared = prepare(image, self.entry.input_size, self.entry.normalisation)
        encoder = self.weights.encoder

        def encode(device: torch.device) -> Tensor:
            bring(encoder, device)
            features: Tensor = encoder(prepared.pixels[None].to(device))
            return features.float().contiguous()

        # Not inference_mode: training uses embeddings, and autograd refuses inference tensors.
        with self.weights.encoding, torch.no_grad(), stopped_by(cancel, encoder):
            features = self.weights.place.run(encode)
        return Embedding(
            features=features,
            shape=prepared.frame.shape,
            view=prepared.view,
            key=self.embedding_key(image),
        )

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        """Decode one object; see `SamBackend.decode`."""
        prompts.check_inside(embedding.shape)
        if prompts.is_empty and not self._has_tokens(class_id):
            raise InputError("There is nothing to segment yet: give a point, a box or a mask.")
        supported, via = self._supported(embedding, prompts)
        frame = Frame(embedding.shape, self.entry.input_size)

        def predict(device: torch.device) -> tuple[FloatArray, float]:
            bring(self.module, device)
            low, iou = self._predict(embedding.features.to(device), supported, frame, class_id)
            return frame.logits_to_plane(low)[0, 0].cpu().numpy(), iou

        with self.weights.decoding, torch.inference_mode():
            logits, iou = self.weights.place.run(predict)
        if not self.understands_points:
            excluded = (logits > 0) & ~carve(logits > 0, embedding.view, prompts)
            logits = np.where(excluded, -np.abs(logits), logits)
        return Decoded(
            mask=logits > 0,
            logits=np.ascontiguousarray(logits, dtype=np.float32),
            iou=float(np.clip(iou, 0, 1)),
            via=via,
        )

    def class_log_odds(self, embedding: Embedding, class_id: int) -> FloatArray | None:
        """Return the log-odds of a class by its prior; see `SamBackend.class_log_odds`."""
        if self.prior is None or not self.prior.knows(class_id):
            return None
        frame = Frame(embedding.shape, self.entry.input_size)
        odds = self.prior.log_odds(embedding.features.float(), class_id)
        plane: FloatArray = frame.logits_to_plane(odds)[0, 0].cpu().numpy()
        return plane

    def _supported(self, embedding: Embedding, prompts: Prompts) -> tuple[Prompts, str]:
        """Convert the prompts to kinds that the model supports; return also the kind used."""
        if prompts.is_empty:
            return prompts, "class"
        if prompts.box is not None:
            # Points beside a box make a model without point training worse
            # (docs/explanation/adapting-sam.md); every adapter was trained with masks beside a box.
            mask = None if self._adapter is None else prompts.mask
            without_points = Prompts(box=prompts.box, mask=mask)
            return (prompts if self.understands_points else without_points), "box"
        if self.understands_points:
            return prompts, "points" if prompts.points else "mask"
        box = box_from_prompts(embedding.view, embedding.shape, prompts)
        return Prompts(box=box), "box from clicks" if prompts.points else "mask"

    def _has_tokens(self, class_id: int | None) -> bool:
        return self._adapter is not None and class_id in self._adapter.class_ids

    def _class_tokens(self, class_id: int | None) -> Tensor | None:
        """Return the tokens (1, N, 256) of a class, if the adapter has them."""
        if self._adapter is None or class_id is None or not self._has_tokens(class_id):
            return None
        from napari_scsam.models.adapters import class_tokens

        return class_tokens(self.module, self._adapter, class_id)

    def _predict(
        self, features: Tensor, prompts: Prompts, frame: Frame, class_id: int | None
    ) -> tuple[Tensor, float]:
        """Predict low-resolution logits (1, 1, side, side) and the IoU."""
        encoder: Any = self.module.prompt_encoder
        mask = self._mask(prompts, frame, features, class_id)
        sparse, dense = encoder(
            points=self._points(prompts, frame, features.device),
            boxes=self._box(prompts, frame, features.device),
            masks=mask,
        )
        tokens = self._class_tokens(class_id)
        if tokens is not None:
            sparse = torch.cat([sparse, tokens], dim=1)
        position = self._dense_position.to(features.device)
        decoder = cast("nn.Module", self.module.mask_decoder)
        low, iou = decode_mask(decoder, features, position, sparse, dense)
        low, iou = low.float(), iou.float()
        # With a mask prompt, as in propagation from slice to slice, the mask would keep growing.
        if self._trained_here and mask is None and not prompts.is_empty:
            low = for_best_dice(low, iou)
        return low, float(iou)

    @property
    def _trained_here(self) -> bool:
        """Whether its decoder was trained with this project's losses."""
        return self._adapter is not None or self.entry.warm_up is not None

    @cached_property
    def _dense_position(self) -> Tensor:
        """Positional encoding of the embedding's grid (1, 256, side, side); never trained."""
        encoder: Any = self.module.prompt_encoder
        return cast("Tensor", encoder.get_dense_pe())

    def _points(
        self, prompts: Prompts, frame: Frame, device: torch.device
    ) -> tuple[Tensor, Tensor] | None:
        if not prompts.points:
            return None
        coords = torch.from_numpy(frame.to_xy(prompts.points))[None]
        labels = torch.tensor(prompts.labels, dtype=torch.float32)[None]
        return coords.to(device), labels.to(device)

    def _box(self, prompts: Prompts, frame: Frame, device: torch.device) -> Tensor | None:
        if prompts.box is None:
            return None
        return torch.from_numpy(frame.box_to_xyxy(prompts.box))[None].to(device)

    def _mask(
        self, prompts: Prompts, frame: Frame, features: Tensor, class_id: int | None
    ) -> Tensor | None:
        """Return the mask prompt; without one, the log-odds of the class prior."""
        if prompts.mask is not None:
            side = 4 * self.entry.embedding_size
            return frame.mask_to_input(prompts.mask, side).to(features.device)
        if self.prior is None or class_id is None or not self.prior.knows(class_id):
            return None
        return self.prior.log_odds(features, class_id).clamp(-SURE, SURE)
