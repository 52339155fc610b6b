"""A real scan with a reference segmentation, and a colour image, from installed packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_scsam.core.errors import MissingDependencyError
from napari_scsam.core.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES = ("brain", "ventricles")
# A voxel is fluid if grey and white matter together have less than this probability (arbitrary).
TISSUE_BELOW = 0.4
# A connected region of fluid belongs to the ventricles if it is deep enough inside the brain, and
# large enough. Both limits were chosen by eye on this one template.
DEEPER_THAN_MM = 15.0
LARGER_THAN_MM3 = 5000  # chosen by eye, as above


@dataclass(frozen=True, eq=False)
class SampleScan:
    """MNI152, an average of 152 skull-stripped T1-weighted heads at 1 mm.

    Attributes
    ----------
    image : Volume
        (slice, row, col) = (189, 233, 197), uint8.
    truth : ndarray of the image's shape, uint8
        0 outside, 1 brain, 2 lateral ventricles.
    """

    image: Volume
    truth: NDArray[np.uint8]


def load_sample_scan() -> SampleScan:
    """Build the sample scan from the maps in nilearn's package, without a download.

    Raises
    ------
    MissingDependencyError
        If nilearn is not installed.
    """
    datasets = _nilearn_datasets()
    template = datasets.load_mni152_template(resolution=1)
    grey = _array(datasets.load_mni152_gm_template(resolution=1))
    white = _array(datasets.load_mni152_wm_template(resolution=1))
    brain = _array(datasets.load_mni152_brain_mask(resolution=1)) > 0
    truth = brain.astype(np.uint8)
    truth[_deep_fluid(brain, grey + white)] = 2
    pixels = np.round(_array(template) * 255).astype(np.uint8)
    return SampleScan(Volume(pixels, template.affine, spacing_known=True), truth)


def _deep_fluid(brain: NDArray[np.bool_], tissue: NDArray[Any]) -> NDArray[np.bool_]:
    parts, count = ndimage.label(brain & (tissue < TISSUE_BELOW))
    depth = ndimage.distance_transform_edt(brain)
    numbers = np.arange(1, count + 1)
    deep = np.asarray(ndimage.mean(depth, parts, numbers)) > DEEPER_THAN_MM
    large = np.bincount(parts.ravel(), minlength=count + 1)[1:] > LARGER_THAN_MM3
    found: NDArray[np.bool_] = np.isin(parts, numbers[deep & large])
    return found


def _array(image: Any) -> NDArray[Any]:
    return np.asarray(image.dataobj).transpose(2, 1, 0)


def _nilearn_datasets() -> Any:
    try:
        from nilearn import datasets
    except ImportError as exc:
        raise MissingDependencyError(
            "The sample scan comes with the package nilearn, which is not installed. "
            'Install it with: pip install "napari-scsam[all]"',
            name="nilearn",
        ) from exc
    return datasets


def write_sample_picture(folder: Path) -> Path:
    """Write scikit-image's colour image of a retina as a PNG and return its path."""
    import imageio.v3 as imageio
    from skimage import data

    path = folder / "retina.png"
    imageio.imwrite(path, data.retina())
    return path
