"""Everything that a situation says is seen in the dock."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from napari_scsam.annotation.unfinished_outline import UnfinishedOutline
from napari_scsam.annotation.view_state import Situation, resolve
from napari_scsam.annotation.work import Draft
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import make_classes
from napari_scsam.core.prompts import PointPrompt, PromptSet

CLASSES = make_classes(["one", "two"])
PROMPTS = PromptSet(
    (PointPrompt(1, 1, 1, True, "model", "query", 0.5, "proposed", 1),), {(1, 1): (0, 0, 5, 5)}
)
HERE = Situation(image_name="scan", plane=Plane(0, 1), plane_count=9, prompts=PROMPTS)
EMPTY = replace(HERE, prompts=PromptSet())

# For each field, a situation and another value that is to be seen.
SEEN = {
    "image_name": (HERE, "other"),
    "plane": (HERE, Plane(0, 2)),
    "plane_count": (HERE, 5),
    "prompts": (HERE, PromptSet()),
    "plane_names": (HERE, ("axial", "coronal", "sagittal")),
    "selected": (HERE, 0),
    "line": (HERE, (1, 1)),
    "active": (HERE, (1, 2)),
    "outline": (HERE, UnfinishedOutline(((1.0, 2.0),), 2)),
    "corners": (replace(HERE, tool="outline"), 2),
    "iou": (HERE, 0.9),
    "draft": (EMPTY, Draft(np.zeros((2, 2), np.uint8))),
    "drafts": (HERE, 3),
    "flagged": (HERE, 2),
    "propagating": (HERE, "1 of 5 slices"),
    "has_preview": (HERE, True),
    "is_committed": (EMPTY, True),
    "can_undo": (HERE, True),
    "can_redo": (HERE, True),
    "read_only": (HERE, True),
    "busy": (HERE, "saving"),
    "message": (HERE, "Saved."),
    "error": (HERE, "No."),
    "blocked": (HERE, "Another layer has the mouse."),
    "tool": (HERE, "brush"),
    "over": (HERE, "all"),
    "drawn": (EMPTY, 1),
    "can_suggest": (EMPTY, True),
    "said": (EMPTY, 1),
}


@pytest.mark.parametrize("name", [field.name for field in fields(Situation)])
def test_every_part_of_a_situation_is_seen(name: str) -> None:
    situation, other = SEEN[name]
    changed = replace(situation, **{name: other})
    assert resolve(changed, CLASSES) != resolve(situation, CLASSES)


def test_the_bright_button_is_the_likely_next_step() -> None:
    def bright(**given: object) -> set[str]:
        return set(resolve(replace(EMPTY, **given), CLASSES).bright)

    assert bright() == set()  # a click comes first
    assert bright(can_suggest=True) == {"suggest"}
    assert bright(can_suggest=True, is_committed=True) == set()
    assert bright(can_suggest=True, has_preview=True) == {"accept_next"}
    assert bright(drawn=1) == {"accept_next"}
    assert bright(drawn=1, read_only=True) == set()  # it can't be pressed
