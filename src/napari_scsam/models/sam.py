"""One promptable segmenter over SAM's three modules, whichever image encoder it has."""

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
    # Here, since peft takes seconds to import and the base needs none of it.
    from napari_scsam.models.adapters import load_adapter, read_info

    info = read_info(Path(adapter))
    released = find_entry("lite-medsam-released")
    if name == "lite-medsam" and info.base == released.sha256:
        name = released.name  # trained before there was a warm-up
    base = load_base(name, checkpoint, info.sam_size)
    bare = decoder_copy(base.module)
    module, info = load_adapter(base.module, Path(adapter), base.base_hash)
    prior = Path(adapter) / PRIOR_FILE
    weights = SamWeights.of(replace(base, module=module), target, bare=bare, may_move=True)
    return SamModel(weights, info, ClassPrior.load(prior) if prior.is_file() else None)


@dataclass(frozen=True, eq=False)
class SamWeights:
    """A SAM's networks on a device; made by `of`.

    Attributes
    ----------
    module : nn.Module
        SAM's three modules, adapted or not, in eval mode.
    entry : ZooEntry
        What the image encoder expects.
    base_hash : str
        SHA-256 of the base weights.
    place : Place
        Where they are.
    encoder : nn.Module
        The image encoder as it embeds.
    encoder_hash : str
        Hash of the adapter's weights, where it changes the image encoder.
    bare : nn.Module or None
        Prompt encoder and mask decoder without the adapter, where there is one.
    encoding, decoding : threading.Lock
        Held by who embeds and who decodes: a click is decoded while another plane is embedded
        ahead.
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
        """Bring a SAM to a device, in eval mode.

        Parameters
        ----------
        base : BaseSam
            Its module may have been adapted since it was loaded.
        device : torch.device
        bare : nn.Module, optional
            Its decoder without the adapter, from `decoder_copy`.
        may_move : bool
            Whether it goes on on the CPU, for good, when the device is full. Not for a module
            that something else uses.
        """
        module = base.module.to(device).eval()
        return cls(
            module,
            base.entry,
            base.base_hash,
            Place(device, may_move=may_move),
            *_as_it_embeds(module, device),
            bare=None if bare is None else bare.to(device).eval(),
        )

    def as_trained(self) -> SamWeights:
        """The same with the image encoder's weights as they are now."""
        encoder, encoder_hash = _as_it_embeds(self.module, self.place.device)
        return replace(self, encoder=encoder, encoder_hash=encoder_hash)

    def apart(self) -> SamWeights:
        """The same for another thread, which waits for no one who embeds or decodes."""
        return replace(self, encoding=threading.Lock(), decoding=threading.Lock())


def _as_it_embeds(module: nn.Module, device: torch.device) -> tuple[nn.Module, str]:
    """A SAM's image encoder for inference, and the hash of what an adapter adds to it."""
    return for_inference(cast("nn.Module", module.image_encoder), device), _encoder_hash(module)


def _encoder_hash(module: nn.Module) -> str:
    if not any(hasattr(part, "get_base_layer") for part in module.modules()):
        return ""  # there is no adapter, and peft takes seconds to import
    from napari_scsam.models.adapters import encoder_hash

    return encoder_hash(module)


