"""What a release needs beside its code: one version, hooks that work offline, small files."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import napari_scsam

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 2_000_000


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines()]


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", text, flags=re.MULTILINE)
    assert versions[0] == napari_scsam.__version__
    assert len(set(versions)) == len(versions)


def test_the_version_is_written_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert ROOT / project["tool"]["hatch"]["version"]["path"] == Path(napari_scsam.__file__) or (
        "site-packages" in napari_scsam.__file__
    )
    assert "version" not in read_yaml("CITATION.cff")


def test_every_hook_is_local() -> None:
    config = read_yaml(".pre-commit-config.yaml")
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert {hook["language"] for repo in config["repos"] for hook in repo["hooks"]} == {"system"}


def test_every_hooks_program_is_a_development_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {re.split(r"[<>=\[]", d)[0] for d in project["optional-dependencies"]["dev"]}
    hooks = [h for repo in read_yaml(".pre-commit-config.yaml")["repos"] for h in repo["hooks"]]
    assert {hook["entry"].split()[0] for hook in hooks} <= named


def test_the_workflow_covers_what_is_supported() -> None:
    workflow = read_yaml(".github/workflows/test.yml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = "Programming Language :: Python :: 3."
    supported = [c.rsplit(" ", 1)[1] for c in project["classifiers"] if c.startswith(said)]
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == supported
    assert {os.split("-")[0] for os in matrix["os"]} == {"ubuntu", "windows", "macos"}


@pytest.mark.parametrize(
    ("schema", "broken"),
    [
        ("vendor.github-workflows", "on: push\njobs: {a: {runs-on: ubuntu-latest, step: []}}"),
        ("vendor.github-issue-forms", "name: a\ndescription: b\nbody: [{type: poem}]"),
    ],
)
def test_the_schemas_come_with_the_tool_and_refuse_what_is_broken(
    schema: str, broken: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.yml").write_text(broken)
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, "broken.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 1 and "Schema validation errors" in checked.stdout


def test_nothing_large_is_committed() -> None:
    assert not [p for p in tracked() if p.is_file() and p.stat().st_size > MOST_BYTES]
