"""The command line: exit codes, one clear line, one JSON object.

What starting, importing and ending a process adds is shown by the tests that ask for one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import imageio.v3 as imageio
import nibabel as nib
import numpy as np
import pytest
import tifffile
from command_line import ok, process, refused

from napari_scsam.cli.__main__ import main
from napari_scsam.cli.app import build_app
from napari_scsam.core.settings import TrainSettings
from napari_scsam.rounds.measured_costs import recall
from napari_scsam.workflows import doctor


@pytest.fixture
def volume() -> np.ndarray:
    """(slices, rows, cols) with a bright ellipse off the diagonal on slices 1 to 4."""
    slices, rows, cols = np.mgrid[:6, :48, :64]
    inside = ((rows - 14) / 8) ** 2 + ((cols - 44) / 12) ** 2 < 1
    inside &= (slices >= 1) & (slices <= 4)
    noise = np.random.default_rng(0).normal(0, 8, inside.shape)
    return (60 + 120 * inside + noise).astype(np.int16)


@pytest.fixture
def scan(tmp_path: Path, volume: np.ndarray) -> Path:
    affine = np.array([[-0.8, 0, 0.1, 30], [0, 0.9, 0, -20], [0.1, 0, 2.5, 5], [0, 0, 0, 1]])
    path = tmp_path / "scan one.nii.gz"
    nib.save(nib.Nifti1Image(volume.transpose(2, 1, 0), affine), path)
    return path


@pytest.fixture
def mask(tmp_path: Path, volume: np.ndarray, scan: Path) -> Path:
    path = tmp_path / "mask.nii.gz"
    inside = (volume > 120).astype(np.uint8)
    nib.save(nib.Nifti1Image(inside.transpose(2, 1, 0), nib.load(scan).affine), path)
    return path


@pytest.fixture
def project(tmp_path: Path, scan: Path) -> Path:
    folder = tmp_path / "project"
    ok("new", folder, "--images", scan, "--classes", "blob")
    return folder


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The list as a process; each command's own here, as fourteen starts say nothing more."""
    commands = {name for name in build_app() if not name.startswith("-")}
    assert {"demo", "new", "train", "tune", "doctor"} <= commands
    listed = process("--help")
    first_words = {(line.strip("│ ").split() or [""])[0] for line in listed.stdout.splitlines()}
    assert listed.returncode == 0 and commands <= first_words
    for command in commands:
        assert main([command, "--help"]) == 0
        assert f"Usage: napari-scsam {command}" in capsys.readouterr().out


def test_from_new_to_export_the_geometry_is_the_sources(
    scan: Path, mask: Path, tmp_path: Path
) -> None:
    """Each command is a process of its own."""
    done, project = partial(ok, run=process), tmp_path / "project"
    done("new", project, "--images", scan, "--classes", "blob")
    (image,) = done("add", project, scan)["images"]
    assert done("label", project, "--image", image, "--mask", mask)["planes"] == 6
    exported = done("export", project, "--format", "nifti", "--out", tmp_path / "out")["exports"]

    again, source = nib.load(exported[0]), nib.load(scan)
    np.testing.assert_allclose(again.affine, source.affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(again.dataobj), np.asarray(nib.load(mask).dataobj))

    (tiff,) = done("export", project, "--format", "tiff", "--out", tmp_path / "out")["exports"]
    assert tifffile.imread(tiff).shape == (6, 48, 64)


def test_an_image_may_be_named_by_its_path(project: Path, scan: Path, mask: Path) -> None:
    assert ok("label", project, "--image", scan, "--mask", mask)["version"] == 1


