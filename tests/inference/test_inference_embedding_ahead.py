"""A segmenter that embeds ahead: once each, never in a click's way, through the window."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from napari_scsam import models
from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import PointPrompt, Prompts, PromptSet
from napari_scsam.core.windows import PRESETS
from napari_scsam.inference.answering import GPU_FULL
from napari_scsam.inference.messages import Question
from napari_scsam.inference.process_server import reply_to
from napari_scsam.inference.segmenter import Segmenter
from napari_scsam.models import Decoded, Embedding
from napari_scsam.models.embeddings import embedding_key
from napari_scsam.models.preprocess import check_plane

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_scsam.core.jobs import CancelToken

WAIT_S = 20
SHAPE = (12, 10)


class SlowSam:
    """Embeds a plane when it is let, looks for a cancel meanwhile, and notes what it saw."""

    name, device, understands_points, base_hash = "lite-medsam", "cpu", True, "base"

    def __init__(self) -> None:
        self.embedded: list[float] = []
        self.stopped: list[float] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def embedding_key(self, image: np.ndarray) -> str:
        return embedding_key(image, self.base_hash)

    def class_log_odds(self, embedding: Embedding, class_id: int) -> None:
        return None

    def embed(self, image: np.ndarray, cancel: CancelToken | None = None) -> Embedding:
        check_plane(image)
        self.begun.set()
        while not self.go_on.wait(0.01):
            if cancel is not None and cancel.cancelled:
                self.stopped.append(float(image[0, 0]))
                cancel.check()
        self.embedded.append(float(image[0, 0]))
        view = np.asarray(image, np.float32)
        return Embedding(torch.zeros(1), image.shape[:2], view, self.embedding_key(image))

    def decode(self, embedding: Embedding, prompts: Prompts, *, class_id: Any = None) -> Decoded:
        logits = np.full(embedding.shape, 1.0, np.float32)
        return Decoded(logits > 0, logits, 0.9)


def about(index: int, window: str = "auto", value: float | None = None) -> Question:
    pixels = np.zeros(SHAPE, np.float32)
    pixels[0, 0] = index if value is None else value
    prompts = PromptSet((PointPrompt(3, 3, 1),))
    return Question(("a", Plane(0, index)), pixels, prompts, None, window=PRESETS[window])


@pytest.fixture
def sam() -> SlowSam:
    return SlowSam()


@pytest.fixture
def segmenter(sam: SlowSam) -> Iterator[Segmenter]:
    made = Segmenter(load_sam=lambda: sam)
    made.embed(about(5))
    sam.begun.clear()
    yield made
    sam.go_on.set()
    made.close()


def let_go_once_stopped(sam: SlowSam) -> None:
    """Let embeddings finish as soon as the one at work was stopped."""

    def watch() -> None:
        deadline = time.monotonic() + WAIT_S
        while not sam.stopped and time.monotonic() < deadline:
            time.sleep(0.01)
        sam.go_on.set()

    threading.Thread(target=watch, daemon=True).start()


def settle(segmenter: Segmenter) -> None:
    assert segmenter.wait_ahead(WAIT_S)


def test_what_was_embedded_ahead_is_there_when_it_is_asked_for(
    segmenter: Segmenter, sam: SlowSam
) -> None:
    segmenter.prefetch([about(6), about(4)])
    settle(segmenter)
    assert sam.embedded == [5, 6, 4]
    segmenter.decode(about(6))
    segmenter.embed(about(4))
    assert sam.embedded == [5, 6, 4]


def test_prefetch_returns_at_once_and_a_click_does_not_wait_for_it(
    segmenter: Segmenter, sam: SlowSam
) -> None:
    sam.go_on.clear()
    segmenter.prefetch([about(6), about(4)])
    assert sam.begun.wait(WAIT_S)
    assert segmenter.decode(about(5)).preview.any()  # while the other plane is being embedded
    assert sam.embedded == [5]
    let_go_once_stopped(sam)
    settle(segmenter)
    assert sam.stopped == [6]
    assert sam.embedded == [5, 6, 4]


def test_a_click_elsewhere_drops_what_is_no_longer_wanted(
    segmenter: Segmenter, sam: SlowSam
) -> None:
    sam.go_on.clear()
    segmenter.prefetch([about(6), about(4)])
    assert sam.begun.wait(WAIT_S)
    let_go_once_stopped(sam)
    segmenter.decode(about(9))
    settle(segmenter)
    assert (sam.stopped, sam.embedded) == ([6], [5, 9])


def test_the_plane_that_is_being_embedded_is_waited_for(segmenter: Segmenter, sam: SlowSam) -> None:
    sam.go_on.clear()
    segmenter.prefetch([about(6)])
    assert sam.begun.wait(WAIT_S)
    threading.Timer(0.2, sam.go_on.set).start()
    segmenter.decode(about(6))
    assert (sam.stopped, sam.embedded) == ([], [5, 6])


def test_two_planes_of_the_same_pixels_do_not_wait_for_each_other_for_ever(
    segmenter: Segmenter, sam: SlowSam
) -> None:
    sam.go_on.clear()
    segmenter.prefetch([about(6, value=7)])
    assert sam.begun.wait(WAIT_S)
    let_go_once_stopped(sam)
    assert segmenter.decode(about(9, value=7)).preview.any()


def test_an_empty_slice_ahead_is_nobody_s_error(segmenter: Segmenter, sam: SlowSam) -> None:
    segmenter.prefetch([about(6, value=0), about(7)])
    settle(segmenter)
    assert sam.embedded == [5, 7]
    with pytest.raises(InputError, match="nothing to see"):
        segmenter.decode(about(6, value=0))
    assert segmenter.decode(about(7)).preview.any()


def test_embedding_ahead_looks_through_the_window(segmenter: Segmenter, sam: SlowSam) -> None:
    segmenter.prefetch([about(6, "brain", value=40)])
    settle(segmenter)
    assert sam.embedded == [5, 0.5]
    with pytest.raises(InputError, match="Nothing to see in the window Brain"):
        segmenter.embed(about(6, "brain", value=-40))


def test_the_server_takes_it_and_says_nothing(segmenter: Segmenter, sam: SlowSam) -> None:
    assert reply_to(segmenter, ("prefetch", ((about(6),),))) == (True, None)
    settle(segmenter)
    assert sam.embedded == [5, 6]


def test_leaving_a_full_gpu_is_told(
    segmenter: Segmenter, sam: SlowSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert segmenter.decode(about(5)).note == ""
    monkeypatch.setattr(models, "available_devices", lambda: ["cuda", "cpu"])
    assert segmenter.decode(about(5)).note == GPU_FULL
    assert segmenter.describe().endswith("(the GPU was full)")
    sam.device = "cuda"
    assert segmenter.decode(about(5)).note == ""
