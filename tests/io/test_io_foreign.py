"""No other file is opened than the one that was asked for; links and devices are told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_scsam.core.errors import InputError
from napari_scsam.io import read_volume
from napari_scsam.project import Project

STACK = np.random.default_rng(0).integers(0, 999, (5, 20, 30)).astype(np.uint16)

# A process of its own: what it opens is told from outside of every library.
READ_AND_TELL = """
import sys
from napari_scsam.core.errors import InputError
from napari_scsam.io import read_volume
read_volume(sys.argv[1])
def tell(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        print("opened", arguments[0])
sys.addaudithook(tell)
try:
    print("read", read_volume(sys.argv[2]).shape)
except InputError as error:
    print("refused", error)
"""


def read_and_tell(path: Path) -> tuple[str, set[Path]]:
    """What came of reading a file, and which other files were opened beside it."""
    warm = path.parent / "warm.ome.tif"
    tifffile.imwrite(warm, STACK, ome=True, metadata={"axes": "ZYX"})
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_TELL, warm, path], capture_output=True, text=True,
        check=True, cwd=path.parent,
    )  # fmt: skip
    assert done.stderr == ""
    *opened, said = done.stdout.strip().splitlines()
    places = {path.parent / line.removeprefix("opened ") for line in opened}
    return said, {p for p in places if p.suffix in (".tif", ".secret", ".index")} - {path}


def ome(path: Path, *changes: tuple[str, str]) -> Path:
    """An OME-TIFF of a stack with its metadata changed; what is longer goes to the end."""
    tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as file:
        xml = str(file.ome_metadata)
    for old, new in changes:
        assert old in xml
        xml = xml.replace(old, new)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["ImageDescription"].overwrite(xml.encode())
    return path


DATA = '<TiffData IFD="0" PlaneCount="5"/>'


def named(name: str, uuid: str = "urn:uuid:00000000-0000-0000-0000-000000000000") -> str:
    return f'<TiffData IFD="0" PlaneCount="5"><UUID FileName="{name}">{uuid}</UUID></TiffData>'


@pytest.mark.parametrize("name", ["other.tif", "{folder}/secret.tif", "../secret.tif"])
def test_a_file_that_the_metadata_names_is_not_opened(name: str, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for other in (tmp_path / "secret.tif", tmp_path / "scans" / "other.tif"):
        tifffile.imwrite(other, STACK, ome=True, metadata={"axes": "ZYX"})
    path = ome(tmp_path / "scans" / "scan.ome.tif", (DATA, named(name.format(folder=tmp_path))))
    said, opened = read_and_tell(path)
    assert said.startswith("refused") and str(path) in said and "series of files" in said
    assert not opened


def test_metadata_that_lies_elsewhere_is_not_looked_for(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "scan.tif", STACK)
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<BinaryOnly MetadataFile="whole.companion.ome" UUID="urn:uuid:1"/></OME>'
    )
    tifffile.imwrite(tmp_path / "scan.tif", STACK, description=xml, metadata=None)
    said, opened = read_and_tell(tmp_path / "scan.tif")
    assert "refused" in said and "whole.companion.ome" in said
    assert not opened


def test_a_renamed_file_is_still_itself(tmp_path: Path) -> None:
    path = ome(tmp_path / "old.ome.tif")
    with tifffile.TiffFile(path) as file:
        uuid = str(file.ome_metadata).split('UUID="')[1].split('"')[0]
        xml = str(file.ome_metadata).replace(DATA, named("old.ome.tif", uuid))
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["ImageDescription"].overwrite(xml.encode())
    renamed = path.rename(tmp_path / "new.ome.tif")
    np.testing.assert_array_equal(read_volume(renamed).data, STACK)


def test_nanometres_are_millionths_of_a_millimetre(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    sizes |= {"PhysicalSizeX": 65, "PhysicalSizeY": 65, "PhysicalSizeZ": 200}
    path = tmp_path / "nm.ome.tif"
    tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZYX", **sizes})
    volume = read_volume(path)
    np.testing.assert_allclose(volume.spacing, (200e-6, 65e-6, 65e-6), rtol=1e-9)
    assert volume.spacing_known


@pytest.mark.parametrize(
    "change",
    [
        ('SizeZ="5"', 'SizeZ="1000000000"'),
        ('SizeT="1"', 'SizeT="1000000000"'),
        ('SizeZ="5"', 'SizeZ="6"'),
        ('PlaneCount="5"', 'PlaneCount="1000000000"'),
        ('IFD="0"', 'IFD="1000000000"'),
        ('SizeZ="5"', 'SizeZ="-5"'),
        ('SizeZ="5"', 'SizeZ="five"'),
        ('PlaneCount="5"', 'PlaneCount="3"'),
    ],
)
def test_metadata_that_names_other_planes_than_there_are(
    change: tuple[str, str], tmp_path: Path
) -> None:
    path = ome(tmp_path / "scan.ome.tif", change)
    with pytest.raises(InputError, match=r"scan\.ome\.tif is damaged") as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)


def test_a_link_that_leads_nowhere_is_named_and_not_passed_over(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    tifffile.imwrite(scans / "good.tif", STACK)
    (scans / "gone.tif").symlink_to(tmp_path / "moved away.tif")
    (scans / "round.tif").symlink_to(scans / "round.tif")
    with Project.create(tmp_path / "project", ["one"]) as project:
        for given in (scans, [scans / "gone.tif", scans / "round.tif"]):
            with pytest.raises(InputError) as caught:
                project.add_images(given)
            gone = f"{scans / 'gone.tif'} is a link that leads nowhere: there is no "
            assert f"{gone}{tmp_path / 'moved away.tif'}." in str(caught.value)
            assert str(scans / "round.tif") in str(caught.value)
        assert not project.images()


@pytest.mark.skipif(os.name == "nt", reason="no pipes and devices in folders")
def test_pipes_devices_and_impossible_names_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "file").touch()
    for path, message in [
        (tmp_path / "pipe.nii", "device or a pipe"),
        (Path("/dev/zero"), "device or a pipe"),
        (tmp_path / ("n" * 300 + ".nii"), "name too long"),
        (tmp_path / "nul\0l.nii", "no file"),
        (tmp_path / "file" / "in a file.nii", "no file"),
    ]:
        with pytest.raises(InputError, match=rf"(?i){message}") as caught:
            read_volume(path)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="the superuser may read everything"
)
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "closed.tif", STACK)
    (tmp_path / "closed.tif").chmod(0)
    with pytest.raises(InputError, match=r"closed\.tif can't be read: Permission denied"):
        read_volume(tmp_path / "closed.tif")
