"""SAM's adapters: which parts a round trains, and how they are stored separately from the base."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from torch import Tensor, nn

from napari_scsam.core.errors import INVALID, ModelError
from napari_scsam.models.preprocess import PREPROCESS_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Profile = Literal["frozen-encoder", "adapted-encoder"]
Method = Literal["lora", "dora"]

INFO_FILE = "scsam.json"
# Arbitrary.
TOKENS_PER_CLASS = 2
# Largest rank, class id, number of classes and side of SAM's input that are read. Arbitrary.
_MAX_SIZE = 4096
# Of SAM's prompt embeddings (Kirillov et al., ICCV 2023, appendix A).
_DIM = 256
# The norm of SAM's own point tokens, 2 to 3, divided by the square root of their 256 entries.
_TOKEN_STD = 0.15

_DECODER = (
    r"mask_decoder\.transformer\.(layers\.\d+\.)?"
    r"((self_attn|cross_attn_token_to_image|cross_attn_image_to_token|final_attn_token_to_image)"
    r"\.(q_proj|k_proj|v_proj|out_proj)|mlp\.(lin1|lin2))"
)
# TinyViT numbers its layers and their blocks, ViT its blocks. Anchored, so that neither
# patch_embed.proj nor a depthwise convolution matches (docs/explanation/adapting-sam.md).
_ENCODER = r"image_encoder\.(layers\.\d+\.)?blocks\.\d+\.attn\.(qkv|proj)"
_TARGETS: dict[Profile, str] = {
    "frozen-encoder": rf"^{_DECODER}$",
    "adapted-encoder": rf"^({_DECODER}|{_ENCODER})$",
}
# peft's config of a method, from the rank and the common options.
_METHODS: dict[Method, Callable[..., PeftConfig]] = {
    "lora": lambda rank, **common: LoraConfig(r=rank, lora_alpha=2 * rank, **common),
    "dora": lambda rank, **common: LoraConfig(r=rank, lora_alpha=2 * rank, use_dora=True, **common),
}
# Small parts that are trained in full. Only the first hypernetwork is used for single-mask output,
# which is the only kind requested.
_WHOLE = [
    "prompt_encoder",
    "class_tokens",
    "mask_decoder.output_upscaling",
    "mask_decoder.output_hypernetworks_mlps.0",
    "mask_decoder.iou_prediction_head",
    "mask_decoder.mask_tokens",
    "mask_decoder.iou_token",
]


@dataclass(frozen=True)
class AdapterInfo:
    """Metadata of an adapter, stored beside its weights in ``scsam.json``.

    Attributes
    ----------
    base : str
        SHA-256 of the base weights; the adapter can't be loaded on others.
    base_name : str
        Their name in the zoo.
    class_ids : tuple of int
        Classes with tokens, in the order of the tokens.
    understands_points : bool
        Whether it was trained with points.
    profile : {'frozen-encoder', 'adapted-encoder'}
        Whether the embeddings of the base stay valid.
    rank : int
        Rank of the adapted layers.
    preprocess : int
        Version of the preprocessing that it was trained with.
    base_parts : tuple of str
        What `base` is composed of: SHA-256 of the released weights, then of the merged warm-up
        or the input size. Empty in adapters of older versions.
    method : {'lora', 'dora'}
        Kind of adapter: LoRA (Hu et al., ICLR 2022), or DoRA (Liu et al., ICML 2024), which also
        learns the norms of the weight matrix.
    sam_size : int or None
        Side of SAM's input in pixels, if it is not the published one.
    """

    base: str
    base_name: str
    class_ids: tuple[int, ...]
    understands_points: bool = False
    profile: Profile = "frozen-encoder"
    rank: int = 8
    preprocess: int = PREPROCESS_VERSION
    base_parts: tuple[str, ...] = ()
    method: Method = "lora"
    sam_size: int | None = None


class ClassTokens(nn.Module):
    """Learned sparse tokens per class, used instead of or together with prompts.

    They correspond to SC-SAM's "super prompt" without its image branch
    (docs/explanation/published-method.md).

    Parameters
    ----------
    count : int
        Number of classes, K.
    dim : int
        Length of SAM's tokens.
    """

    def __init__(self, count: int, dim: int = _DIM) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(count, TOKENS_PER_CLASS, dim))

    def forward(self, index: Tensor) -> Tensor:
        """Return tokens of shape (N, 2, dim) for class positions of shape (N,), int64."""
        return self.weight[index]


def attach(sam: nn.Module, info: AdapterInfo, seed: int = 0) -> PeftModel:
    """Attach a fresh adapter to a SAM; its output for ordinary prompts does not change.

    Parameters
    ----------
    sam : nn.Module
        Has ``image_encoder``, ``prompt_encoder`` and ``mask_decoder``. Changed in place.
    info : AdapterInfo
        Profile, rank and classes.
    seed : int
        Seed of the random initialisation.

    Returns
    -------
    PeftModel
        In eval mode, in which it must stay: the adapter file does not contain BatchNorm
        statistics. Only adapted layers and fully trained parts require gradients.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokens = ClassTokens(len(info.class_ids))
        nn.init.normal_(tokens.weight, std=_TOKEN_STD)
        sam.class_tokens = tokens
        model = get_peft_model(sam, _config(info))
    return cast("PeftModel", model.eval())


