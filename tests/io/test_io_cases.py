"""The developers' shared files on which earlier versions failed: each as its list says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_scsam.core.errors import InputError
from napari_scsam.io import place, read_label_volume, read_volume

CASES = Path(os.environ.get("SCSAM_CASES", Path(__file__).parents[3] / "shared" / "cases"))

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not CASES.is_dir(), reason="the developers' files are not here"),
]


def test_masks_are_in_their_place() -> None:
    image = read_volume(CASES / "m_image.nii.gz")
    same = read_label_volume(CASES / "m_same.nii.gz").data
    for name, how in (("m_same", "same"), ("m_eps", "same"), ("m_flipx", "reoriented")):
        path = CASES / f"{name}.nii.gz"
        placed = place(read_label_volume(path), image, (path, "the image"))
        assert placed.how == how
        np.testing.assert_array_equal(placed.data, same)
    with pytest.raises(InputError, match=r"shifted by 11\.7 mm"):
        path = CASES / "m_shift.nii.gz"
        place(read_label_volume(path), image, (path, "the image"))


@pytest.mark.parametrize(
    "name", ["n_w2_neg_both", "n_qform_nan_both", "n_sform_zero", "n_voxoff0", "n_neg_pixdim3"]
)
def test_headers_with_a_fault_are_read_right(name: str) -> None:
    (path,) = CASES.glob(f"{name}.*")
    volume = read_volume(path)
    image = read_volume(CASES / "m_image.nii.gz")
    np.testing.assert_allclose(volume.affine, image.affine, atol=1e-5)
    assert volume.shape == image.shape
    # A header that was read as pixels would be a few huge values.
    assert 0 < volume.data.min() < volume.data.max() < 2000


def test_nanometres_are_ordinary() -> None:
    np.testing.assert_allclose(read_volume(CASES / "n_tiny_vox.nii.gz").spacing, 5e-5)
    volume = read_volume(CASES / "t_ome_nm.ome.tif")
    np.testing.assert_allclose(volume.spacing, (200e-6, 65e-6, 65e-6))


def test_colours_are_converted_or_refused() -> None:
    assert read_volume(CASES / "p_rgb16.png").data.max() > 255
    assert read_volume(CASES / "p_cmyk.jpg").rgb
    with pytest.raises(InputError, match="5 channels"):
        read_volume(CASES / "t_5ch.tif")
    assert tifffile.imread(CASES / "t_c64.tif").dtype == np.complex64
    with pytest.raises(InputError, match=r"t_c64\.tif holds values of type complex64"):
        read_volume(CASES / "t_c64.tif")


def test_nothing_but_one_line_is_said_of_any_of_them() -> None:
    command = """
import sys
from napari_scsam.core.errors import InputError
from napari_scsam.io import read_volume
for path in sys.argv[1:]:
    try:
        read_volume(path)
    except InputError as error:
        assert path in str(error) and "\\n" not in str(error), error
"""
    files = [p for p in sorted(CASES.iterdir()) if p.suffix != ".md"]
    done = subprocess.run([sys.executable, "-c", command, *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
