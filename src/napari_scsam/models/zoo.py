"""Available SAMs: names, published files, licences, input conventions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from napari_scsam.core.errors import ModelError

Normalisation = Literal["unit", "sam"]

# Side of the patch that becomes one token of a ViT, in pixels.
PATCH = 16
_META = "https://dl.fbaipublicfiles.com/segment_anything/"


@dataclass(frozen=True)
class ZooEntry:
    """One SAM and the input conventions of its image encoder.

    Attributes
    ----------
    name : str
        Name for `load_sam`.
    title : str
        Title for users.
    file : str
        Name of the published checkpoint.
    size : int or None
        Its size in bytes, if known.
    sha256 : str or None
        Its published hash, if known. Only the bundled file must match; another checkpoint of
        the same architecture may be loaded under this name.
    url : str or None
        Where its authors publish it; None for weights in an installed package.
    licence : str
        SPDX name.
    input_size : int
        Side of the encoder's square input, in pixels.
    normalisation : {'unit', 'sam'}
        ``unit``: min-max to 0..1 (as MedSAM). ``sam``: 0..255, then SAM's mean and standard
        deviation.
    understands_points : bool
        Whether the published weights were trained with points.
    embedding_size : int
        Side of the embedding's grid.
    warm_up : str or None
        Folder in ``models/weights`` of an adapter that is merged into the published weights,
        trained by ``python -m scsam_train.warmup``.
    """

    name: str
    title: str
    file: str
    size: int | None
    sha256: str | None
    url: str | None
    licence: str
    input_size: int
    normalisation: Normalisation
    understands_points: bool
    embedding_size: int = 64
    warm_up: str | None = None

    @property
    def bundled(self) -> bool:
        """Whether the weights are in an installed package."""
        return self.url is None

    @property
    def architecture(self) -> str:
        """Name of the network architecture; several entries may share it."""
        return _ARCHITECTURES.get(self.name, self.name)


# Entries with the network of another one.
_ARCHITECTURES = {"medsam_vit_b": "vit_b", "lite-medsam-released": "lite-medsam"}

_RELEASED = ZooEntry(
    name="lite-medsam-released",
    title="LiteMedSAM as released (boxes only)",
    file="lite_medsam.pth",
    size=39_370_479,
    sha256="79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
    url=None,
    licence="Apache-2.0",
    input_size=256,
    normalisation="unit",
    understands_points=False,
)

ENTRIES = (
    replace(
        _RELEASED,
        name="lite-medsam",
        title="LiteMedSAM (TinyViT)",
        understands_points=True,
        warm_up="lite-medsam-points",
    ),
    _RELEASED,
    ZooEntry(
        name="vit_b",
        title="SAM ViT-B",
        file="sam_vit_b_01ec64.pth",
        size=375_042_383,
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        url=_META + "sam_vit_b_01ec64.pth",
        licence="Apache-2.0",
        input_size=1024,
        normalisation="sam",
        understands_points=True,
    ),
    ZooEntry(
        name="vit_l",
        title="SAM ViT-L",
        file="sam_vit_l_0b3195.pth",
        size=1_249_524_607,
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        url=_META + "sam_vit_l_0b3195.pth",
        licence="Apache-2.0",
        input_size=1024,
        normalisation="sam",
        understands_points=True,
    ),
    ZooEntry(
        name="vit_h",
        title="SAM ViT-H",
        file="sam_vit_h_4b8939.pth",
        size=2_564_550_879,
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        url=_META + "sam_vit_h_4b8939.pth",
        licence="Apache-2.0",
        input_size=1024,
        normalisation="sam",
        understands_points=True,
    ),
    ZooEntry(
        name="medsam_vit_b",
        title="MedSAM (ViT-B, boxes only)",
        file="medsam_vit_b.pth",
        size=None,
        sha256=None,
        url="https://github.com/bowang-lab/MedSAM",
        licence="Apache-2.0",
        input_size=1024,
        normalisation="unit",
        understands_points=False,
    ),
)


def sized(entry: ZooEntry, size: int | None) -> ZooEntry:
    """Return the entry for another input size; None keeps its own.

    Raises
    ------
    ModelError
        If the network does not support that size.
    """
    if size is None or size == entry.input_size:
        return entry
    if entry.architecture == "lite-medsam":
        raise ModelError(
            f"{entry.title} sees {entry.input_size} pixels, not {size}: leave out sam_size."
        )
    if size % PATCH or not PATCH <= size <= entry.input_size:
        raise ModelError(
            f"{entry.title} takes pictures of a multiple of {PATCH} pixels, up to "
            f"{entry.input_size}; got {size}."
        )
    return replace(entry, input_size=size, embedding_size=size // PATCH)


def find_entry(name: str, checkpoint_name: str = "") -> ZooEntry:
    """Return the entry with this name.

    MedSAM's ViT-B has SAM's architecture but not its normalisation, so a file named ``medsam*``
    that is loaded as ``vit_b`` gets MedSAM's entry. Weights from a file other than the bundled
    one are used as they are, without our warm-up.

    Raises
    ------
    ModelError
        If there is no entry with this name.
    """
    if name == "vit_b" and checkpoint_name.lower().startswith("medsam"):
        name = "medsam_vit_b"
    if name == "lite-medsam" and checkpoint_name:
        name = "lite-medsam-released"
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    raise ModelError(
        f"There is no SAM named {name!r}; choose one of {', '.join(e.name for e in ENTRIES)}."
    )
