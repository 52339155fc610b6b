"""The cache of embeddings: right, small, and never in the way."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from napari_scsam.core.errors import Cancelled
from napari_scsam.core.jobs import CancelToken
from napari_scsam.core.windows import PRESETS
from napari_scsam.models import Embedding, open_cache
from napari_scsam.models.embeddings import LruEmbeddingCache, embedding_key

if TYPE_CHECKING:
    from napari_scsam.core.arrays import Pixels


class CountingSam:
    """Embeds a plane as its mean, and counts."""

    base_hash = "base"

    def __init__(self) -> None:
        self.embedded = 0

    def embedding_key(self, image: Pixels) -> str:
        return embedding_key(image, self.base_hash)

    def embed(self, image: Pixels, cancel: CancelToken | None = None) -> Embedding:
        self.embedded += 1
        features = torch.full((1, 4, 8, 8), float(image.mean()))
        view = np.asarray(image[:5, :6], np.float32)
        return Embedding(features, image.shape[:2], view, self.embedding_key(image))


def plane(value: int) -> np.ndarray:
    image = np.zeros((10, 12), np.int16)
    image[0] = value
    return image


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.fixture
def sam() -> CountingSam:
    return CountingSam()


def assert_is(embedding: Embedding, image: np.ndarray) -> None:
    assert embedding.shape == image.shape
    assert torch.equal(embedding.features, torch.full((1, 4, 8, 8), float(image.mean())))
    assert np.array_equal(embedding.view, image[:5, :6].astype(np.float32))
    assert embedding.key == embedding_key(image, "base")


def test_a_plane_is_embedded_once(sam: CountingSam) -> None:
    cache = open_cache()
    for _ in range(3):
        assert_is(cache.get_or_embed(sam, plane(7)), plane(7))
    assert sam.embedded == 1


def test_memory_keeps_the_last_used(sam: CountingSam) -> None:
    cache = open_cache(memory_items=2)
    for value in (1, 2, 1, 3, 1):  # 3 pushes 2 out
        cache.get_or_embed(sam, plane(value))
    assert sam.embedded == 3
    cache.get_or_embed(sam, plane(2))
    assert sam.embedded == 4


def test_the_folder_outlives_the_session(sam: CountingSam, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "embeddings"
    open_cache(folder).get_or_embed(sam, plane(7))
    assert_is(open_cache(folder).get_or_embed(sam, plane(7)), plane(7))
    assert sam.embedded == 1
    assert [path.suffix for path in files(folder)] == [".safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "type", "rank", "huge"])
def test_a_damaged_file_is_replaced(sam: CountingSam, tmp_path: Path, damage: str) -> None:
    open_cache(tmp_path).get_or_embed(sam, plane(7))
    (path,) = files(tmp_path)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-3] ^= 0x40
    tensors = load(content)
    (strange := dict(tensors))["view"] = tensors["view"].to(torch.bfloat16)
    (turned := dict(tensors))["view"] = tensors["view"][None]
    changed = {"cut": content[:-9], "flipped": flipped, "empty": b"", "text": b"x" * 50}
    changed |= {"type": save(strange), "rank": save(turned), "huge": content + bytes(2**26)}
    path.write_bytes(changed[damage])
    assert_is(open_cache(tmp_path).get_or_embed(sam, plane(7)), plane(7))
    assert sam.embedded == 2
    assert files(tmp_path)[0].read_bytes() == content


def test_a_folder_deleted_meanwhile_is_made_again(sam: CountingSam, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cache = open_cache(folder, memory_items=0)
    cache.get_or_embed(sam, plane(7))
    shutil.rmtree(folder)
    assert_is(cache.get_or_embed(sam, plane(7)), plane(7))
    assert len(files(folder)) == 1


def test_a_folder_that_cannot_be_written_costs_only_time(sam: CountingSam, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache = open_cache(blocked / "cache", memory_items=0)
    for _ in range(2):
        assert_is(cache.get_or_embed(sam, plane(7)), plane(7))
    assert sam.embedded == 2
    assert blocked.read_text() == "not a folder"


def test_a_full_disk_leaves_no_rubbish(
    sam: CountingSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> Never:
        write(self, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert_is(open_cache(tmp_path).get_or_embed(sam, plane(7)), plane(7))
    assert files(tmp_path) == []


def test_the_folder_stays_under_its_size_and_drops_the_longest_unused(
    sam: CountingSam, tmp_path: Path
) -> None:
    open_cache(tmp_path).get_or_embed(sam, plane(1))
    size = files(tmp_path)[0].stat().st_size
    cache = LruEmbeddingCache(tmp_path, memory_items=0, max_bytes=int(2.5 * size))
    cache.get_or_embed(sam, plane(2))
    for age, value in ((200, 1), (100, 2)):
        path = tmp_path / f"{embedding_key(plane(value), 'base')}.safetensors"
        os.utime(path, (path.stat().st_atime - age, path.stat().st_mtime - age))
    cache.get_or_embed(sam, plane(1))  # used again: 2 is now the oldest
    cache.get_or_embed(sam, plane(3))
    left = {path.stem for path in files(tmp_path)}
    assert left == {embedding_key(plane(value), "base") for value in (1, 3)}


def test_foreign_files_in_the_folder_are_left_alone(sam: CountingSam, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    open_cache(tmp_path).get_or_embed(sam, plane(1))
    size = max(path.stat().st_size for path in files(tmp_path))
    cache = LruEmbeddingCache(tmp_path, memory_items=0, max_bytes=size)
    cache.get_or_embed(sam, plane(2))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(files(tmp_path)) == 2


def test_only_embeddings_make_way_whatever_else_has_their_suffix(sam: Any, tmp_path: Any) -> None:
    outside = tmp_path / "unet.safetensors"
    outside.write_bytes(bytes(100))
    folder = tmp_path / "embeddings"
    folder.mkdir()
    for name in ("unet.safetensors", "a" * 63 + ".safetensors", "model.partial"):
        (folder / name).write_bytes(bytes(100))
    (folder / f"{'b' * 64}.safetensors").symlink_to(outside)
    before = set(folder.iterdir())
    open_cache(folder).get_or_embed(sam, plane(1))
    (own,) = set(folder.iterdir()) - before
    cache = LruEmbeddingCache(folder, memory_items=0, max_bytes=own.stat().st_size)
    cache.get_or_embed(sam, plane(2))
    assert before < set(folder.iterdir()) and not own.exists()
    assert outside.read_bytes() == bytes(100)


def test_a_folder_that_is_a_link_is_not_written(sam: Any, tmp_path: Any) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "embeddings").symlink_to(outside)
    open_cache(tmp_path / "embeddings").get_or_embed(sam, plane(1))
    assert files(outside) == []


@pytest.mark.parametrize("max_gb", [0.0, 1e-9])
def test_a_cap_that_holds_nothing_writes_nothing(
    sam: CountingSam, tmp_path: Path, max_gb: float
) -> None:
    folder = tmp_path / "embeddings"
    cache = open_cache(folder, max_gb=max_gb)
    for _ in range(2):
        assert_is(cache.get_or_embed(sam, plane(7)), plane(7))
    assert sam.embedded == 1  # memory is not the folder's
    assert not folder.exists()


def test_several_writers_keep_the_folder_under_its_size(sam: CountingSam, tmp_path: Path) -> None:
    open_cache(tmp_path).get_or_embed(sam, plane(0))
    size = files(tmp_path)[0].stat().st_size
    caches = [
        LruEmbeddingCache(tmp_path, memory_items=0, max_bytes=3 * size + 10) for _ in range(4)
    ]

    def write(at: int) -> None:
        for value in range(10):
            image = plane(100 * at + value)
            assert_is(caches[at].get_or_embed(CountingSam(), image), image)

    with ThreadPoolExecutor(len(caches)) as pool:
        list(pool.map(write, range(len(caches))))
    caches[0].get_or_embed(sam, plane(999))
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 3 * size + 10
    assert all(path.suffix == ".safetensors" for path in files(tmp_path))


def test_a_folder_that_may_only_be_read_is_read(
    sam: CountingSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_cache(tmp_path).get_or_embed(sam, plane(7))

    def refuse(*_args: Any, **_kwargs: Any) -> Never:
        raise PermissionError(13, "Permission denied")

    for name in ("write_bytes", "mkdir", "replace", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(os, "utime", refuse)
    cache = open_cache(tmp_path, memory_items=0)
    assert_is(cache.get_or_embed(sam, plane(7)), plane(7))
    assert sam.embedded == 1
    assert_is(cache.get_or_embed(sam, plane(8)), plane(8))
    assert sam.embedded == 2


def test_two_threads_embed_a_plane_once(tmp_path: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    class Slow(CountingSam):
        def embed(self, image: Pixels, cancel: CancelToken | None = None) -> Embedding:
            began.set()
            assert go_on.wait(10)
            return super().embed(image, cancel)

    slow, cache = Slow(), open_cache(tmp_path)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(cache.get_or_embed, slow, plane(7)) for _ in range(3)]
        assert began.wait(10)
        go_on.set()
        assert len({id(future.result(10)) for future in asked}) == 1
    assert slow.embedded == 1
    assert not cache._computing


def test_a_thread_whose_wait_was_for_nothing_embeds_itself(sam: CountingSam) -> None:
    cache = open_cache()
    token = CancelToken()
    token.cancel()

    class Stopped(CountingSam):
        def embed(self, image: Pixels, cancel: CancelToken | None = None) -> None:
            cancel.check()

    with pytest.raises(Cancelled):
        cache.get_or_embed(Stopped(), plane(7), token)
    assert_is(cache.get_or_embed(sam, plane(7)), plane(7))


def test_another_window_is_another_key() -> None:
    scan = np.arange(-500, 500, dtype=np.int16).reshape(20, 50)
    keys = {embedding_key(window.apply(scan), "base") for window in PRESETS.values()}
    # "volume" has no limits before it is put on a volume: it is the plane's own, like "auto".
    assert len(keys) == len(PRESETS) - 1


def test_the_key_tells_encoders_apart() -> None:
    keys = {
        embedding_key(plane(1), "base"),
        embedding_key(plane(1), "other base"),
        embedding_key(plane(1), "base", "adapter"),
        embedding_key(plane(1).astype(np.int32), "base"),
        embedding_key(plane(1).T, "base"),
        embedding_key(plane(2), "base"),
    }
    assert len(keys) == 6
    assert embedding_key(np.asfortranarray(plane(1)), "base") in keys


def test_errors_of_the_plane_are_the_callers(sam: CountingSam, tmp_path: Path) -> None:
    class Refusing(CountingSam):
        def embed(self, image: Pixels, cancel: CancelToken | None = None) -> Never:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        open_cache(tmp_path).get_or_embed(Refusing(), plane(1))
    assert files(tmp_path) == []