def save_adapter(model: PeftModel, folder: Path, info: AdapterInfo) -> None:
    """Write the adapter in peft's format, and `info` as ``scsam.json``."""
    with warnings.catch_warnings():
        # peft asks the hub for a base model's vocabulary; ours has neither.
        warnings.filterwarnings("ignore", message="Could not find a config file")
        model.save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)  # an empty model card for the hub
    (folder / INFO_FILE).write_text(json.dumps(asdict(info), indent=2) + "\n")


def load_adapter(
    sam: nn.Module, folder: Path, base_hash: str, *, trainable: bool = False
) -> tuple[PeftModel, AdapterInfo]:
    """Attach a saved adapter to the base that it was trained on.

    Parameters
    ----------
    sam : nn.Module
        The base; changed in place.
    folder : Path
        Folder written by `save_adapter`.
    base_hash : str
        SHA-256 of the base's weights.
    trainable : bool
        Whether it will be trained further.

    Raises
    ------
    ModelError
        If the folder is not an adapter, or belongs to another base or preprocessing.
    """
    info = read_info(folder)
    if info.base != base_hash:
        raise ModelError(
            f"This adapter was trained on {info.base_name} ({info.base[:12]}), not on "
            f"these weights ({base_hash[:12]}): load it with its own base."
        )
    if info.preprocess != PREPROCESS_VERSION:
        raise ModelError(
            f"This adapter was trained with another preprocessing ({info.preprocess}, now "
            f"{PREPROCESS_VERSION}): train a new round."
        )
    sam.class_tokens = ClassTokens(len(info.class_ids))
    try:
        model = PeftModel.from_pretrained(
            sam,
            str(folder),
            is_trainable=trainable,
            config=_config(info, trainable=trainable),
            use_safetensors=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as exc:
        raise ModelError(f"The adapter in {folder} can't be loaded: it is damaged.") from exc
    # TinyViT caches its attention biases in eval(): update them.
    return model.eval(), info


def read_info(folder: Path) -> AdapterInfo:
    """Read ``scsam.json``.

    Raises
    ------
    ModelError
        If it is missing or invalid.
    """
    try:
        if not (folder / INFO_FILE).is_file():  # a pipe would never end
            raise FileNotFoundError(folder / INFO_FILE)
        values: dict[str, Any] = json.loads((folder / INFO_FILE).read_text())
        lists = ("class_ids", "base_parts")
        info = AdapterInfo(**values | {k: tuple(values[k]) for k in lists if k in values})
        _check_info(info)
    except (OSError, *INVALID) as exc:
        raise ModelError(
            f"{folder} is not a SAM adapter of a round: no valid {INFO_FILE}."
        ) from exc
    if info.method not in _METHODS:
        raise ModelError(
            f"This adapter was trained with {info.method!r}, which this version does not know: "
            "update it."
        )
    return info


def _check_info(info: AdapterInfo) -> None:
    """Raise ValueError or TypeError where values that were read can't be those of an adapter."""
    texts = (info.base, info.base_name, info.profile, info.method, *info.base_parts)
    if not all(isinstance(text, str) for text in texts) or info.profile not in _TARGETS:
        raise TypeError("a text was expected")
    numbers = (info.rank, info.sam_size or 1, *info.class_ids)
    if not all(type(n) is int for n in numbers):
        raise TypeError("a whole number was expected")
    # An adapter without classes is one for points.
    if not all(1 <= n <= _MAX_SIZE for n in numbers) or len(info.class_ids) > _MAX_SIZE:
        raise ValueError(f"numbers are 1 to {_MAX_SIZE}")


def encoder_hash(model: nn.Module) -> str:
    """Return the SHA-256 of active adapters in the image encoder; empty if there are none."""
    digest, adapts = hashlib.sha256(), False
    for name, layer in cast("nn.Module", model.image_encoder).named_modules():
        if not isinstance(layer, BaseTunerLayer) or layer.disable_adapters:
            continue
        adapts = True
        for key, value in layer.named_parameters():
            if not key.startswith("base_layer."):
                digest.update(f"{name}.{key}".encode())
                digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest() if adapts else ""


def class_tokens(model: nn.Module, info: AdapterInfo, class_id: int) -> Tensor:
    """Return the sparse tokens of one class, shape (1, 2, 256), to append to the prompt's.

    Raises
    ------
    ModelError
        If the adapter does not have the class.
    """
    if class_id not in info.class_ids:
        raise ModelError(
            f"This round has the classes {list(info.class_ids)}, not {class_id}: train a new one."
        )
    tokens = cast("ClassTokens", model.class_tokens)
    index = torch.tensor([info.class_ids.index(class_id)], device=_device(model))
    return cast("Tensor", tokens(index))


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that a round trains, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _config(info: AdapterInfo, *, trainable: bool = True) -> PeftConfig:
    return _METHODS[info.method](
        info.rank,
        target_modules=_TARGETS[info.profile],
        modules_to_save=list(_WHOLE),
        inference_mode=not trainable,
    )


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
