"""Reproduction of the shipped adapter from a seed: corpus, training, float16, and a record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from napari_scsam.models import (
    ADAPTER_WEIGHTS,
    AdapterInfo,
    SamModel,
    SamWeights,
    attach,
    load_base,
    save_adapter,
)
from scsam_train.decoding import Decoder
from scsam_train.warmup.corpus import CORPUS_VERSION, build_corpus
from scsam_train.warmup.curriculum import TIMES
from scsam_train.warmup.evaluation import HeldOutObjects, evaluate
from scsam_train.warmup.fit import Plan, WarmUp

if TYPE_CHECKING:
    from pathlib import Path

BASE = "lite-medsam-released"
# Rank of LoRA (docs/explanation/warm-up.md). Arbitrary.
RANK = 16
ADAPTER_FOLDER = "adapter"
RECORD_FILE = "warmup.json"
# Suffix of the matrix of SAM's positional encoding, which is not trained.
POSITIONS = "positional_encoding"

OnEvent = Callable[[dict[str, Any]], None]


def make_adapter(
    out: Path,
    plan: Plan,
    *,
    scenes: int,
    held_out: int,
    cache: Path | None,
    on_event: OnEvent,
) -> dict[str, Any]:
    """Train the point adapter of LiteMedSAM and write it to ``OUT/adapter``.

    Parameters
    ----------
    out : Path
        Also holds the log and the state; the same command resumes from there.
    plan : Plan
    scenes, held_out : int
        Number of scenes for training and for validation.
    cache : Path, optional
        Folder for the embeddings.
    on_event : callable
        Called with progress events as JSON-serialisable dicts.

    Returns
    -------
    dict
        Figures on held-out generated scenes, before and after.
    """
    began = time.monotonic()
    base = load_base(BASE)
    sam = SamModel(SamWeights.of(base, torch.device("cpu")))
    kept = cache or out / "cache"
    out.mkdir(parents=True, exist_ok=True)
    report = _reporter(on_event)
    corpus = build_corpus(sam, plan.seed, scenes, kept, held_out=False, on_scene=report)
    objects = HeldOutObjects.of(
        build_corpus(sam, plan.seed, held_out, kept, held_out=True, on_scene=report)
    )
    before = evaluate(Decoder(sam.module), objects)
    on_event({"released": before, "minutes": round((time.monotonic() - began) / 60, 1)})
    info = AdapterInfo(
        base.base_hash, BASE, (), understands_points=True, rank=RANK, base_parts=base.parts
    )
    warm_up = WarmUp(attach(base.module, info, plan.seed), corpus, objects, plan, out)
    after = warm_up.run(on_event)
    folder = out / ADAPTER_FOLDER
    save_adapter(warm_up.learner.model, folder, info)
    _halve(folder / ADAPTER_WEIGHTS)
    record = {
        "plan": asdict(plan),
        "steps": warm_up.step,
        "last_part_times": TIMES,
        "scenes": scenes,
        "corpus": CORPUS_VERSION,
        "training_minutes": round(warm_up.total_s / 60, 1),
        "held_out_before": before,
        "held_out_after": after["held_out"],
    }
    (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
    return record


def _reporter(on_event: OnEvent) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            on_event({"embedded": done, "of": total})

    return report


def _halve(path: Path) -> None:
    """Store the trained weights as float16: half the size, and the same masks."""
    halved = {
        name: tensor if POSITIONS in name else tensor.half().contiguous()
        for name, tensor in load_file(path).items()
    }
    save_file(halved, path, metadata={"format": "pt"})
