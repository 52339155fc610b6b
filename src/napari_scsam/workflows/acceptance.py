"""How often suggestions are accepted unedited, and whether that has become less often."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.workflows.effort import Step

# Suggested slices of which the acceptance is compared with that before, and the fall that is
# reported. Arbitrary.
LATEST, NOTABLE_FALL = 20, 0.2


def accepted_share(made: Sequence[Step]) -> float | None:
    """Return the share of suggestions that were accepted unedited; None without any."""
    suggested = [step for step in made if step.suggested]
    return sum(step.unedited for step in suggested) / len(suggested) if suggested else None


def acceptance_fall(made: Sequence[Step]) -> str:
    """Return a line if suggestions are accepted less often than before; else empty."""
    suggested = [step for step in made if step.suggested]
    before, latest = accepted_share(suggested[:-LATEST]), accepted_share(suggested[-LATEST:])
    if before is None or latest is None or before - latest < NOTABLE_FALL:
        return ""
    return (
        f"Fewer suggestions are accepted unedited: {before:.0%} before, {latest:.0%} of the last "
        f"{LATEST}. Train a round, or check whether the images have changed."
    )