def test_segment_by_a_box_finds_the_ellipse_and_not_its_transpose(
    scan: Path, volume: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "seg.nii.gz"
    box = ("--plane", 2, "--box", "5,31,23,57")
    ok("segment", scan, *box, "--out", out, run=process)  # torch and all
    found = np.asarray(nib.load(out).dataobj).transpose(2, 1, 0) > 0
    truth = volume > 120
    assert not found[[0, 1, 3, 4, 5]].any()
    overlap = 2 * (found[2] & truth[2]).sum() / (found[2].sum() + truth[2].sum())
    assert overlap > 0.85


def test_segment_looks_through_the_window_that_it_is_given(
    scan: Path, volume: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "out.nii.gz"
    box = ("segment", scan, "--plane", 2, "--box", "5,31,23,57", "--out", out)
    ok(*box, "--window", "120/160")
    found = np.asarray(nib.load(out).dataobj).transpose(2, 1, 0)[2] > 0
    truth = volume[2] > 120
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9
    again = (*box, "--overwrite", "--window")
    assert "Nothing to see in the window Level/width 2000/100" in refused(*again, "2000/100")
    assert "LEVEL/WIDTH" in refused(*again, "abdomen")


def test_settings_are_shown_and_changed(scan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    ok("new", folder, "--images", scan, "--classes", "organ", "--modality", "ct")
    assert ok("settings", folder) == {"modality": "ct", "window": "soft-tissue", "cache_gb": 2.0}
    changed = ok("settings", folder, "--window", "40/350", "--cache-gb", "0.5")
    assert changed == {"modality": "ct", "window": "40/350", "cache_gb": 0.5}
    assert ok("settings", folder) == changed
    assert "between 0" in refused("settings", folder, "--cache-gb", "-1")
    assert "LEVEL/WIDTH" in refused("settings", folder, "--window", "fog")


def test_segment_carries_the_outline_through_the_volume(
    scan: Path, volume: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "seg.nii.gz"
    done = ok("segment", scan, "--plane", 2, "--box", "5,31,23,57", "--propagate", "--out", out)
    found = np.asarray(nib.load(out).dataobj).transpose(2, 1, 0) > 0
    truth = volume > 120
    for index in (1, 2, 3, 4):
        overlap = 2 * (found[index] & truth[index]).sum()
        assert overlap / (found[index].sum() + truth[index].sum()) > 0.85, index
    # The ellipse is not on slices 0 and 5: nothing is drawn there, or it must be checked.
    assert all(str(index) in done["flags"] or not found[index].any() for index in (0, 5))


def test_evaluate_knows_the_figures_of_a_folder(mask: Path, tmp_path: Path) -> None:
    truth = nib.load(mask)
    empty = nib.Nifti1Image(np.zeros(truth.shape, np.uint8), truth.affine)
    for name, found in (("same", truth), ("empty", empty)):
        for folder, image in (("found", found), ("truth", truth)):
            (tmp_path / folder).mkdir(exist_ok=True)
            nib.save(image, tmp_path / folder / f"{name}.nii.gz")
    cases = ok("evaluate", tmp_path / "found", tmp_path / "truth")["cases"]
    dice = {case: result["classes"][0]["dice"] for case, result in cases.items()}
    assert dice == {"same": 1.0, "empty": 0.0}


def test_a_mistyped_command_is_told_apart_from_a_missing_path(tmp_path: Path) -> None:
    assert "Did you mean 'train'?" in refused("trian", tmp_path)
    assert "There is no file or folder" in refused(tmp_path / "nothing.nii.gz")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("new", "{tmp}/p", "--classes", "a,a"), "given twice: a"),
        (("new", "{tmp}/p", "--classes", "a", "--images", "{tmp}/no.nii"), "no file"),
        (("add", "{tmp}", "{scan}"), "project"),
        (("label", "{project}", "--image", "nobody", "--mask", "{mask}"), "nobody"),
        (("segment", "{scan}", "--plane", "2", "--out", "{tmp}/o.png"), "--point"),
        (("segment", "{scan}", "--point", "5,5", "--out", "{tmp}/o.png"), "R,C,+"),
        (("segment", "{scan}", "--box", "1,1,9,9", "--out", "{tmp}/o.nii"), "--plane"),
        (("segment", "{scan}", "--plane", "9", "--box", "1,1,9,9", "--out", "{tmp}/o.nii"), "9"),
        (("segment", "{scan}", "--plane", "1", "--point", "99,1,+", "--out", "{tmp}/o.nii"), "out"),
        (("segment", "{scan}", "--plane", "9", "--box", "1,1,9,9", "--out", "{tmp}/o.jpg"), ".png"),
        (
            ("segment", "{flat}", "--box", "1,1,9,9", "--propagate", "--out", "{tmp}/o.tif"),
            "one slice only",
        ),
        (("train", "{project}"), "label"),
        (("train", "{project}", "--steps", "0"), "steps"),
        (("train", "{project}", "--stesp", "3"), "--steps"),
        (("suggest", "{project}", "{scan}"), "train"),
        (("export", "{project}", "--format", "nifti", "--out", "{tmp}/e"), "commit"),
        (("rounds", "{project}", "--promote", "3"), "3"),
    ],
)  # fmt: skip
def test_a_bad_command_line_is_one_clear_line(
    arguments: tuple[str, ...], says: str, project: Path, scan: Path, mask: Path, tmp_path: Path
) -> None:
    places = {"tmp": tmp_path, "scan": scan, "mask": mask, "project": project}
    places["flat"] = tmp_path / "flat.png"
    imageio.imwrite(places["flat"], np.arange(400, dtype=np.uint8).reshape(20, 20) % 251)
    line = refused(*(a.format(**places) for a in arguments))
    assert says.lower() in line.lower(), line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        # The parser's line, and ours; the malicious checkpoint's comes after torch was imported.
        (("trian", "{project}"), "Did you mean 'train'?"),
        (("train", "{project}"), "label"),
    ],
)
def test_a_process_is_as_clear(arguments: tuple[str, ...], says: str, project: Path) -> None:
    assert says in refused(*(a.format(project=project) for a in arguments), run=process)


