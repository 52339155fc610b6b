"""The manifest is found and valid in a wheel and in an editable install."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ASK = """
import json, sys
from importlib import resources
from npe2 import PluginManager
manager = PluginManager()
manager.discover(include_npe1=False)
manifest = manager.get_manifest("napari-scsam")
text = resources.files("napari_scsam").joinpath("napari.yaml").read_text()
import scsam_train
heavy = {"torch", "qtpy", "PyQt6", "napari"} & set(sys.modules)
print(json.dumps({
    "widgets": [w.display_name for w in manifest.contributions.widgets],
    "text": text, "train": scsam_train.__file__, "heavy": sorted(heavy)}))
"""


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks, as a fresh clone has it."""
    copy = tmp_path_factory.mktemp("clone")
    for name in run("git", "ls-files", cwd=ROOT).splitlines():
        origin = ROOT / name
        if origin.is_file():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(origin.read_bytes())
    return copy


def imported(folder: Path) -> set[str]:
    """The top-level packages that the files under `folder` import anywhere."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found


def plain(distribution: str) -> str:
    return distribution.lower().replace("_", "-")


def test_every_imported_package_is_declared() -> None:
    """What only another package happened to bring is missing on a fresh machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = sum(project["optional-dependencies"].values(), project["dependencies"])
    declared = {plain(re.split(r"[\[<>=]", text)[0]) for text in wanted}
    own = {"napari_scsam", "scsam_train"} | set(sys.stdlib_module_names)
    owners = packages_distributions()
    undeclared = {
        name
        for name in (imported(ROOT / "src") | imported(ROOT / "training")) - own
        if not declared & {plain(owner) for owner in owners.get(name, [name])}
    }
    assert not undeclared


def fresh_environment(folder: Path) -> tuple[Path, Path]:
    """Its interpreter and npe2; pip is this environment's, as to install one takes seconds."""
    venv.create(folder)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    run(*pip_of(scripts / "python"), "npe2", "hatchling", "editables")
    return scripts / "python", scripts / "npe2"


def pip_of(python: Path) -> tuple[object, ...]:
    """The command that installs packages into the environment of an interpreter."""
    return (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["wheel", pytest.param("editable", marks=pytest.mark.exhaustive)])
def test_manifest_in_a_fresh_environment(how: str, source: Path, tmp_path: Path) -> None:
    python, npe2 = fresh_environment(tmp_path / "env")
    pip = (*pip_of(python), "--no-deps", "--no-build-isolation")
    if how == "wheel":
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, source)
        run(*pip, next(tmp_path.glob("*.whl")))
    else:
        run(*pip, "--editable", source)

    told = json.loads(run(python, "-c", ASK, cwd=tmp_path).splitlines()[-1])
    assert told["widgets"][0] == "SC-SAM"
    assert told["text"] == (ROOT / "napari.yaml").read_text()
    assert told["heavy"] == []
    assert Path(told["train"]).is_relative_to(source if how == "editable" else tmp_path)
    assert "valid" in run(npe2, "validate", "napari-scsam", cwd=tmp_path).lower()


def test_a_wheel_holds_no_tool_configuration_and_no_tests(source: Path, tmp_path: Path) -> None:
    import zipfile

    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, source)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert "napari_scsam/napari.yaml" in names and "napari_scsam/py.typed" in names
    assert not [n for n in names if n.endswith("ruff.toml") or n.startswith("tests")]
