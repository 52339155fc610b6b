"""The propagation benchmark on a generated scan, against figures known by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_scsam.core.errors import InputError
from napari_scsam.models import Decoded, Embedding
from scsam_train.benchmark import propagation
from scsam_train.benchmark.sets import Scan

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.core.arrays import Pixels
    from napari_scsam.core.prompts import Prompts


class Thresholder:
    """A SAM that outlines what is bright inside the box."""

    understands_points = False

    def embedding_key(self, image: Pixels) -> Any:
        return image.tobytes()

    def embed(self, image: Pixels) -> Embedding:
        return Embedding(image, image.shape, image, "")

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        r0, c0, r1, c1 = (round(v) for v in prompts.box)
        logits = np.full(embedding.shape, -6, np.float32)
        part = embedding.features[r0 : r1 + 1, c0 : c1 + 1]
        logits[r0 : r1 + 1, c0 : c1 + 1] = np.where(part > 0.5, 6, -6)
        return Decoded(logits > 0, logits, 0.9)


def scan() -> Scan:
    """A square of 12 that moves by a pixel a slice, on slices 2 to 11 of 14."""
    truth = np.zeros((14, 40, 40), bool)
    for index in range(2, 12):
        truth[index, 10:22, 5 + index : 17 + index] = True
    image = truth.astype(np.float32)
    image[:, 0, 0] = -1  # no slice is of one value
    return Scan("scan.nii.gz", image, truth, spacing=8.0)


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    monkeypatch.setattr(propagation, "atrium_scans", lambda data: iter([scan(), scan()]))
    said = []
    measured = propagation.measure(Thresholder(), tmp_path, limit=1, on_done=said.append)
    assert len(said) == len(propagation.TASKS)
    return {"model": "m", "adapter": None, **measured}


def test_a_moving_square_is_followed_and_copies_are_not(report: Any, tmp_path: Path) -> None:
    assert [row["volumes"] for row in report["summary"]] == [1] * 6
    assert all(row["dice"] == 1 for row in report["summary"])
    one = report["summary"][0]
    # From slice 7 (5 of 10 slices in): copies are off by 5, 4, ... 0, ... 4 columns.
    expected = sum(12 - abs(index - 7) for index in range(2, 12)) / 120
    assert one["copied"] == pytest.approx(expected, abs=1e-4)
    # It ends on slices 1 and 12, which say so and are not bad.
    assert (one["carried"], one["flagged"], one["bad"]) == (11, 2, 0)
    propagation.write(tmp_path / "out", report)
    table = (tmp_path / "out" / "propagation.md").read_text()
    assert f"| 1 | box | 1 | 1.000 ± 0.000 | 1.000 | {expected:.3f} | 2 of 11 | 0 | 0 |" in table


def test_data_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data"):
        propagation.measure(Thresholder(), tmp_path, limit=1)
