"""The documentation says what is so: its examples run, its commands parse, its files are there."""

from __future__ import annotations

import re
import runpy
import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import nibabel as nib
import numpy as np
import pytest

from napari_scsam.cli.__main__ import main
from napari_scsam.cli.app import build_app
from napari_scsam.core.settings import TrainSettings, TuneSettings
from napari_scsam.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if not {"_build", "_generated"} & set(page.parts)]
ROOMS = ("src", "training", "tests", "scripts", "benchmarks")
SOURCES = [p for room in ROOMS for p in (ROOT / room).rglob("*.py")]
# Commands that need neither a trained round nor a window, and take seconds.
QUICK = {"new", "add", "label", "settings", "rounds", "export", "evaluate", "segment"}
# What would make even those slow, or needs a file that nobody has.
SLOW = {"--propagate", "--checkpoint", "--take"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    return [str(block) for block in found]


def command_lines(page: Path) -> list[list[str]]:
    lines = "\n".join(blocks(page, "sh")).splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line and line[0] == "napari-scsam"]


def having(find: Callable[[Path], object]) -> list[Path]:
    return [page for page in PAGES if find(page)]


def save(path: Path, values: np.ndarray, zooms: tuple[float, float, float] = (1, 1, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values.T, np.diag([*zooms, 1.0])), path)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the documentation speaks of, as small as they can be."""
    rows, cols = np.mgrid[:64, :80]
    disc = (rows - 30) ** 2 + (cols - 40) ** 2 < 12**2
    mask = np.zeros((6, 64, 80), np.uint8)
    mask[1:5, disc] = 1
    for seed, name in enumerate(("scans/p01", "scans/p02", "scans/p03", "more-scans/p04")):
        noise = np.random.default_rng(seed).normal(0, 5, mask.shape)
        save(tmp_path / f"{name}.nii.gz", (mask * 100 + noise).astype(np.int16))
    for name in ("p01_mask", "p02_truth", "predictions/p02", "other-labels/p01"):
        save(tmp_path / f"{name}.nii.gz", mask)
    save(tmp_path / "old/p02.nii.gz", mask * 255)
    rows, cols = np.mgrid[:320, :320]
    large = (rows - 210) ** 2 + (cols - 300) ** 2 < 15**2
    ct = np.full((42, 320, 320), -800, np.int16)
    ct[:, large] = -100
    save(tmp_path / "ct.nii.gz", ct)
    photo = np.repeat(large[..., None] * 200 + 20, 3, 2).astype(np.uint8)
    imageio.imwrite(tmp_path / "photo.png", photo)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ensure_project(folder: Path) -> None:
    """A project that an earlier page made."""
    if folder.exists():
        return
    with Project.create(folder, ["prostate", "tumour"]) as project:
        image, *_ = project.add_images("scans/")
        label = np.zeros(project.image(image).shape, np.uint8)
        label[2, 20:40, 30:50] = 1
        project.commit(image, label)


@pytest.mark.parametrize("page", having(command_lines), ids=name_of)
def test_the_commands_are_the_programs(page: Path) -> None:
    for line in command_lines(page):
        build_app().parse_args(line)


@pytest.mark.parametrize(
    "page", having(lambda p: QUICK & {line[0] for line in command_lines(p) if line}), ids=name_of
)
def test_the_quick_commands_run(page: Path, desk: Path) -> None:
    for line in command_lines(page):
        if not line or line[0] not in QUICK or SLOW & set(line):
            continue
        if line[0] not in ("new", "segment", "evaluate"):
            ensure_project(desk / line[1])
        assert main(line) == 0, line


@pytest.mark.parametrize("page", having(lambda p: blocks(p, "python")), ids=name_of)
def test_the_python_examples_run(page: Path, desk: Path) -> None:
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, name_of(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    """Modules in backticks, by their place in a room or by their name alone."""
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", page.read_text("utf-8"))
    known = {path.relative_to(ROOT).as_posix() for path in SOURCES}
    missing = {name for name in named if not any(f"/{k}".endswith(f"/{name}") for k in known)}
    assert not missing


def test_the_rooms_are_drawn_as_they_are() -> None:
    """Where they changed: python scripts/draw_rooms.py."""
    script = runpy.run_path(str(ROOT / "scripts/draw_rooms.py"))
    assert script["DRAWING"].read_text("utf-8") == script["draw"]()


def test_the_reference_has_every_command_and_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs/_ext")
    written = pytest.importorskip("written_once", exc_type=ImportError)
    commands = written.commands()
    usages = re.findall(r"^```console\n(.*)$", commands, re.M)
    assert len(usages) == len(re.findall(r"^## napari-scsam ", commands, re.M)) >= 14
    # Not of the program that runs now.
    assert all(usage.startswith("napari-scsam ") and " -m " not in usage for usage in usages)
    for kind in (TrainSettings, TuneSettings):
        assert all(f"`{f.name}`" in written.settings_table(kind) for f in fields(kind))


def test_pages_that_the_code_names_are_there() -> None:
    cited = {
        (source.name, page)
        for source in [*SOURCES, ROOT / "pyproject.toml", ROOT / "Makefile", ROOT / "CHANGELOG.md"]
        for page in re.findall(r"docs/[\w/-]+\.md", source.read_text("utf-8"))
    }
    assert not {(source, page) for source, page in cited if not (ROOT / page).is_file()}


def test_the_code_cites_nothing_that_only_its_makers_have() -> None:
    own = Path(__file__).name
    word = re.compile(r"\b(METHOD|DESIGN)\b")
    read = [path for path in [*SOURCES, *PAGES] if path.name != own]
    assert not [name_of(path) for path in read if word.search(path.read_text("utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """For those who read them in the repository; the site's build checks its own."""
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]
