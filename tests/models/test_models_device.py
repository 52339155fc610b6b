"""Choosing a device, without having one."""

from __future__ import annotations

import pytest

from napari_scsam.core.errors import ModelError
from napari_scsam.models import available_devices
from napari_scsam.models.device import resolve_device


def test_auto_takes_the_best_there_is():
    assert resolve_device("auto", ["cuda", "cpu"]).type == "cuda"
    assert resolve_device("auto", ["mps", "cpu"]).type == "mps"
    assert resolve_device("auto", ["cpu"]).type == "cpu"
    assert resolve_device("cpu", ["cuda", "cpu"]).type == "cpu"


def test_a_device_that_is_absent_or_unknown_is_refused():
    with pytest.raises(ModelError, match="no cuda device"):
        resolve_device("cuda", ["cpu"])
    with pytest.raises(ModelError, match="one of auto, cpu, cuda, mps"):
        resolve_device("gpu", ["cuda", "cpu"])


def test_the_cpu_is_always_there_and_last():
    assert available_devices()[-1] == "cpu"
