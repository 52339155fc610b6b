"""Validation of the user's choice of held-out images, so that no case leaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_scsam.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class SplitImage:
    """An image, with the properties relevant to a split.

    Attributes
    ----------
    id : str
    name : str
        Name for display.
    case : str
        Unit of splitting, mostly a patient.
    labelled : bool
    """

    id: str
    name: str
    case: str
    labelled: bool


def check_held_out(held_out: Iterable[str], images: Sequence[SplitImage]) -> None:
    """Check that the images `held_out` can validate training on the others.

    Parameters
    ----------
    held_out : iterable of str
        Ids; may be empty.
    images : sequence of SplitImage
        All images of the round.

    Raises
    ------
    InputError
        If an id is unknown or has no label, a case would be on both sides, or no labelled image
        is left for training.
    """
    chosen = set(held_out)
    by_id = {image.id: image for image in images}
    for image_id in sorted(chosen):
        _check_one(image_id, by_id)
    kept = [image for image in images if image.labelled and image.id not in chosen]
    for out in (by_id[image_id] for image_id in sorted(chosen)):
        other = next((image for image in kept if image.case == out.case), None)
        if other is not None:
            raise InputError(
                f"The case {out.case} would be on both sides: {out.name} ({out.id}) is held out, "
                f"but {other.name} ({other.id}) is learned from. Hold out both, or neither."
            )
    if chosen and not kept:
        raise InputError(
            "Every labelled image is held out: leave at least one of them to learn from."
        )


def _check_one(image_id: str, by_id: dict[str, SplitImage]) -> None:
    if image_id not in by_id:
        some = ", ".join(f"{image.id} ({image.name})" for image in list(by_id.values())[:5])
        raise InputError(
            f"There is no image {image_id} to hold out; there are {some or 'none'}"
            f"{' and more' if len(by_id) > 5 else ''}."
        )
    image = by_id[image_id]
    if not image.labelled:
        raise InputError(
            f"{image.name} ({image.id}) can't be held out: it has no label to compare with. "
            "Commit one, or leave it out."
        )
