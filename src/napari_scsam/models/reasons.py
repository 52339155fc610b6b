"""Reasons of the queue, in words for the person."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


# How the reasons begin, or what is in them, that say that the models are unsure.
_DISAGREE, _EXPECT, _UNSURE = "the two models disagree on", "the U-Net expects", "unsure around"


def speaks_of_doubt(reason: str) -> bool:
    """Whether a reason of the queue says that the models are unsure of an outline."""
    return any(words in reason for words in (_DISAGREE, _EXPECT, _UNSURE))


def percent(share: float) -> str:
    """Return a share such as ``"38 %"``."""
    return f"{round(100 * share)} %"


def of_class(class_id: int, names: Mapping[int, str]) -> str:
    """Return a class's name with "of", where there are several."""
    return f" of {names[class_id]}" if len(names) > 1 and class_id in names else ""


def disagreement_text(share: float, class_id: int, names: Mapping[int, str]) -> str:
    """Return the reason of a share of the outline on which the models disagree."""
    of = of_class(class_id, names)
    return f"{_DISAGREE} {percent(share)} of the outline{of}"


def dice_text(dice: float, class_id: int, names: Mapping[int, str]) -> str:
    """Return the reason of an expected Dice."""
    return f"{_EXPECT} Dice {dice:.2f} for its outline{of_class(class_id, names)}"


def entropy_text(share: float, class_id: int, names: Mapping[int, str]) -> str:
    """Return the reason of an entropy, as a share of the largest one."""
    return f"the U-Net is {percent(share)} {_UNSURE} the outline{of_class(class_id, names)}"


def group_text(share: float, labelled: int, anything_labelled: bool) -> str:
    """Return the reason of a slice that stands for a share of the open ones."""
    if anything_labelled and not labelled:
        return "unlike anything labelled"
    return f"like {percent(share)} of the open slices"
