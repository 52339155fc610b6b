"""What a ranking works on: the open images, and what a strategy needs to know of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_scsam.core.errors import ModelError, ProjectError
from napari_scsam.core.round_contract import CONFIG_FILE
from napari_scsam.core.spread_slices import spread
from napari_scsam.io.real_files import read_json
from napari_scsam.project.image_queue import plane_total
from napari_scsam.workflows.slice_signals import DISAGREEMENT, DOUBTS, FEATURES

if TYPE_CHECKING:
    from napari_scsam.core.settings import RankStrategy
    from napari_scsam.project import ImageRecord, Project, RoundRecord

# What each strategy is made of; the last two only with a round.
_NEEDS: dict[str, tuple[str, ...]] = {
    "hybrid": (FEATURES, DOUBTS, DISAGREEMENT),
    "core-set": (FEATURES,),
    "foreground-random": (DOUBTS,),
    "entropy": (DOUBTS,),
    "disagreement": (DOUBTS, DISAGREEMENT),
}
_TITLES = {"unet": "U-Net", "sam": "SAM"}


@dataclass(frozen=True)
class OpenImage:
    """An image with slices that are not committed.

    Attributes
    ----------
    record : ImageRecord
    planes : tuple of int
        Slices to measure.
    skipped : bool
        Whether all of them were skipped.
    """

    record: ImageRecord
    planes: tuple[int, ...]
    skipped: bool


def open_images(project: Project) -> list[OpenImage]:
    """Images with slices that are not committed, each with the slices to measure."""
    committed, skipped = project.all_committed_planes(), set(project.skipped())
    found = []
    for record in project.images():
        done = set(committed.get(record.id, ()))
        planes = [n for n in range(plane_total(record)) if n not in done]
        fresh = [n for n in planes if (record.id, n) not in skipped]
        if planes:
            found.append(OpenImage(record, spread(fresh or planes), not fresh))
    return found


def labelled_images(project: Project) -> list[tuple[ImageRecord, tuple[int, ...]]]:
    """Images with committed slices, each with those to measure."""
    committed = project.all_committed_planes()
    return [
        (record, spread(committed[record.id]))
        for record in project.images()
        if committed.get(record.id)
    ]


def needs_of(
    strategy: RankStrategy, active: RoundRecord | None, project: Project
) -> tuple[str, ...]:
    """What is measured for a strategy with the active round, if any.

    Raises
    ------
    ProjectError
        If the strategy needs a round and there is none.
    ModelError
        If the active round can't be used for the strategy.
    """
    needs = _NEEDS.get(strategy, ())
    if active is None:
        if strategy in ("entropy", "disagreement"):
            raise ProjectError(
                f"The strategy {strategy} needs a trained round, and {project.name} has none yet: "
                "use hybrid or core-set, or train."
            )
        return tuple(name for name in needs if name == FEATURES)
    trained = read_json(active.folder / CONFIG_FILE).get("trained", ["unet", "sam"])
    if {"unet", "sam"} <= set(trained):
        return needs
    if strategy == "disagreement":
        raise ModelError(
            f"The strategy disagreement needs both models, and round {active.number} trained only "
            f"its {_TITLES.get(trained[0], trained[0])}: use hybrid or entropy."
        )
    return tuple(name for name in needs if name != DISAGREEMENT)
