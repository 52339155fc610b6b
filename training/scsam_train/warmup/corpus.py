"""The warm-up's corpus: scenes, embedded once by the frozen encoder and stored on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from napari_scsam.models import PREPROCESS_VERSION, SamModel
from scsam_train import episodes
from scsam_train.clicks import jittered_box
from scsam_train.decoding import Decoder, PromptBatch
from scsam_train.embedded_views import label_canvas
from scsam_train.losses import IGNORE
from scsam_train.warmup.curriculum import part_of
from scsam_train.warmup.phantoms import Domain, Scene, make_phantom, make_relief, usable
from scsam_train.warmup.pictures import backdrop, brain_scene, photograph_scene, textures
from scsam_train.workers import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import Mask

DOMAINS: tuple[Domain, ...] = ("phantom", "brain", "photograph", "relief")
# Held-out scenes of the first three domains; the following are reliefs, which were added later.
HELD_OUT_FIRST_PART = 48
# Share of the phantoms on blurred photographs (docs/explanation/warm-up.md). Arbitrary.
ON_PHOTOGRAPH = 0.25
# Raise it when scenes of the same seed change, so that stored embeddings are recomputed.
CORPUS_VERSION = 1
# Minimum predicted IoU of a box prediction of the released model to count as an object. Arbitrary.
MIN_PREDICTED_IOU = 0.85
# Minimum ratio of its areas at a higher and a lower threshold. Arbitrary.
STEADY_IOU = 0.9
# Boxes that are tried in a scene. Arbitrary.
BOXES_PER_SCENE = 3


@dataclass(frozen=True, eq=False)
class Embedded(episodes.Embedded):
    """An embedded scene.

    Attributes
    ----------
    domain : {'phantom', 'brain', 'photograph', 'relief'}
    """

    domain: Domain


def make_scene(seed: int, index: int, *, held_out: bool) -> Scene:
    """Make scene number `index` of a seed, independently of all others."""
    rng = np.random.default_rng([seed, int(held_out), index])
    for _ in range(20):
        kind = _domain(rng, index, held_out=held_out)
        if kind == "relief":
            scene = make_relief(rng)
        elif kind == "brain":
            scene = brain_scene(rng, held_out=held_out)
        elif kind == "photograph":
            scene = photograph_scene(rng, held_out=held_out)
        else:
            behind = backdrop(rng) if rng.random() < ON_PHOTOGRAPH else None
            scene = make_phantom(rng, textures(), behind)
        if scene.masks and np.ptp(scene.image) > 0:
            return scene
    raise RuntimeError(f"Seed {seed}, index {index}, gave no scene with an object.")


def _domain(rng: np.random.Generator, index: int, *, held_out: bool) -> Domain:
    drawn = DOMAINS[int(rng.choice(len(DOMAINS), p=part_of(index).domains))]
    if held_out:
        return DOMAINS[index % 3] if index < HELD_OUT_FIRST_PART else "relief"
    return drawn


def build_corpus(
    sam: SamModel,
    seed: int,
    count: int,
    folder: Path,
    *,
    held_out: bool,
    on_scene: Callable[[int, int], None] = lambda done, total: None,
) -> list[Embedded]:
    """Make and embed `count` scenes, or read those stored in `folder`.

    Parameters
    ----------
    sam : SamModel
        The released model.
    seed, count : int
    folder : Path
        For the embeddings, 2.5 MB each.
    held_out : bool
        Scenes for validation: other pictures and another random stream.
    on_scene : callable
        Called with the number done and the total.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f"{CORPUS_VERSION}-{PREPROCESS_VERSION}-{seed}-{int(held_out)}"

    def scene(index: int) -> Embedded:
        path = folder / f"{prefix}-{index:05d}.safetensors"
        return _kept(path, sam, seed, index, held_out=held_out)

    corpus = []
    with side_by_side(torch.device("cpu")) as pool:
        for embedded in pool.map(scene, range(count)):
            corpus.append(embedded)
            on_scene(len(corpus), count)
    return corpus


def _kept(path: Path, sam: SamModel, seed: int, index: int, *, held_out: bool) -> Embedded:
    try:
        tensors = load_file(path)
        domain = DOMAINS[int(tensors["domain"])]
        return Embedded(tensors["features"], tensors["targets"], domain)
    except (OSError, KeyError, SafetensorError):
        pass  # not made yet, or writing was interrupted
    scene = make_scene(seed, index, held_out=held_out)
    embedded = _embed(scene, sam, np.random.default_rng([seed, 2, index]))
    tensors = {
        "features": embedded.features,
        "targets": embedded.targets,
        "domain": torch.tensor(DOMAINS.index(scene.domain)),
    }
    save_file(tensors, path)
    return embedded


def _embed(scene: Scene, sam: SamModel, rng: np.random.Generator) -> Embedded:
    features = sam.embed(scene.image).features
    side = 4 * sam.entry.embedding_size
    targets = [label_canvas(mask.astype(np.uint8), side) for mask in scene.masks]
    if scene.domain in ("brain", "photograph"):
        targets += _distilled(features, targets, sam, rng)
    stacked = torch.from_numpy(np.stack(targets))
    return Embedded(features[0].half().contiguous(), stacked, scene.domain)


@torch.no_grad()
def _distilled(
    features: Tensor, targets: Sequence[NDArray[np.uint8]], sam: SamModel, rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    """Return masks of the released model for boxes: it segments medical objects by box."""
    chosen = [targets[int(rng.integers(len(targets)))] for _ in range(BOXES_PER_SCENE)]
    boxes = np.stack([_wider(jittered_box(target == 1, rng), rng) for target in chosen])
    repeated = features.expand(len(chosen), -1, -1, -1)
    logits, iou = Decoder(sam.module)(repeated, PromptBatch(boxes=boxes))
    found = []
    for one, sure, target in zip(logits[:, 0].numpy(), iou.tolist(), chosen, strict=True):
        valid = target != IGNORE
        mask = (one > 0) & valid
        if sure > MIN_PREDICTED_IOU and usable(mask) and _steady(one, valid):
            found.append(np.where(valid, mask, IGNORE).astype(np.uint8))
    return found


def _wider(box: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Move and stretch a box, so that it does not fit the region it came from."""
    sides = np.tile(box[2:] - box[:2], 2)
    moved = box + rng.uniform(-0.2, 0.2, 4) * sides
    return np.clip(moved, 0, 255).astype(np.float32)


def _steady(logits: NDArray[np.float32], valid: Mask) -> bool:
    """Whether another threshold gives nearly the same mask (SAM's stability score)."""
    small, large = ((logits > t) & valid for t in (1.0, -1.0))
    return bool(small.sum() >= STEADY_IOU * max(1, large.sum()))