def test_bad_files_are_one_clear_line_and_nothing_is_added(
    project: Path, scan: Path, tmp_path: Path
) -> None:
    bad = {
        "missing.nii.gz": None,
        "empty.nii.gz": b"",
        "text.nii.gz": b"hello, this is not an image" * 20,
        "truncated.nii.gz": scan.read_bytes()[:-3000],
    }
    for name, content in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    nan = np.ones((4, 8, 8), np.float32)
    nan[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(nan, np.eye(4)), tmp_path / "nan.nii.gz")
    imageio.imwrite(tmp_path / "constant.png", np.full((20, 20), 7, np.uint8))
    tifffile.imwrite(tmp_path / "thin.tif", np.arange(30, dtype=np.uint8)[None])
    for name in (*bad, "nan.nii.gz", "constant.png", "thin.tif"):
        assert name in refused("add", project, tmp_path / name)
    assert ok("add", project, scan)["total"] == 1


def test_a_mask_that_does_not_fit_is_refused_and_the_fix_is_named(
    project: Path, scan: Path, mask: Path, tmp_path: Path
) -> None:
    truth = np.asarray(nib.load(mask).dataobj)
    nib.save(nib.Nifti1Image(truth[:, :, :4], np.eye(4)), tmp_path / "short.nii.gz")
    assert "shape" in refused(
        "label", project, "--image", scan, "--mask", tmp_path / "short.nii.gz"
    )
    nib.save(nib.Nifti1Image(truth * 255, np.eye(4)), tmp_path / "m255.nii.gz")
    line = refused("label", project, "--image", scan, "--mask", tmp_path / "m255.nii.gz")
    assert "--map 255=1" in line
    ok("label", project, "--image", scan, "--mask", tmp_path / "m255.nii.gz", "--map", "255=1")


def test_a_malicious_checkpoint_is_refused_unexecuted(scan: Path, tmp_path: Path) -> None:
    import pickle

    class Payload:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "executed").touch, ())

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"weight": Payload()}))
    line = refused(
        "segment", scan, "--plane", 1, "--box", "1,1,9,9", "--model", "vit_b",
        "--checkpoint", tmp_path / "evil.pth", "--out", tmp_path / "o.nii.gz", run=process,
    )  # fmt: skip
    assert "evil.pth" in line
    assert not (tmp_path / "executed").exists()


def test_doctor_says_what_there_is_and_keeps_what_it_measures(
    forked_rounds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real round, but a smaller one, and with one repeat."""
    small = TrainSettings(image_size=32, unet="pretrained", labelled_batch=2, sam_batch=2)
    monkeypatch.setattr(doctor, "measure", partial(doctor.measure, small))
    monkeypatch.setattr(doctor, "_time_sam", partial(doctor._time_sam, repeats=1))
    assert recall() is None
    found = {f["what"]: f for f in ok("doctor")["findings"]}
    assert found["torch"]["good"] and "cpu" in found["devices"]["found"]
    assert float(found["a picture in training"]["found"].removesuffix(" s")) > 0
    kept = recall()
    assert kept is not None and 0 < kept.rates["seconds_per_step"] < 60
    assert 0 < kept.rates["seconds_per_embedding"] < 60
