"""An image is found by its place and its content, under the name that the person knows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest

from napari_scsam.cli.__main__ import main
from napari_scsam.core.errors import InputError
from napari_scsam.core.project_layout import PROJECT_FILE
from napari_scsam.project import Project
from napari_scsam.project.export import export_labels

if TYPE_CHECKING:
    from pathlib import Path


def picture(path: Path, seed: int) -> Path:
    values = np.random.default_rng(seed).integers(0, 255, (6, 8)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, values, extension=".png")
    return path


def test_a_file_replaced_under_its_name_is_not_labelled_as_the_old_one(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = picture(tmp_path / "more" / "p07.png", 1)
    (old,) = project.add_images(scan)
    picture(scan, 2)
    with pytest.raises(InputError, match=f"has changed since it was added as {old}"):
        project.image(scan)
    mask = tmp_path / "mask.png"
    iio.imwrite(mask, np.ones((6, 8), np.uint8))
    project.close()
    line = ["label", str(project.folder), "--image", str(scan), "--mask", str(mask)]
    assert main(line) == 2
    assert "add it again" in capsys.readouterr().err
    with Project.open(project.folder) as again:
        (new,) = again.add_images(scan)
        assert new != old and again.image(scan).id == new
    assert main(line) == 0
    with Project.open(project.folder) as again:
        assert again.label(old) is None and again.label(new) is not None
        assert again.volume(new) is not None
        with pytest.raises(InputError, match="has changed"):
            again.volume(old)
        # The old one is found again where it is now, though its place is taken.
        kept = picture(tmp_path / "kept" / "p07.png", 1)
        assert again.add_images(kept) == [old]
        assert again.volume(old) is not None and again.image(kept).id == old


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_file_that_is_given_by_a_link_keeps_the_links_name(
    tmp_path: Path, project: Project
) -> None:
    """As git-annex and DVC keep large files: under the hash of what is in them."""
    store = picture(tmp_path / "annex" / "SHA256E-s4711--0a1b2c.png", 3)
    scan = tmp_path / "data" / "p07.png"
    scan.parent.mkdir()
    scan.symlink_to(os.path.relpath(store, scan.parent))
    for given in (scan, scan.parent):
        (image,) = project.add_images(given)
    record = project.image(image)
    assert record.name == "p07" and record.path == scan
    assert project.image(scan).id == project.image(store).id == image
    project.commit(image, np.ones((6, 8), np.uint8))
    assert [p.name for p in export_labels(project, tmp_path / "out", "tiff")] == ["p07.tif"]
    for folder in (scan.parent, store.parent):
        with pytest.raises(InputError, match="never written over"):
            export_labels(project, folder, "png", overwrite=True) if folder == scan.parent else (
                _refuse(project, store)
            )


def _refuse(project: Project, store: Path) -> None:
    from napari_scsam.io import check_outputs
    from napari_scsam.project.export import image_places

    check_outputs([store], image_places(project.images()), overwrite=True)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_in_a_folder_that_leads_nowhere_is_named(tmp_path: Path, project: Project) -> None:
    folder = picture(tmp_path / "data" / "good.png", 4).parent
    (folder / "lost.png").symlink_to(folder / "annex.png")
    (folder / "notes.txt").symlink_to(folder / "nothing.txt")  # no image by its name
    before = project.images()
    with pytest.raises(InputError, match=r"lost\.png is a link that leads nowhere: .*annex\.png"):
        project.add_images(folder)
    assert project.images() == before


@pytest.mark.skipif(os.name == "nt", reason="255 bytes are too many for a path there")
@pytest.mark.parametrize("format", ["nifti", "tiff", "png"])
def test_the_longest_names_are_exported_too(tmp_path: Path, project: Project, format: str) -> None:
    long = picture(tmp_path / "data" / f"{'n' * 251}.png", 5)
    wide = picture(tmp_path / "data" / f"{'é' * 123}.png", 6)
    after = picture(tmp_path / "data" / "zz.png", 7)
    for image in project.add_images([long, wide, after]):
        project.commit(image, np.ones((6, 8), np.uint8))
    paths = export_labels(project, tmp_path / "out", format)  # type: ignore[arg-type]
    assert len({p.name for p in paths}) == 3
    assert all(path.is_file() and len(os.fsencode(path.name)) <= 255 for path in paths)
    assert paths[-1].stem.startswith("zz")


def test_a_name_of_247_bytes_takes_its_suffix(tmp_path: Path, project: Project) -> None:
    name = "n" * (247 if os.name != "nt" else 47)
    scan = tmp_path / "data" / f"{name}.nii.gz"
    scan.parent.mkdir()
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)), scan)
    (image,) = project.add_images(scan)
    project.commit(image, np.ones((5, 4, 3), np.uint8))
    (path,) = export_labels(project, tmp_path / "out", "nifti")
    assert path.name == scan.name


def test_a_class_that_left_the_class_table_is_not_exported(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = project.images()[1].id
    label = np.zeros((6, 8), np.uint8)
    label[1], label[2] = 1, 2
    project.commit(flat, label)
    project.close()
    settings = project.folder / PROJECT_FILE
    start, *classes = settings.read_text().split("[[classes]]")
    if not classes:  # a table on one line for each class
        lines = [x for x in settings.read_text().splitlines() if "tumour" not in x]
        settings.write_text("\n".join(lines))
    else:
        kept = [table for table in classes if "tumour" not in table]
        settings.write_text("[[classes]]".join([start, *kept]))
    out = tmp_path / "out"
    assert main(["export", str(project.folder), "--format", "png", "--out", str(out)]) == 0
    written = iio.imread(out / "picture.png")
    assert set(written[1]) == {1} and set(written[2]) == {255} and not written[3].any()
    said = capsys.readouterr().err
    assert "pixels of 2 are exported as 255" in said and "class table" in said
