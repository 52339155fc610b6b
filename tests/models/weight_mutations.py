"""Weights and their descriptions that were changed at random, and a process that reads each.

Run as ``python weight_mutations.py FOLDER COUNT FIRST``, with ``tests/io`` and ``tests/project`` on
the path: writes a round with small models, a tuning, a checkpoint of torch and an embedding, and
COUNT times changes one of their files, the same one for the same numbers, and reads it as the
window, the model process and the training do. Hashes are made to fit, as a stranger's do. Each line
that is printed is a fault: an error that is not meant for the user or has more than one line, more
than 5 s of the processor, or more than 2 GiB of memory. The last line counts what was refused.
"""

from __future__ import annotations

import json
import resource
import shutil
import signal
import struct
import sys
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mutations import CHANGES
from project_mutations import TooLong, mutate_value, too_long
from test_models_adapters import shallow_vit

from napari_scsam.core.errors import ScsamError
from napari_scsam.models import pair, tuned_sam
from napari_scsam.models.adapters import AdapterInfo, attach, load_adapter, save_adapter
from napari_scsam.models.checkpoint import read_state_dict, sha256_of_file
from napari_scsam.models.class_prior import ClassPrior
from napari_scsam.models.embeddings import LruEmbeddingCache
from napari_scsam.models.protocols import Embedding
from napari_scsam.models.scratch_unet import build_network
from napari_scsam.models.unet import UNet, kind_in

if TYPE_CHECKING:
    from collections.abc import Callable

BASE, KEY = "a" * 64, "b" * 64
FEATURES = (8, 8, 8, 8, 8, 8)
# Changed as texts, and as the bytes of a file.
TEXTS = (".json",)


def write(folder: Path) -> None:
    """A round, a tuning, a checkpoint and an embedding, with weights of small networks."""
    made = folder / "rounds" / "0001"
    (made / "sam_adapter").mkdir(parents=True)
    torch.manual_seed(0)
    prior = ClassPrior((0, 1), torch.randn(256, 2), torch.randn(2))
    UNet(build_network(2, 2, FEATURES), [1], 64).save(made / "unet.safetensors")
    prior.save(made / "sam_adapter" / "prior.safetensors")
    info = AdapterInfo(BASE, "lite-medsam", (1,))
    save_adapter(attach(shallow_vit(), info), made / "sam_adapter", info)
    settings = {"sam": "lite-medsam", "sam_checkpoint": None}
    config = {"settings": settings, "unet_shares": [0.5], "trained": ["unet", "sam"]}
    more = {"guided": [True], "unknown_classes": [], "partner": "sam", "window": "auto"}
    (made / "config.json").write_text(json.dumps(config | more))
    tuned = folder / "tuned" / "0001"
    tuned.mkdir(parents=True)
    (tuned / "weights.bin").write_bytes(bytes(100))
    files = {"weights.bin": sha256_of_file(tuned / "weights.bin")}
    report = {"settings": settings, "files": files, "planes": 3, "reason": "", "kept": True}
    (tuned / "report.json").write_text(json.dumps(report))
    torch.save({"model": {"weight": torch.arange(500.0)}}, folder / "base.pth")
    cache = LruEmbeddingCache(folder / "cache")
    cache.get_or_embed(_encoder(), np.zeros((4, 4)))
    _sign(folder)


def _encoder() -> Any:
    """A SAM that embeds, as the cache sees it."""
    features, view = torch.randn(1, 256, 4, 4), np.zeros((4, 4), np.float32)
    made = Embedding(features, (4, 4), view, KEY)
    return SimpleNamespace(embedding_key=lambda _: KEY, embed=lambda *_: made)


def _sign(folder: Path) -> None:
    """Write hashes that fit."""
    made = folder / "rounds" / "0001"
    names = [p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()]
    hashes = {name: sha256_of_file(made / name) for name in names if name != "manifest.json"}
    (made / "manifest.json").write_text(json.dumps({"files": hashes, "data": "", "code": ""}))


def mutate(folder: Path, number: int) -> str:
    """Change one file, the same one for the same number; what was changed."""
    rng = np.random.default_rng(number)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    path = files[rng.integers(len(files))]
    content = path.read_bytes()
    if path.suffix in TEXTS and rng.random() < 0.7:
        content = json.dumps(mutate_value(json.loads(content), rng)).encode()
    elif path.suffix == ".safetensors" and rng.random() < 0.7:
        content = _mutate_header(content, rng)
    else:
        content = bytes(CHANGES[rng.integers(len(CHANGES))](bytearray(content), rng))
    path.write_bytes(content)
    if path.name != "manifest.json":
        _sign(folder)
    return str(path.relative_to(folder))


