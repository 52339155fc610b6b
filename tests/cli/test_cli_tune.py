"""``napari-scsam tune`` where there is nothing to tune on yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile

from napari_scsam.cli.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_without_a_label_it_says_what_to_do_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "scan.tif", np.arange(30, dtype=np.uint8).reshape(5, 6))
    project, scan = str(tmp_path / "project"), str(tmp_path / "scan.tif")
    assert main(["new", project, "--images", scan, "--classes", "disc"]) == 0
    assert main(["tune", project, "--json"]) == 2
    assert "commit a few slices first" in capsys.readouterr().err
    assert main(["tune", project, "--seconds", "0"]) == 2
    assert "seconds is between 1" in capsys.readouterr().err
