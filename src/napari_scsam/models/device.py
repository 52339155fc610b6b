"""Which device a model runs on, and how many threads it may take."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from napari_scsam.core.errors import ModelError
from napari_scsam.models.zoo import find_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

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


class Place:
    """The device that a model runs on, and the CPU from when that was full.

    Parameters
    ----------
    device : torch.device
    may_move : bool
        False raises the error of a full device: for models that something else holds, too.
    """

    def __init__(self, device: torch.device, *, may_move: bool = False) -> None:
        self.device = device
        self._may_move = may_move

    def run(self, work: Callable[[torch.device], Result]) -> Result:
        """Result of `work`, which brings all that it needs to the device it is given.

        On a full device it is called once more after unused memory was given back, then on
        the CPU, where everything stays from then on: what fills a GPU is mostly another
        program, and SAM's input has one size, so that nothing smaller could be tried.
        """
        try:
            return work(self.device)
        except RuntimeError as error:
            if not self._may_move or self.device.type == "cpu" or not is_full(error):
                raise
        # Not in the handler: the error's traceback keeps tensors alive.
        _give_back(self.device)
        try:
            return work(self.device)
        except RuntimeError as error:
            if not is_full(error):
                raise
        _log.warning("%s is full: continuing on the CPU", self.device)
        full, self.device = self.device, torch.device("cpu")
        result = work(self.device)
        _give_back(full)
        return result


def is_full(error: RuntimeError) -> bool:
    """Whether an error says that a device has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def bring(module: nn.Module, device: torch.device) -> None:
    """Move a module in place to a device where it is not there."""
    if any(p.device.type != device.type for p in islice(module.parameters(), 1)):
        module.to(device)


def _give_back(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def describe(name: str, device: str) -> str:
    """Model and device in words, such as ``"LiteMedSAM on CPU, 2 threads"``."""
    title = find_entry(name).title.split(" (")[0]
    if device != "cpu":
        return f"{title} on {device.upper()}"
    threads = torch.get_num_threads()
    return f"{title} on CPU, {threads} thread{'' if threads == 1 else 's'}"