class SamModel:
    """A `SamBackend`: a view of a SAM's weights, with what is known of their adapter.

    Parameters
    ----------
    weights : SamWeights
    adapter : AdapterInfo, optional
        What `load_adapter` said about the adapter inside their module; without it, the base's
        abilities are taken for theirs.
    prior : ClassPrior, optional

    Attributes
    ----------
    weights : SamWeights
    prior : ClassPrior or None
        What classes look like on its embeddings. SAM is told it when it is asked for a class that
        it knows, without a mask. A round sets it as soon as it has learned it.
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
        """The same without its adapter, for the same embeddings.

        None without an adapter, and where the adapter changes the image encoder.
        """
        bare = self.weights.bare
        if bare is None or self.weights.encoder_hash:
            return None
        return SamModel(replace(self.weights, module=bare, bare=None))

    def with_adapter(self, adapter: AdapterInfo | None) -> SamModel:
        """The same network with another word on what its adapter can do; None for nothing."""
        return SamModel(self.weights, adapter, self.prior)

    def follow_encoder(self) -> None:
        """Embed with the image encoder's weights as they are now, after it was trained."""
        self.weights = self.weights.as_trained()

    def twin(self) -> SamModel:
        """The same network for another thread: each embeds and decodes by itself."""
        return SamModel(self.weights.apart(), self._adapter, self.prior)

    @property
    def module(self) -> nn.Module:
        """SAM's three modules."""
        return self.weights.module

    @property
    def entry(self) -> ZooEntry:
        """What its image encoder expects."""
        return self.weights.entry

    @property
    def name(self) -> str:
        """Name in the zoo."""
        return self.entry.name

    @property
    def device(self) -> str:
        """Where it runs now: ``cpu``, ``cuda`` or ``mps``."""
        return self.torch_device.type

    @property
    def torch_device(self) -> torch.device:
        """The same, as torch takes it."""
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
        """Whether its adapter changes the image encoder, too."""
        return self._adapter is not None and self._adapter.profile == "adapted-encoder"

    def embedding_key(self, image: NDArray[Any]) -> str:
        """Key of the embedding that `embed` would make of this plane."""
        return embedding_key(image, self.weights.base_hash, self.weights.encoder_hash)

    def embed(self, image: NDArray[Any], cancel: CancelToken | None = None) -> Embedding:
        """Encode one plane; see `SamBackend.embed`."""
        prepared = prepare(image, self.entry.input_size, self.entry.normalisation)
        encoder = self.weights.encoder

        def encode(device: torch.device) -> Tensor:
            bring(encoder, device)
            features: Tensor = encoder(prepared.pixels[None].to(device))
            return features.float().contiguous()

        # Not inference_mode: training reads embeddings, and its autograd refuses such tensors.
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
        """Mask for one object; see `SamBackend.decode`."""
        prompts.check_inside(embedding.shape)
        if prompts.is_empty and not self._has_tokens(class_id):
            raise InputError("There is nothing to segment yet: give a point, a box or a mask.")
        asked, via = self._asked(embedding, prompts)
        frame = Frame(embedding.shape, self.entry.input_size)

        def predict(device: torch.device) -> tuple[FloatArray, float]:
            bring(self.module, device)
            low, iou = self._predict(embedding.features.to(device), asked, frame, class_id)
            return frame.logits_to_plane(low)[0, 0].cpu().numpy(), iou

        with self.weights.decoding, torch.inference_mode():
            logits, iou = self.weights.place.run(predict)
        if not self.understands_points:
            spilt = (logits > 0) & ~carve(logits > 0, embedding.view, prompts)
            logits = np.where(spilt, -np.abs(logits), logits)
        return Decoded(
            mask=logits > 0,
            logits=np.ascontiguousarray(logits, dtype=np.float32),
            iou=float(np.clip(iou, 0, 1)),
            via=via,
        )

    def _asked(self, embedding: Embedding, prompts: Prompts) -> tuple[Prompts, str]:
        """The prompts in the kinds that the model understands, and the name of their use."""
        if prompts.is_empty:
            return prompts, "class"
        if prompts.box is not None:
            # Points beside a box make a model that never saw them worse, as
            # docs/explanation/adapting-sam.md has it; masks beside one every adapter has learned.
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
        """Learned sparse tokens (1, N, 256) of a class, where the adapter has them."""
        if self._adapter is None or class_id is None or not self._has_tokens(class_id):
            return None
        from napari_scsam.models.adapters import class_tokens

        return class_tokens(self.module, self._adapter, class_id)

    def _predict(
        self, features: Tensor, prompts: Prompts, frame: Frame, class_id: int | None
    ) -> tuple[Tensor, float]:
        """SAM's low-resolution logits (1, 1, side, side) and its own estimate of the IoU."""
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
        # An answer that is told again and again, as outlines are from slice to slice, would grow.
        if self._learned_here and mask is None and not prompts.is_empty:
            low = for_best_dice(low, iou)
        return low, float(iou)

    @property
    def _learned_here(self) -> bool:
        """Whether its decoder was trained by this project's losses, not by its authors' alone."""
        return self._adapter is not None or self.entry.warm_up is not None

    @cached_property
    def _dense_position(self) -> Tensor:
        """Position code of the embedding's grid (1, 256, side, side); no round trains it."""
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
        """The mask prompt; where there is none yet, what is known of the class's looks."""
        if prompts.mask is not None:
            side = 4 * self.entry.embedding_size
            return frame.mask_to_input(prompts.mask, side).to(features.device)
        if self.prior is None or class_id is None or not self.prior.knows(class_id):
            return None
        return self.prior.log_odds(features, class_id).clamp(-SURE, SURE)
