"""Time and memory of one SC-SAM step in each cost profile, on random weights and pictures.

In one step the U-Net is trained on 6 labelled and 6 pseudo-labelled pictures of 256 px, and SAM on
as many, prompted with class tokens. With a frozen encoder SAM gets stored embeddings; an adapted
one encodes 12 pictures and receives gradients.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_scsam.core.errors import ScsamError
from napari_scsam.core.settings import TrainSettings
from napari_scsam.models import (
    AdapterInfo,
    BaseSam,
    Profile,
    SamModel,
    SamWeights,
    UNet,
    attach,
    build_network,
    find_entry,
    new_network,
    resize_vit,
    sized,
)
from scsam_train.batches import BatchSampler, SupervisedLoss
from scsam_train.benchmark.common import write_report
from scsam_train.cost_meter import peak_memory
from scsam_train.distributed import World
from scsam_train.embedded_views import Materials, SamView
from scsam_train.pseudo import PseudoLabels
from scsam_train.recipe_context import RecipeContext
from scsam_train.sam_student import SamStudent
from scsam_train.students import UNetStudent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# Side of the pictures in px, and labelled and unlabelled pictures of a step: the paper's.
SIDE, EACH = 256, 6
# Two classes, so that SAM decodes more than one. Arbitrary.
CLASSES = (1, 2)
# Untimed steps before the timed ones. Arbitrary.
WARM_UPS = 1
# Fraction of a round: SAM is prompted with class tokens alone, so that each step has 12 objects.
FRACTION = 0.3


@dataclass(frozen=True)
class Configuration:
    """A base SAM with a cost profile.

    Attributes
    ----------
    title : str
    sam : str
        Name in the zoo.
    profile : {'frozen-encoder', 'adapted-encoder'}
    size : int or None
        Side of SAM's input, if it is not the published one.
    """

    title: str
    sam: str
    profile: Profile
    size: int | None = None


CONFIGURATIONS = {
    "vit-b-frozen": Configuration("SAM ViT-B, frozen encoder", "vit_b", "frozen-encoder"),
    "vit-b-adapted": Configuration(
        "SAM ViT-B at 256 px, adapted encoder", "vit_b", "adapted-encoder", 256
    ),
    "lite-medsam-frozen": Configuration(
        "LiteMedSAM, frozen encoder", "lite-medsam-released", "frozen-encoder"
    ),
    "lite-medsam-adapted": Configuration(
        "LiteMedSAM, adapted encoder", "lite-medsam-released", "adapted-encoder"
    ),
}


def measure_steps(
    repeats: int,
    names: Sequence[str] = tuple(CONFIGURATIONS),
    on_done: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Time each configuration in a separate process, so that its memory is separate.

    Returns
    -------
    dict
        ``configurations``: by name, ``title``, ``seconds`` (median of `repeats` steps),
        ``all_seconds``, ``memory_gb`` (peak of the process) and ``threads``.
    """
    found = {}
    for name in names:
        command = [sys.executable, "-P", "-m", __name__, name, str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise ScsamError(f"{CONFIGURATIONS[name].title} could not be measured: {last}")
        found[name] = json.loads(done.stdout.splitlines()[-1])
        on_done(f"{found[name]['title']}: {found[name]['seconds']:.2f} s")
    return {"repeats": repeats, "configurations": found}


def write_steps(folder: Path, report: dict[str, Any]) -> None:
    """Write ``steps.json`` and ``steps.md``."""
    write_report(folder, "steps", report, steps_table(report))


def steps_table(report: dict[str, Any]) -> str:
    """Return the report in Markdown."""
    lines = [
        f"One step on {EACH} + {EACH} images of {SIDE} px, median of {report['repeats']}.",
        "",
        "| SAM and profile | threads | seconds | peak memory |",
        "|---|---|---|---|",
    ]
    for row in report["configurations"].values():
        memory = f"{row['memory_gb']:.2f} GB"
        lines.append(f"| {row['title']} | {row['threads']} | {row['seconds']:.2f} | {memory} |")
    return "\n".join(lines) + "\n"


def measure_here(name: str, repeats: int) -> dict[str, Any]:
    """Time the steps of one configuration in this process; see `measure_steps`."""
    step = Step(CONFIGURATIONS[name])
    seconds = []
    for number in range(WARM_UPS + repeats):
        began = time.perf_counter()
        step(number)
        seconds.append(round(time.perf_counter() - began, 3))
    return {
        "title": CONFIGURATIONS[name].title,
        "seconds": float(np.median(seconds[WARM_UPS:])),
        "all_seconds": seconds[WARM_UPS:],
        "memory_gb": round(peak_memory() / 1e9, 3),
        "threads": torch.get_num_threads(),
    }


class Step:
    """Both students and all inputs of a step.

    Parameters
    ----------
    configuration : Configuration
    """

    def __init__(self, configuration: Configuration) -> None:
        torch.manual_seed(0)
        context = _context(configuration)
        self._unet, self._unlabelled = (
            UNetStudent(context.unet.network, context),
            context.materials.unlabelled_images,
        )
        self._pseudo = PseudoLabels(
            context.materials.unlabelled_valid,
            context.classes,
            self._predict,
            lambda agreement: 0.0,
        )
        one_hot = torch.nn.functional.one_hot(_labels().long(), 1 + len(CLASSES))
        self._confident = one_hot.permute(0, 3, 1, 2).float()
        for index, confident in enumerate(self._confident):
            self._pseudo.keep(index, confident)
        self.sam = SamStudent(context, self._pseudo)
        self._sampler, self._supervised_loss = BatchSampler(context), SupervisedLoss(context)

    def __call__(self, number: int) -> None:
        """Train both students for one step."""
        chosen = self._sampler.choose_unlabelled(self._pseudo.ready, EACH, number)
        labels = self._pseudo.label_maps(chosen)
        batch = self._sampler.labelled(EACH, number)
        batch = batch + self._sampler.unlabelled(chosen, labels, 1.0, number)
        loss = self._supervised_loss(self._unet(batch.images), batch, FRACTION, len(batch))
        self._unet.learn(loss, FRACTION, batch.names)
        self.sam.update(FRACTION, np.ones(len(CLASSES)))

    def _predict(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """Run the U-Net as in a round, but return fixed probabilities, as if both agreed."""
        chosen = torch.from_numpy(indices)
        self._unet.predicted(self._unlabelled[chosen])
        return self._confident[chosen]


def _context(configuration: Configuration) -> RecipeContext:
    settings = TrainSettings(
        image_size=SIDE,
        labelled_batch=EACH,
        unlabelled_batch=EACH,
        sam_batch=2 * EACH,
        profile=configuration.profile,
        sam=configuration.sam,
        sam_size=configuration.size,
    )
    unet = UNet(new_network("scratch", 1 + len(CLASSES), SIDE, 0), CLASSES, SIDE)
    sam = _random_sam(configuration, settings)
    return RecipeContext(unet, sam, _materials(sam), settings, World())


def _random_sam(configuration: Configuration, settings: TrainSettings) -> SamModel:
    entry = sized(find_entry(configuration.sam), configuration.size)
    network = build_network(entry.architecture).eval()
    if configuration.size is not None:
        resize_vit(network, configuration.size)
    info = AdapterInfo(
        "random",
        entry.name,
        CLASSES,
        profile=configuration.profile,
        rank=settings.lora_rank,
        sam_size=configuration.size,
    )
    random = BaseSam(attach(network, info), entry, ("random",))
    return SamModel(SamWeights.of(random, torch.device("cpu")), info)


def _materials(sam: SamModel) -> Materials:
    size, grid = sam.entry.input_size, sam.entry.embedding_size
    shape = (1, 3, size, size) if sam.adapts_encoder else (1, 256, grid, grid)
    labels = _labels()
    on_grid = torch.nn.functional.interpolate(labels[:, None].float(), 4 * grid)[:, 0].byte()
    names = [f"picture {index}" for index in range(EACH)]
    return Materials(
        images=torch.rand((EACH, 3, SIDE, SIDE)),
        labels=labels,
        cases=names,
        names=names,
        unlabelled_images=torch.rand((EACH, 3, SIDE, SIDE)),
        unlabelled_valid=torch.ones((EACH, SIDE, SIDE), dtype=torch.bool),
        unlabelled_names=names,
        judged=torch.ones((EACH, len(CLASSES)), dtype=torch.bool),
        views=[[SamView(torch.rand(shape).half(), label)] for label in on_grid],
        unlabelled_features=[torch.rand(shape).half() for _ in range(EACH)],
    )


def _labels() -> torch.Tensor:
    """Return label maps (6, 256, 256), uint8, with a block of each class."""
    labels = torch.zeros((EACH, SIDE, SIDE), dtype=torch.uint8)
    labels[:, 64:128, 64:192] = CLASSES[0]
    labels[:, 128:176, 96:160] = CLASSES[1]
    return labels


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure_here(sys.argv[1], int(sys.argv[2]))) + "\n")
