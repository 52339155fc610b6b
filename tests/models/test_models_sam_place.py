"""A SAM whose GPU is full goes on on the CPU, and an embedding that nobody wants stops."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_scsam.core.errors import Cancelled
from napari_scsam.core.jobs import CancelToken
from napari_scsam.core.prompts import Prompts
from napari_scsam.models.device import Place
from napari_scsam.models.sam import SamModel

BOX = Prompts(box=(15, 162, 55, 218))


class FullDevice:
    """Stands in for a GPU without room: every module called on ``meta`` tensors finds none."""

    def __init__(self, sam: SamModel) -> None:
        self.refused = 0
        modules = (sam.weights.encoder, sam.module.mask_decoder, sam.module.prompt_encoder)
        for module in modules:
            module.register_forward_pre_hook(self._refuse, with_kwargs=True)

    def _refuse(self, _module: Any, args: Any, kwargs: Any) -> None:
        tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, torch.Tensor)]
        if any(t.is_meta for t in tensors) or not tensors:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 MiB")


@pytest.fixture
def on_full_gpu(lite: SamModel, monkeypatch: pytest.MonkeyPatch) -> SamModel:
    """LiteMedSAM that believes it is on another device, where there is no room."""
    module = copy.deepcopy(lite.module)
    weights = replace(
        lite.weights,
        module=module,
        encoder=copy.deepcopy(lite.weights.encoder),
        place=Place(torch.device("meta"), may_move=True),
        bare=module,
    )
    # Its weights stay where they are: only what is computed says where it is.
    monkeypatch.setattr("napari_scsam.models.sam.bring", lambda _module, _device: None)
    return SamModel(weights)


def test_embedding_on_a_full_gpu_goes_on_on_the_cpu(
    lite: SamModel, on_full_gpu: SamModel, blob: tuple[np.ndarray, np.ndarray]
) -> None:
    full = FullDevice(on_full_gpu)
    found = on_full_gpu.embed(blob[0])
    assert full.refused == 2
    assert on_full_gpu.device == "cpu"
    assert torch.equal(found.features, lite.embed(blob[0]).features)
    on_full_gpu.embed(blob[0])
    assert full.refused == 2


def test_decoding_on_a_full_gpu_goes_on_on_the_cpu(
    lite: SamModel, on_full_gpu: SamModel, blob: tuple[np.ndarray, np.ndarray]
) -> None:
    embedding = lite.embed(blob[0])
    original = on_full_gpu._predict

    def refuse_elsewhere(features: torch.Tensor, *rest: Any) -> Any:
        if features.is_meta:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(features, *rest)

    on_full_gpu._predict = refuse_elsewhere  # type: ignore[method-assign]
    found = on_full_gpu.decode(embedding, BOX)
    assert on_full_gpu.device == "cpu"
    assert np.array_equal(found.mask, lite.decode(embedding, BOX).mask)


def test_a_twin_without_the_adapter_moves_with_its_sam(on_full_gpu: SamModel) -> None:
    twin = on_full_gpu.shipped
    assert twin is not None and twin.device == "meta"
    on_full_gpu.weights.place.device = torch.device("cpu")
    assert twin.device == "cpu"


def test_an_embedding_stops_between_two_parts_and_leaves_no_trace(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray]
) -> None:
    token, seen = CancelToken(), []

    def cancel_midway(_module: Any, _inputs: Any) -> None:
        seen.append(1)
        if len(seen) == 20:
            token.cancel()

    parts = list(lite.weights.encoder.modules())
    hooks = [part.register_forward_pre_hook(cancel_midway) for part in parts]
    try:
        with pytest.raises(Cancelled):
            lite.embed(blob[0], token)
        assert 20 <= len(seen) <= 22
    finally:
        for hook in hooks:
            hook.remove()
    assert not any(part._forward_pre_hooks for part in parts)
    assert lite.embed(blob[0]).features.isfinite().all()
