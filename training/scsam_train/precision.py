"""Mixed precision on hardware with native bfloat16; on other hardware it would be slower."""

from __future__ import annotations

import torch

from napari_scsam.models import encoder


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    return encoder.has_bfloat16()


def mixed_precision(device: torch.device) -> torch.autocast:
    """Return an autocast context: bfloat16 if native, with float32 parameters."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
