"""What tests of every room share: a project, a desk, a finished round as training leaves one."""

from __future__ import annotations

import gc
import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import tifffile

from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from annotation_desk import Desk
    from forked_child import ForkedChildren


WINDOW = "tests/gui/"


def import_triton_before_mesa() -> None:
    """Load triton, which torch imports when it is first needed, before a window loads OpenGL.

    Both Mesa and triton bring an LLVM. A process in which Mesa's is loaded first crashes when a
    later test has torch import triton.
    """
    with suppress(ImportError):  # there is none on Windows and macOS
        import triton  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: two processes that share the files then end together."""
    if len({item.nodeid.startswith(WINDOW) for item in items}) == 2:
        import_triton_before_mesa()
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not item.nodeid.startswith(WINDOW), item.path not in slow))


def pytest_collection_finish() -> None:
    """Leave what was imported out of every later garbage collection.

    napari collects all garbage whenever a layer is removed. That takes a quarter of a second, and
    more beside torch, for objects that no test can free.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile`` the window's tests go to one process, as if they were one file.

    Each process that gets some opens a window and starts a model process, and two windows on one
    screen take the focus from one another.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class WindowTogether(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return WINDOW if nodeid.startswith(WINDOW) else super()._split_scope(nodeid)

    return WindowTogether(config, log)


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is known of this machine, whoever has measured it."""
    monkeypatch.setenv("NAPARI_SCSAM_CACHE", str(tmp_path_factory.mktemp("figures")))


@pytest.fixture
def nothing_runs_on(tmp_path: Path) -> Iterator[None]:
    """Ends what still works in the test's folder: a failed test leaves no endless round behind."""
    yield
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(word.startswith(str(tmp_path)) for word in process.cmdline()):
                process.kill()


@pytest.fixture
def forks() -> Iterator[ForkedChildren]:
    """What starts training processes as forks of this one."""
    from forked_child import ForkedChildren

    made = ForkedChildren()
    yield made
    made.end()


@pytest.fixture
def forked_rounds(forks: ForkedChildren, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have rounds trained by forks of this process, which has imported torch."""
    monkeypatch.setattr("napari_scsam.rounds.running_round.start_child", forks.start)


@pytest.fixture
def finish_round() -> Callable[..., Path]:
    """Write what the training process leaves behind, and give the folder its final name."""

    def finish(
        partial: Path,
        pair: float,
        parent: float | None,
        *,
        gated: bool = True,
        cases: int = 6,
        **more: Any,
    ) -> Path:
        metrics = {
            "gated": gated,
            "reason": "" if gated else "there is one labelled case",
            "dice": {"pair": {"prostate": pair, "mean": pair}},
            "parent": None if parent is None else {"pair": {"prostate": parent, "mean": parent}},
            "validation": {"planes": 9, "cases": cases},
            **more,
        }
        settings = json.loads((partial / "inputs.json").read_text())["settings"]
        (partial / "metrics.json").write_text(json.dumps(metrics))
        (partial / "config.json").write_text(json.dumps({"settings": settings}))
        (partial / "unet.safetensors").write_bytes(b"weights")
        names = ("metrics.json", "config.json", "unet.safetensors")
        manifest = {
            "files": {name: _sha256(partial / name) for name in names},
            "data": _sha256(partial / "inputs.json"),
            "code": "0.1.0",
        }
        (partial / "manifest.json").write_text(json.dumps(manifest))
        return partial.rename(partial.with_suffix(""))

    return finish


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project of two small volumes; folders of tests may have another."""
    scans = []
    for name, shape in (("volume", (5, 20, 30)), ("other", (3, 16, 18))):
        scan = np.random.default_rng(len(name)).normal(size=shape).astype(np.float32)
        scans.append(tmp_path / f"{name}.tif")
        tifffile.imwrite(scans[-1], scan, imagej=True, metadata={"axes": "ZYX"})
    with Project.create(tmp_path / "project", ["one", "two"]) as made:
        made.add_images(scans)
        yield made


@pytest.fixture
def desk(project: Project) -> Desk:
    """A desk at which an image of the project is open at its middle slice."""
    from annotation_desk import Desk

    made = Desk(project)
    made.annotation.navigation.open_image(project.images()[0].id, Plane(0, 1))
    made.settle()
    return made
