"""A finished round of a project whose models were never trained, in place of a real one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from napari_scsam.core.settings import TrainSettings
from napari_scsam.models.adapters import AdapterInfo, attach, save_adapter
from napari_scsam.models.base import load_base
from napari_scsam.models.checkpoint import sha256_of_file
from napari_scsam.models.unet import UNet, new_network
from napari_scsam.project import Project

if TYPE_CHECKING:
    from pathlib import Path


def add_round(folder: Path, trained: tuple[str, ...] = ("unet", "sam"), seed: int = 0) -> Path:
    """Begin a round, write the files that training leaves, and let the project take it in."""
    with Project.open(folder) as project:
        ids = [c.id for c in project.classes]
        partial = project.begin_round(TrainSettings(unet="pretrained"))
        torch.manual_seed(seed)
        unet = UNet(new_network("pretrained", len(ids) + 1, 64, 0), ids, 64)
        write_round(partial, unet, trained, seed)
    with Project.open(folder) as project:
        return project.active_round().folder


def write_round(
    partial: Path, unet: UNet, trained: tuple[str, ...] = ("unet", "sam"), seed: int = 0
) -> None:
    """Write what a round leaves, with this U-Net and a fresh adapter of SAM; its final name."""
    unet.save(partial / "unet.safetensors")
    base = load_base("lite-medsam")
    info = AdapterInfo(base.base_hash, "lite-medsam", tuple(unet.class_ids), base_parts=base.parts)
    save_adapter(attach(base.module, info, seed), partial / "sam_adapter", info)
    _write(partial, trained, len(unet.class_ids))
    partial.rename(partial.with_suffix(""))


def _write(partial: Path, trained: tuple[str, ...], classes: int) -> None:
    settings = json.loads((partial / "inputs.json").read_text())["settings"]
    shares = [0.5] * classes
    config = {"settings": settings, "unet_shares": shares, "trained": list(trained)}
    metrics = {"gated": False, "reason": "", "dice": {}, "validation": {"planes": 0, "cases": 0}}
    (partial / "config.json").write_text(json.dumps(config | {"window": "auto"}))
    (partial / "metrics.json").write_text(json.dumps(metrics))
    names = ["unet.safetensors", "config.json", "metrics.json"]
    names += [f"sam_adapter/{p.name}" for p in (partial / "sam_adapter").iterdir()]
    manifest = {
        "files": {name: sha256_of_file(partial / name) for name in names},
        "data": sha256_of_file(partial / "inputs.json"),
        "code": "0",
    }
    (partial / "manifest.json").write_text(json.dumps(manifest))