def _mutate_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the table of tensors at the beginning of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    kind = rng.random()
    entries = [name for name in header if name != "__metadata__"]
    entry = entries[rng.integers(len(entries))]
    if kind < 0.3 and "__metadata__" in header and "scsam" in header["__metadata__"]:
        described = mutate_value(json.loads(header["__metadata__"]["scsam"]), rng)
        header["__metadata__"]["scsam"] = json.dumps(described)
    elif kind < 0.5:
        types = ("F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL", "U64", "C64", "F4")
        header[entry]["dtype"] = types[rng.integers(len(types))]
        _fit(header[entry], rng)
    elif kind < 0.65:
        _fit(header[entry], rng)
    elif kind < 0.75:
        header[f"{entry}.more"] = header.pop(entry)
    else:
        header = mutate_value(header, rng)
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    return struct.pack("<Q", len(packed)) + packed + content[8 + length :]


def _fit(entry: dict[str, Any], rng: np.random.Generator) -> None:
    """Another shape for the same bytes."""
    size = {"F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2}
    first, last = entry["data_offsets"]
    count = (last - first) // size.get(entry["dtype"], 1)
    shapes = ([count], [count, 1], [1, count], [1, 1, count], [2, count // 2], [count, 0])
    entry["shape"] = shapes[rng.integers(len(shapes))]


def use(folder: Path, refused: list[str]) -> None:
    """Read everything; what is refused is noted."""
    made = folder / "rounds" / "0001"
    picture = np.random.default_rng(0).random((20, 24))

    def unet() -> None:
        kind_in(made / "unet.safetensors")
        UNet.load(made / "unet.safetensors").probabilities(picture)

    def prior() -> None:
        found = ClassPrior.load(made / "sam_adapter" / "prior.safetensors")
        for class_id in found.class_ids:
            found.log_odds(torch.zeros(1, 256, 4, 4), class_id)

    def cache() -> None:
        LruEmbeddingCache(folder / "cache").get_or_embed(_encoder(), np.zeros((4, 4)))

    readers: tuple[Callable[[], object], ...] = (
        unet,
        prior,
        cache,
        lambda: load_adapter(shallow_vit(), made / "sam_adapter", BASE),
        lambda: pair.load_round(made, device="cpu"),
        lambda: tuned_sam.load_tuned(folder / "tuned" / "0001", device="cpu"),
        lambda: tuned_sam.outlines_of(folder / "tuned" / "0001"),
        lambda: read_state_dict(folder / "base.pth"),
    )
    for read in readers:
        try:
            read()
        except ScsamError as exc:
            assert "\n" not in str(exc), exc
            refused.append(str(exc))


def _stand_in(*_: object, **__: object) -> Any:
    """In place of the base SAM, whose weights are none of a project's and take a second to read."""
    return SimpleNamespace(shipped=None, understands_points=False)


def main() -> None:
    """Write, change, read; print faults."""
    warnings.simplefilter("ignore")
    root, count, first = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    pair.load_sam = tuned_sam.load_sam = _stand_in  # type: ignore[assignment]
    write(root / "good")
    use(root / "good", good := [])
    assert not good, good
    signal.signal(signal.SIGPROF, too_long)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2 * 2**30,) * 2)
    counts: Counter[str] = Counter()
    for number in range(first, first + count):
        shutil.rmtree(root / "copy", ignore_errors=True)
        folder = shutil.copytree(root / "good", root / "copy")
        what, refused = mutate(folder, number), list[str]()
        signal.setitimer(signal.ITIMER_PROF, 5)
        fault = ""
        try:
            use(folder, refused)
        except (Exception, TooLong) as exc:  # noqa: BLE001
            fault = _where(exc)
        signal.setitimer(signal.ITIMER_PROF, 0)
        counts["refused"] += bool(refused)
        if fault:
            sys.stdout.write(f"{number} {what}: {fault}\n")
    sys.stdout.write(f"{counts['refused']} refused\n")


def _where(exc: BaseException) -> str:
    places, trace = [], exc.__traceback__
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{exc!r:.300} at {' '.join(places[-4:])}"


if __name__ == "__main__":
    main()
