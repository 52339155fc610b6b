"""Embeddings shared by the runs of a benchmark; each run is charged as if it had computed them."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam import io
from napari_scsam.core.geometry import Plane
from napari_scsam.core.round_contract import PARTIAL
from napari_scsam.models import load_sam, open_cache
from scsam_train.benchmark.machines import in_this_mode, machine
from scsam_train.benchmark.plan import embeds
from scsam_train.recipes import RECIPES
from scsam_train.workers import Pool, in_parts, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.settings import TrainSettings
    from scsam_train.benchmark.semi_sets import Member

# Size limit of the cache, in GB of 10^9 bytes: all embeddings of a set are kept. Arbitrary.
CACHE_GB = 100.0
# Number of embeddings to warm up, and to time.
WARMED, TIMED = 4, 40


def cache_of(out: Path) -> Path:
    """Return the cache shared by all runs; ordinary processors have their own."""
    return out / in_this_mode("cache")


def embed_all(
    out: Path, name: str, members: Sequence[Member], on_done: Callable[[str], None]
) -> float:
    """Fill the shared cache, and return the seconds that one embedding takes longer without it.

    Every run is charged for its embeddings as if it had computed them. A missing one would be
    charged twice, so the cache is always completed. The time of one embedding is measured once, in
    this process and therefore in its mode (`machines.is_ordinary`).

    Parameters
    ----------
    out : Path
        Folder of the cache and of the measured time.
    name : str
        Name of the set.
    members : sequence of Member
    on_done : callable
        Called with progress messages.
    """
    kept = out / f"{in_this_mode(f'embedded-{name}')}.json"
    sam = load_sam(device="cpu")
    store = open_cache(cache_of(out), memory_items=1, max_gb=CACHE_GB)
    planes = [
        np.array(volume.plane(Plane(0, index)))
        for member in members
        for volume in [io.read_volume(member.image)]
        for index in range(volume.plane_count())
    ]
    planes = [plane for plane in planes if plane.min() < plane.max()]

    def kept_of(plane: NDArray[Any]) -> None:
        store.get_or_embed(sam.twin(), plane)

    with side_by_side(sam.torch_device) as pool:
        for number, part in enumerate(in_parts(planes, 100)):
            list(pool.map(kept_of, part))
            on_done(f"{name}: {100 * number + len(part)} of {len(planes)} planes embedded")
        if not kept.exists():
            list(pool.map(sam.twin().embed, planes[:WARMED]))
            made = _seconds_each(pool, lambda plane: sam.twin().embed(plane), planes[:TIMED])
            read = _seconds_each(pool, kept_of, planes[:TIMED])
            # Extra time of a run that has to compute them.
            found = {"seconds": made - read, "made": made, "read": read, "planes": len(planes)}
            kept.write_text(json.dumps(found | {"machine": machine()}))
    return float(json.loads(kept.read_text())["seconds"])


def _seconds_each(
    pool: Pool, embed: Callable[[NDArray[Any]], Any], planes: Sequence[NDArray[Any]]
) -> float:
    began = time.perf_counter()
    list(pool.map(embed, planes))
    return (time.perf_counter() - began) / len(planes)


@contextmanager
def own_copy(shared: Path, own: Path) -> Iterator[Path]:
    """Yield a run's own cache: a copy of the shared one, without embeddings of other runs."""
    if shared.is_dir() and not own.is_dir():
        partial = own.with_name(f"{own.name}{PARTIAL}")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(shared, partial, copy_function=_linked)
        partial.replace(own)
    yield own
    shutil.rmtree(own, ignore_errors=True)


def _linked(source: str, target: str) -> None:
    """Link or copy a file; links are safe, since the cache replaces whole files."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def found_embedded(
    settings: TrainSettings, labelled: Sequence[Member], unlabelled: Sequence[Member]
) -> int:
    """Count the planes whose embeddings a round finds here but would not find elsewhere.

    Rotated and mirrored views of labelled planes are computed by the round itself.
    """
    if not embeds(settings):
        return 0
    planes = sum(member.planes for member in labelled)
    if RECIPES[settings.recipe].uses_unlabelled:
        others = sum(member.planes for member in unlabelled)
        planes += min(settings.unlabelled_planes, others)
    return planes
