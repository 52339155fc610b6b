"""Half precision where the hardware computes in it; elsewhere it would only be slower."""

from __future__ import annotations

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    # Older versions of torch don't say; without native support bfloat16 is slower than float32.
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def mixed_precision(device: torch.device) -> torch.autocast:
    """Context for forward passes: bfloat16 where it pays, parameters stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
