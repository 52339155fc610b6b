"""Which device a model runs on, and how many threads it may take."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from napari_scsam.core.errors import ModelError
from napari_scsam.models.zoo import find_entry

NAMES = ("auto", "cpu", "cuda", "mps")


def available_devices() -> list[str]:
    """Devices that torch can use on this machine, the best first."""
    devices = []
    if torch.cuda.is_available():
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def resolve_device(name: str = "auto", available: Sequence[str] | None = None) -> torch.device:
    """Torch device for one of the names that people choose from.

    Parameters
    ----------
    name : {'auto', 'cpu', 'cuda', 'mps'}
        ``auto`` takes the first of `available`.
    available : sequence of str, optional
        What there is, the best first; by default what torch sees.

    Raises
    ------
    ModelError
        If the name is unknown, or the device is not on this machine.
    """
    here = list(available_devices() if available is None else available)
    if name not in NAMES:
        raise ModelError(f"A device is one of {', '.join(NAMES)}; got {name!r}.")
    if name == "auto":
        return torch.device(here[0])
    if name not in here:
        raise ModelError(
            f"This machine has no {name} device that torch can use; "
            f"it has {', '.join(here)}. Choose one of these, or auto."
        )
    return torch.device(name)


def describe(name: str, device: str) -> str:
    """Model and device in words, such as ``"LiteMedSAM on CPU, 2 threads"``."""
    title = find_entry(name).title.split(" (")[0]
    if device != "cpu":
        return f"{title} on {device.upper()}"
    threads = torch.get_num_threads()
    return f"{title} on CPU, {threads} thread{'' if threads == 1 else 's'}"
