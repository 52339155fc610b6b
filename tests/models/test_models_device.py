"""Choosing a device, without having one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from napari_scsam.core.errors import ModelError
from napari_scsam.models import available_devices
from napari_scsam.models.device import Place, is_full, resolve_device

if TYPE_CHECKING:
    from collections.abc import Callable


def test_auto_takes_the_best_there_is() -> None:
    assert resolve_device("auto", ["cuda", "cpu"]).type == "cuda"
    assert resolve_device("auto", ["mps", "cpu"]).type == "mps"
    assert resolve_device("auto", ["cpu"]).type == "cpu"
    assert resolve_device("cpu", ["cuda", "cpu"]).type == "cpu"


def test_a_device_that_is_absent_or_unknown_is_refused() -> None:
    with pytest.raises(ModelError, match="no cuda device"):
        resolve_device("cuda", ["cpu"])
    with pytest.raises(ModelError, match="one of auto, cpu, cuda, mps"):
        resolve_device("gpu", ["cuda", "cpu"])


def test_the_cpu_is_always_there_and_last() -> None:
    assert available_devices()[-1] == "cpu"


def out_of_memory(times: int, log: list[str]) -> Callable[[torch.device], str]:
    """Work that finds a device full so many times, and never the CPU."""

    def work(device: torch.device) -> str:
        log.append(device.type)
        if device.type != "cpu" and log.count(device.type) <= times:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return device.type

    return work


@pytest.mark.parametrize(("times", "tried"), [(1, ["meta"] * 2), (9, ["meta", "meta", "cpu"])])
def test_a_full_device_is_tried_again_and_then_left_for_good(times: int, tried: list[str]) -> None:
    place, log = Place(torch.device("meta"), may_move=True), []
    assert place.run(out_of_memory(times, log)) == tried[-1]
    assert log == tried
    assert place.device.type == tried[-1]
    place.run(out_of_memory(0, log))
    assert log[-1] == tried[-1]


def test_what_may_not_move_stays_and_fails() -> None:
    place = Place(torch.device("meta"))
    with pytest.raises(torch.OutOfMemoryError):
        place.run(out_of_memory(1, []))
    assert place.device.type == "meta"


def test_another_error_is_not_taken_for_a_full_device() -> None:
    def broken(_device: torch.device) -> None:
        raise RuntimeError("shapes do not match")

    place = Place(torch.device("meta"), may_move=True)
    with pytest.raises(RuntimeError, match="shapes"):
        place.run(broken)
    assert place.device.type == "meta"
    assert is_full(RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"))
