"""What the label of a plane was made from; the journal keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_scsam.annotation.pending import prompts_to_json

if TYPE_CHECKING:
    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.core.judged import ClassIds
    from napari_scsam.core.patches import Patch
    from napari_scsam.core.prompts import PromptSet


@dataclass(frozen=True)
class LabelOrigin:
    """What the label of a plane was made from.

    Attributes
    ----------
    prompts : PromptSet
    drawn : tuple of Patch
        What was painted.
    judged : tuple of int
        Classes that the annotator looked for.
    """

    prompts: PromptSet
    drawn: tuple[Patch, ...] = ()
    judged: ClassIds = ()

    def to_json(self, key: SliceKey) -> dict[str, Any]:
        """Return plain values for the journal's event; the judged classes are in the commit."""
        return {
            "axis": key[1].axis,
            "plane": key[1].index,
            **prompts_to_json(self.prompts),
            "drawn": [patch.to_json() for patch in self.drawn],
        }
