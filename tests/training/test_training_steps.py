"""The benchmark of a step's cost, on a thin ViT: what a step is, and what is written."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import segment_anything
from thin import thin_vit

from napari_scsam.core.errors import ScsamError
from scsam_train import encoding
from scsam_train.benchmark import steps
from scsam_train.benchmark.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

    from forked_child import ForkedChildren


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [
        ("vit-b-frozen", encoding.KeptEmbeddings, (12, 256, 64, 64)),
        ("vit-b-adapted", encoding.TrainedEncoder, (12, 3, 256, 256)),
    ],
)
def test_a_step_teaches_the_unet_and_sam_by_twelve_pictures(
    name: str, kind: type, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(segment_anything.sam_model_registry, "vit_b", thin_vit)
    seen = []
    encode = kind.__call__

    def watched(self: Any, kept: Any) -> Any:
        seen.append(tuple(kept.shape))
        return encode(self, kept)

    monkeypatch.setattr(kind, "__call__", watched)
    found = steps.measure_here(name, 1)
    assert seen == [shape] * (steps.WARM_UPS + 1)
    assert found["seconds"] == found["all_seconds"][0] > 0
    assert 0.1 < found["memory_gb"] < 20 and found["threads"] >= 1


def test_figures_of_all_processes_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        found = {"title": command[4], "seconds": 2.5, "all_seconds": [2.5], "memory_gb": 1.25}
        text = "a warning\n" + json.dumps(found | {"threads": 2}) + "\n"
        return subprocess.CompletedProcess(command, 0, stdout=text, stderr="")

    # In this module alone: `platform` starts a process, too, when it is first asked.
    monkeypatch.setattr(steps, "subprocess", SimpleNamespace(run=measured))
    assert main(["steps", "--out", str(tmp_path), "--repeats", "1"]) == 0
    report = json.loads((tmp_path / "steps.json").read_text())
    assert set(report["configurations"]) == set(steps.CONFIGURATIONS)
    table = (tmp_path / "steps.md").read_text()
    assert table == capsys.readouterr().out
    assert "| vit-b-adapted | 2 | 2.50 | 1.25 GB |" in table


def test_a_configuration_that_fails_is_named(
    forks: ForkedChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "subprocess", SimpleNamespace(run=forks.run))
    with pytest.raises(ScsamError, match=r"ViT-B, frozen encoder could not .* invalid literal"):
        steps.measure_steps("many", ["vit-b-frozen"])
