"""The SAM that a propagation asks, built once."""

from __future__ import annotations

import pytest

from napari_scsam.models.sam import SamModel, load_sam


@pytest.fixture(scope="session")
def lite() -> SamModel:
    """Released LiteMedSAM on the CPU."""
    return load_sam("lite-medsam-released", device="cpu")
