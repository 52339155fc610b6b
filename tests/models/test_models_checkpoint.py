"""Checkpoints: safe, strict, and refused in one line."""

from __future__ import annotations

import hashlib
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from napari_scsam.core.errors import ModelError
from napari_scsam.models.checkpoint import load_strictly, read_state_dict, sha256_of_file

if TYPE_CHECKING:
    from pathlib import Path


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._folder),)


@pytest.mark.parametrize("how", ["torch", "torch, legacy", "plain pickle"])
def test_a_malicious_pickle_is_refused_unexecuted(tmp_path: Path, how: str) -> None:
    trace, path = tmp_path / "executed", tmp_path / "evil.pth"
    content = {"weight": torch.zeros(3), "bomb": Bomb(trace)}
    if how == "plain pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(ModelError, match="safely") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    # The same file is dangerous to one who trusts it: the test means something.
    torch.load(path, weights_only=False) if how != "plain pickle" else pickle.loads(
        path.read_bytes()
    )
    assert trace.exists()


def written(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["notes.pth", "notes.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04 cut", bytes(range(256)) * 40, b"\x80\x04]q\x00."]
)
def test_what_is_no_checkpoint_is_refused_in_one_line(
    tmp_path: Path, name: str, content: Any
) -> None:
    with pytest.raises(ModelError, match="notes") as caught:
        read_state_dict(written(tmp_path, name, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, keep: float) -> None:
    whole = tmp_path / "whole.pth"
    torch.save({"weight": torch.arange(5000.0)}, whole)
    content = whole.read_bytes()
    with pytest.raises(ModelError, match="cut"):
        read_state_dict(written(tmp_path, "cut.pth", content[: int(len(content) * keep)]))


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, torch.zeros(3)])
def test_a_file_without_weights_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ModelError, match="holds"):
        read_state_dict(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no checkpoint"):
        read_state_dict(tmp_path / "nowhere.pth")
    with pytest.raises(ModelError, match="can't be read"):
        sha256_of_file(tmp_path)


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_weights_are_read_from_either_format(tmp_path: Path, wrapper: str | None) -> None:
    state = {"weight": torch.arange(6.0).reshape(2, 3)}
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        assert torch.equal(read_state_dict(tmp_path / name)["weight"], state["weight"])


def test_loading_is_strict_and_names_what_differs() -> None:
    layer = torch.nn.Linear(2, 3)
    before = layer.weight.clone()
    state = {"weight": torch.zeros(3, 5), "offset": torch.zeros(3)}
    with pytest.raises(
        ModelError, match=r"missing \(bias\).*unexpected \(offset\).*another shape \(weight\)"
    ):
        load_strictly(layer, state, "tiny.pth")
    assert torch.equal(layer.weight, before)


def test_many_differences_are_counted_and_only_some_named() -> None:
    with pytest.raises(ModelError, match=r"9 unexpected \(k0, k1, k2 and 6 more\)"):
        load_strictly(torch.nn.Identity(), {f"k{i}": torch.zeros(1) for i in range(9)}, "x")


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    path = written(tmp_path, "any", content)
    assert sha256_of_file(path) == hashlib.sha256(content).hexdigest()
