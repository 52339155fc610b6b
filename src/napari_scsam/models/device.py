"""Choice of the device that a model runs on, and the fallback if it is full."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from napari_scsam.core.errors import ModelError
from napari_scsam.models.zoo import find_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

NAMES = ("auto", "cpu", "cuda", "mps")


def available_devices() -> list[str]:
    """Return the devices that torch can use on this machine, best first."""
    devices = []
    if torch.cuda.is_available():
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch with one thread.

    For small networks on one picture at a time: their threads wait for each other longer than they
    compute. On two cores with AVX2 the ranking's encoder reads 40 pictures a second with one
    thread, and 18 with two.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resolve_device(name: str = "auto", available: Sequence[str] | None = None) -> torch.device:
    """Return the torch device for a name in the settings.

    Parameters
    ----------
    name : {'auto', 'cpu', 'cuda', 'mps'}
        ``auto`` selects the first of `available`.
    available : sequence of str, optional
        Available devices, best first; default: those that torch finds.

    Raises
    ------
    ModelError
        If the name is unknown, or this machine does not have the device.
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
    """The device that a model runs on; replaced by the CPU if it runs out of memory.

    Parameters
    ----------
    device : torch.device
    may_move : bool
        False: out-of-memory errors are raised, for models that are used elsewhere, too.
    """

    def __init__(self, device: torch.device, *, may_move: bool = False) -> None:
        self.device = device
        self._may_move = may_move

    def run(self, work: Callable[[torch.device], Result]) -> Result:
        """Return the result of `work`, which moves everything it needs to the given device.

        If the device is full, it is tried once more after freeing cached memory, then on the CPU,
        which is used from then on. A full GPU is mostly due to another program, and SAM's input
        size is fixed, so that no smaller attempt is possible.
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
    """Whether an error means that a device is out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def bring(module: nn.Module, device: torch.device) -> None:
    """Move a module in place to a device if it is on another one."""
    if any(p.device.type != device.type for p in islice(module.parameters(), 1)):
        module.to(device)


def _give_back(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def describe(name: str, device: str) -> str:
    """Return a description such as ``"LiteMedSAM on CPU, 2 threads"``."""
    title = find_entry(name).title.split(" (")[0]
    if device != "cpu":
        return f"{title} on {device.upper()}"
    threads = torch.get_num_threads()
    return f"{title} on CPU, {threads} thread{'' if threads == 1 else 's'}"
