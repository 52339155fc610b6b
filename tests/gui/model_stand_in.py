"""A model process without models: every mask is a square around the first point."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from napari_scsam.inference import process_server
from napari_scsam.inference.messages import Answer, Question


class Squares:
    """Takes the place of a `Segmenter`."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def prepare(self, round_folder: Any) -> None:
        """Load nothing."""

    def describe(self) -> str:
        return "squares"

    def embed(self, question: Question) -> None:
        """Embed nothing."""

    def prefetch(self, questions: Any) -> None:
        """Embed nothing."""

    def decode(self, question: Question) -> Answer:
        preview = np.zeros(question.pixels.shape[:2], np.uint8)
        point = question.prompts.points[0]
        row, col = round(point.row), round(point.col)
        preview[row - 5 : row + 6, col - 5 : col + 6] = point.class_id
        return Answer(question.prompts, preview, "points")

    suggest = carry = None


if __name__ == "__main__":
    process_server.Segmenter = Squares
    sys.exit(process_server.main())
