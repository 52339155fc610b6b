"""Time of embedding and decoding relative to segment-anything's predictor, in the same run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from segment_anything import SamPredictor, sam_model_registry

from napari_scsam.core.prompts import Prompts, bounding_box, deepest
from napari_scsam.models import Embedding, SamModel, SamWeights, load_base, prepare
from napari_scsam.propagation import iou
from scsam_train.benchmark.common import write_report
from scsam_train.benchmark.sets import SETS, Case

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# Side of the picture that is embedded, in px, and untimed calls before the timed ones. Arbitrary.
SIDE, WARM_UPS = 352, 1


@dataclass(frozen=True)
class Rivals:
    """Models timed side by side: ours, the plain LiteMedSAM encoder, and SAM ViT-B."""

    ours: SamModel
    plain: torch.nn.Module
    predictor: SamPredictor


def measure_speed(model: str, repeats: int, encoder_repeats: int) -> dict[str, Any]:
    """Time the models alternately, so that other load on the machine affects all of them.

    Parameters
    ----------
    model : str
        A name for `load_sam`.
    repeats, encoder_repeats : int
        Repeats of decoding and of ViT-B's encoder; small encoders have three times as many.

    Returns
    -------
    dict
        ``seconds``: median and quartiles by step. ``ratios``: medians of the ratios within a
        repeat. ``threads``. ViT-B has random weights: its time does not depend on them.
    """
    rivals = _rivals(model)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    embedding = rivals.ours.embed(image)
    small = {
        "embed, ours": lambda: rivals.ours.embed(image),
        "encode, plain LiteMedSAM": lambda: _encode(rivals, image),
    }
    # Separately: a run of ViT-B, of several seconds, leaves other caches and clock rates behind.
    large = {
        "embed, ours, after ViT-B": lambda: rivals.ours.embed(image),
        "set_image, ViT-B": lambda: rivals.predictor.set_image(image),
    }
    at = SIDE / 2
    decoders = {
        "decode, ours": lambda: rivals.ours.decode(embedding, Prompts([(at, at)], [1])),
        "predict, ViT-B": lambda: rivals.predictor.predict(
            np.array([[at, at]]), np.array([1]), multimask_output=False
        ),
    }
    seconds = _in_turns(small, 3 * encoder_repeats) | _in_turns(large, encoder_repeats)
    seconds |= _in_turns(decoders, repeats)
    return {
        "model": model,
        "threads": torch.get_num_threads(),
        "seconds": {name: _quartiles(values) for name, values in seconds.items()},
        "ratios": {
            "embed / plain encoder": _ratio(seconds, "embed, ours", "encode, plain LiteMedSAM"),
            "embed / set_image": _ratio(seconds, "embed, ours, after ViT-B", "set_image, ViT-B"),
            "decode / predict": _ratio(seconds, "decode, ours", "predict, ViT-B"),
        },
    }


def measure_agreement(model: str, data: Path, limit: int, sets: Sequence[str]) -> dict[str, Any]:
    """Return the IoU of masks from our encoder and from the plain float32 one, on real scans.

    Each structure is prompted with its tight box and with one click in its centre.
    """
    base = load_base(model)
    sam = SamModel(SamWeights.of(base, torch.device("cpu")))
    ious: dict[str, list[float]] = {"box": [], "click": []}
    for name in sets:
        for case in islice(SETS[name](data), limit):
            for kind, value in _agreement(sam, case):
                ious[kind].append(value)
    return {
        kind: {
            "mean": round(float(np.mean(values)), 4),
            "min": round(float(np.min(values)), 4),
            "masks": len(values),
        }
        for kind, values in ious.items()
    }


def write_speed(folder: Path, report: dict[str, Any]) -> None:
    """Write ``speed.json`` and ``speed.md``."""
    write_report(folder, "speed", report, speed_table(report))


def speed_table(report: dict[str, Any]) -> str:
    """Return the report in Markdown."""
    lines = [
        f"Seconds on {report['threads']} threads, median (quartiles).",
        "",
        "| step | seconds |",
        "|---|---|",
    ]
    for name, (low, median, high) in report["seconds"].items():
        lines.append(f"| {name} | {median:.3f} ({low:.3f}, {high:.3f}) |")
    lines += ["", "| ratio | median |", "|---|---|"]
    lines += [f"| {name} | {value:.3f} |" for name, value in report["ratios"].items()]
    for kind, found in report.get("agreement", {}).items():
        lines.append(
            f"| IoU with plain float32, by {kind} ({found['masks']} masks; worst "
            f"{found['min']:.3f}) | {found['mean']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def _rivals(model: str) -> Rivals:
    base = load_base(model)
    ours = SamModel(SamWeights.of(base, torch.device("cpu")))
    plain: Any = base.module.image_encoder
    vit_b = sam_model_registry["vit_b"](checkpoint=None).eval()
    return Rivals(ours, plain, SamPredictor(vit_b))


@torch.no_grad()
def _encode(rivals: Rivals, image: NDArray[Any]) -> torch.Tensor:
    entry = rivals.ours.entry
    pixels = prepare(image, entry.input_size, entry.normalisation).pixels
    features: torch.Tensor = rivals.plain(pixels[None])
    return features


def _in_turns(steps: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM_UPS + repeats):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if turn >= WARM_UPS:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def _quartiles(values: Sequence[float]) -> list[float]:
    return [round(float(v), 4) for v in np.percentile(values, (25, 50, 75))]


def _ratio(seconds: dict[str, list[float]], ours: str, theirs: str) -> float:
    pairs = zip(seconds[ours], seconds[theirs], strict=True)
    return round(float(np.median([a / b for a, b in pairs])), 3)


def _agreement(sam: SamModel, case: Case) -> list[tuple[str, float]]:
    ours = sam.embed(case.image)
    with torch.no_grad():
        pixels = prepare(case.image, sam.entry.input_size, sam.entry.normalisation).pixels
        encoder: Any = sam.module.image_encoder
        plain = Embedding(encoder(pixels[None]).float(), ours.shape, ours.view, ours.key)
    found = []
    for truth in case.masks.values():
        kinds = {"box": Prompts(box=bounding_box(truth)), "click": Prompts([deepest(truth)], [1])}
        for kind, prompts in kinds.items():
            masks = [sam.decode(embedding, prompts).mask for embedding in (ours, plain)]
            found.append((kind, iou(*masks)))
    return found
