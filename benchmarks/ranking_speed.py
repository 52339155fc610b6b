"""Measure how many generated pictures a second are ranked, without and with a round.

    python benchmarks/ranking_speed.py --pictures 200 --workers 1

The last line is one JSON object: for ``features`` (before the first round) and ``round`` (features,
entropy and expected Dice by a U-Net that was not trained, and the comparison with SAM of a
shortlist) the seconds and the pictures a second, and ``again``, the seconds if all is known.
Pictures are colour JPEG files. Loading the models is included, so that rates rise with the number
of pictures. Run it on an idle machine; ``load`` is the machine's load before.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from napari_scsam.core.settings import TrainSettings
from napari_scsam.models import UNet, new_network
from napari_scsam.project import Project
from napari_scsam.workflows.ranking import Ranked, RankOptions, rank
from napari_scsam.workflows.workers import Workers

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cli"))

from untrained_round import write_round

# Rows and columns of a picture: about those of Kvasir-SEG.
SHAPE = (530, 620)
# Side of the U-Net's input, as by default.
SIDE = 192


def main() -> None:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        figures = measure(
            Path(place), options.pictures, RankOptions(workers=Workers(options.workers))
        )
    result = {
        **vars(options),
        **figures,
        "cores": os.cpu_count(),
        "omp_threads": os.environ.get("OMP_NUM_THREADS"),
        "load": load,
        "python": platform.python_version(),
    }
    sys.stdout.write(json.dumps(result) + "\n")


def measure(place: Path, count: int, options: RankOptions) -> dict[str, object]:
    """Rank generated pictures before and after a round, and once more."""
    figures: dict[str, object] = {}
    with Project.create(place / "project", ["spot"]) as project:
        project.add_images(pictures(place / "scans", count))
        figures["features"] = timed(rank(project, options), count)
        image = project.images()[0]
        project.commit(image.id, np.ones(image.shape, np.uint8))
        add_untrained_round(project)
        figures["round"] = timed(rank(project, options), count - 1)
        figures["again"] = round(rank(project, options).seconds, 2)
    return figures


def timed(ranked: Ranked, count: int) -> dict[str, float]:
    """Return seconds and pictures a second of a ranking."""
    return {"seconds": round(ranked.seconds, 2), "rate": round(count / ranked.seconds, 2)}


def pictures(folder: Path, count: int) -> list[Path]:
    """Write smooth coloured pictures with a spot each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows, cols = np.indices(SHAPE)
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 200, (9, 11, 3)).astype(np.float32)
        picture = np.repeat(np.repeat(coarse, 60, 0), 60, 1)[: SHAPE[0], : SHAPE[1]]
        row, col, radius = rng.integers(100, 430), rng.integers(100, 500), rng.integers(20, 90)
        picture[(rows - row) ** 2 + (cols - col) ** 2 < radius**2] += 50
        noisy = picture + rng.normal(0, 6, picture.shape)
        paths.append(folder / f"{number:05d}.jpg")
        imageio.imwrite(paths[-1], noisy.clip(0, 255).astype(np.uint8))
    return paths


def add_untrained_round(project: Project) -> None:
    """Add a round whose models were not trained, which takes as long as one of trained models."""
    partial = project.begin_round(TrainSettings())
    joined = 256 + 1
    write_round(partial, UNet(new_network("pretrained+sam", 2, SIDE, joined), [1], SIDE))
    project.adopt_rounds()


if __name__ == "__main__":
    main()
