"""Reasons of the queue, in words for the person."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def percent(share: float) -> str:
    """Return a share such as ``"38 %"``."""
    return f"{round(100 * share)} %"


def of_class(class_id: int, names: Mapping[int, str]) -> str:
    """Return a class's name with "of", where there are several."""
    return f" of {names[class_id]}" if len(names) > 1 and class_id in names else ""


def disagreement_text(share: float, class_id: int, names: Mapping[int, str]) -> str:
    """Return the reason of a share of the outline on which the models disagree."""
    of = of_class(class_id, names)
    return f"the two models disagree on {percent(share)} of the outline{of}"


def dice_text(dice: float, class_id: int, names: Mapping[int, str]) -> str:
    """Return the reason of an expected Dice."""
    of = of_class(class_id, names)
    return f"the U-Net expects Dice {dice:.2f} for its outline{of}"


def entropy_text(share: float, class_id: int, names: Mapping[int, str]) -> str:
    """Return the reason of an entropy, as a share of the largest one."""
    of = of_class(class_id, names)
    return f"the U-Net is {percent(share)} unsure around the outline{of}"


def group_text(share: float, labelled: int, anything_labelled: bool) -> str:
    """Return the reason of a slice that stands for a share of the open ones."""
    if anything_labelled and not labelled:
        return "unlike anything labelled"
    return f"like {percent(share)} of the open slices"
