"""Puts napari.yaml, which stands at the repository's root, where npe2 looks for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManifestHook(BuildHookInterface):
    """Force-includes the manifest in wheels; copies it into src/ for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        manifest = Path(self.root, "napari.yaml")
        packaged = "napari_scsam/napari.yaml"
        if version == "editable":
            target = Path(self.root, "src", packaged)
            target.unlink(missing_ok=True)
            try:
                # A link follows later edits; where links are not allowed, a copy serves.
                target.symlink_to(Path("..", "..", "napari.yaml"))
            except OSError:
                shutil.copyfile(manifest, target)
            return
        build_data["force_include"][str(manifest)] = packaged
