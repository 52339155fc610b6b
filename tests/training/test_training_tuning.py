"""Tuning on committed planes: what it learns, what its gate refuses, and what it leaves."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Never

import numpy as np
import pytest
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import nn

from napari_scsam.core.errors import Cancelled, InputError
from napari_scsam.core.prompts import Prompts, deepest
from napari_scsam.core.settings import TuneSettings
from napari_scsam.core.volume import Volume
from napari_scsam.core.windows import AUTO
from napari_scsam.io import write_labels
from napari_scsam.models import open_cache
from napari_scsam.models.adapters import AdapterInfo, attach, load_adapter, save_adapter
from napari_scsam.models.base import BaseSam
from napari_scsam.models.class_prior import Moments
from napari_scsam.models.sam import SamModel, SamWeights
from napari_scsam.models.zoo import ZooEntry
from scsam_train.benchmark import after_tuning
from scsam_train.benchmark.sets import Case
from scsam_train.data import TrainPlane
from scsam_train.decoding import Decoder
from scsam_train.episodes import EpisodeSettings, begin
from scsam_train.tuning.__main__ import main
from scsam_train.tuning.fit import Tuner
from scsam_train.tuning.gate import HeldOutObjects, decide
from scsam_train.tuning.inputs import committed_planes, read_inputs
from scsam_train.tuning.objects import Clickable, embed_planes, folds, targets_of, with_priors
from scsam_train.tuning.tune import tune

if TYPE_CHECKING:
    from pathlib import Path

    from forked_child import ForkedChildren

SIDE = 32
CPU = torch.device("cpu")
ENTRY = ZooEntry(
    name="toy", title="Toy", file="toy.pth", size=None, sha256=None, url="", licence="MIT",
    input_size=SIDE, normalisation="unit", understands_points=True, embedding_size=8,
)  # fmt: skip
QUICK = TuneSettings(seconds=600, steps=40, batch=3, rate=3e-3, lora_rank=2, device="cpu")


class Patches(nn.Module):
    """An image encoder that keeps the pixels of each patch of 4 x 4."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, pixels: Any) -> torch.Tensor:
        patches = self.scale * nn.functional.pixel_unshuffle(pixels, 4)
        return torch.cat([patches, patches.new_zeros(len(pixels), 256 - 48, 8, 8)], dim=1)


class ToySam(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = Patches()
        self.prompt_encoder = PromptEncoder(256, (8, 8), (SIDE, SIDE), 16)
        two_way = TwoWayTransformer(depth=1, embedding_dim=256, num_heads=8, mlp_dim=64)
        self.mask_decoder = MaskDecoder(transformer_dim=256, transformer=two_way)


def toy_base() -> BaseSam:
    torch.manual_seed(0)
    return BaseSam(ToySam().eval(), ENTRY, ("b" * 64,))


def disc_plane(seed: int) -> TrainPlane:
    """A bright disc on noise."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    mask = (rows - rng.integers(8, 24)) ** 2 + (cols - rng.integers(8, 24)) ** 2 < 40
    pixels = (rng.normal(60, 5, mask.shape) + 120 * mask).astype(np.float32)
    return TrainPlane(f"i{seed}", f"i{seed}", 0, pixels, mask.astype(np.uint8))


def planes(count: int) -> list[TrainPlane]:
    return [disc_plane(seed) for seed in range(count)]


@pytest.fixture(scope="module")
def tuned() -> Any:
    """A toy whose decoder knows nothing, tuned on six discs."""
    return tune(toy_base(), planes(6), QUICK, CPU, open_cache())


def test_tuning_raises_the_first_click_on_planes_that_it_has_not_seen(
    tuned: Any, tmp_path: Path
) -> None:
    report = tuned.report
    assert report["kept"] and report["held_out"] == "cases" and report["folds"] == 3
    assert report["tuned"]["1"] > report["shipped"]["1"] + 0.4
    assert report["reason"].startswith("first click 0.")
    assert report["steps"] == 4 * QUICK.steps and report["base"]["sha256"] == "b" * 64
    # What is kept has seen all planes, and answers a new one through the front door, too.
    save_adapter(tuned.model, tmp_path, tuned.info)
    module, info = load_adapter(toy_base().module, tmp_path, "b" * 64)
    weights = SamWeights.of(replace(toy_base(), module=module), CPU)
    sam = SamModel(weights, info, tuned.prior)
    plane = disc_plane(99)
    truth = plane.label == 1
    click = Prompts([deepest(truth)], [1])
    found = sam.decode(sam.embed(plane.pixels), click, class_id=1).mask
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.7


def test_a_copy_that_got_worse_is_refused(tuned: Any, tmp_path: Path) -> None:
    good = BaseSam(copy.deepcopy(tuned.model).merge_and_unload(), ENTRY, ("c" * 64,))
    ruinous = replace(QUICK, rate=0.5, steps=4)
    report = tune(good, planes(3), ruinous, CPU, open_cache()).report
    assert report["shipped"]["clicks"] > 0.6 > report["tuned"]["clicks"]
    assert not report["kept"] and report["reason"].startswith("not better")


def test_a_copy_is_softened_from_what_it_learned_and_the_last_begins_at_the_mean() -> None:
    base = toy_base()
    info = AdapterInfo(base.base_hash, "toy", (), understands_points=True, rank=2)
    model = attach(base.module, info)
    tuner = Tuner(model, replace(QUICK, steps=3), lambda: None)
    sam = SamModel(SamWeights.of(base, CPU))
    corpus = embed_planes(sam, planes(3), open_cache())
    weight = model.mask_decoder.iou_token.modules_to_save["default"].weight
    fresh, copies = weight.detach().clone(), []
    for part in (corpus[:2], corpus[1:]):
        tuner.train_copy(part, 600)
        copies.append(weight.detach().clone())
        for strength in (0.5, 1.0, 0.5):  # in any order
            tuner.soften(strength)
            wanted = fresh + strength * (copies[-1] - fresh)
            torch.testing.assert_close(weight.detach(), wanted)
    assert not torch.equal(*copies)
    begun = []
    tuner._train = lambda _corpus, _seconds: begun.append(weight.detach().clone())
    tuner.train_last(corpus, 600)
    torch.testing.assert_close(begun[0], (copies[0] + copies[1]) / 2)


def test_cancel_is_looked_for_between_steps() -> None:
    def check() -> Never:
        raise Cancelled("now")

    with pytest.raises(Cancelled):
        tune(toy_base(), planes(3), QUICK, CPU, open_cache(), check=check)


def test_too_few_slices_are_said_in_one_line() -> None:
    empty = [replace(plane, label=np.zeros_like(plane.label)) for plane in planes(2)]
    with pytest.raises(InputError, match=r"at least 3 committed slices.*there are 2"):
        tune(toy_base(), [*planes(2), *empty], QUICK, CPU, open_cache())


def dice(first: Any, box: float = 0.9) -> dict[str, float]:
    return {"1": first, "2": first, "3": first, "clicks": first, "box": box}


@pytest.mark.parametrize(
    ("before", "after", "points", "kept"),
    [
        (dice(0.7), dice(0.8), True, True),
        (dice(0.7), dice(0.7), True, True),
        (dice(0.7), dice(0.69), True, False),
        (dice(0.7), dice(0.8, box=0.87), True, False),
        (dice(0.7), dice(0.8, box=0.89), True, True),
        (dice(0.0), dice(0.4), False, False),
        (dice(0.0), dice(0.6), False, True),
    ],
)
def test_the_gate_keeps_what_is_not_worse(before: Any, after: Any, points: Any, kept: Any) -> None:
    assert decide(before, after, understands_points=points, unit="slices")[0] is kept


def test_large_parts_of_a_class_are_objects_of_their_own() -> None:
    label = np.zeros((60, 60), np.uint8)
    label[5:20, 5:20] = 1
    label[30:45, 30:45] = 1
    label[50:52, 50:52] = 1  # too small to be one
    label[5:20, 40:55] = 2
    label[:, 58:] = 255
    ids, (first, second, other) = zip(*targets_of(label), strict=True)
    assert ids == (1, 1, 2)
    assert first[10, 10] == 1 and first[35, 35] == 255 and first[50, 50] == 255
    assert second[35, 35] == 1 and second[10, 10] == 255
    assert other[10, 45] == 1 and other[10, 10] == 0
    assert all((target[:, 58:] == 255).all() for target in (first, second, other))


def clickable(case: str, index: int) -> Clickable:
    plane = TrainPlane(case, case, index, np.zeros((2, 2)), np.zeros((2, 2), np.uint8))
    return Clickable(torch.zeros(1), torch.zeros(1), plane, (), Moments({}))


def test_cases_are_held_out_whole_and_neighbours_together() -> None:
    corpus = [clickable(case, index) for index in (0, 1) for case in "abcd"]
    parts, unit = folds(corpus)
    assert unit == "cases" and sorted(i for part in parts for i in part) == list(range(8))
    held = [{corpus[i].plane.case for i in part} for part in parts]
    assert sum(map(len, held)) == 4 and set().union(*held) == set("abcd")
    parts, unit = folds([clickable("a", index) for index in (9, 1, 2, 8, 5, 6)])
    assert (unit, parts) == ("slices", [[1, 2], [4, 5], [3, 0]])


def test_what_a_class_looks_like_is_learned_from_other_cases_than_the_one_that_is_asked() -> None:
    sam = SamModel(SamWeights.of(toy_base(), CPU))
    corpus = embed_planes(sam, planes(4), open_cache())
    known = with_priors(corpus)
    agreement = [((item.priors[0] > 0) == (item.targets[0] == 1)).float().mean() for item in known]
    assert min(agreement) > 0.9
    # Its own label makes no difference to a plane, the others' do.
    wrong = replace(corpus[0].plane, label=1 - corpus[0].plane.label)
    changed = with_priors([*embed_planes(sam, [wrong], open_cache()), *corpus[1:]])
    assert torch.equal(changed[0].priors[0], known[0].priors[0])
    assert not torch.equal(changed[1].priors[0], known[1].priors[0])
    # Slices of one case say nothing of one another where there are three cases.
    alike = [replace(item, plane=replace(item.plane, case="a")) for item in corpus[:2]]
    (first, *_), (alone, *_) = (
        with_priors([*alike, *corpus[2:]]),
        with_priors([alike[0], *corpus[2:]]),
    )
    assert torch.equal(first.priors[0], alone.priors[0])
    # A class that no other plane shows is not known.
    other = replace(corpus[0].plane, label=2 * corpus[0].plane.label)
    (lonely, *_) = with_priors([*embed_planes(sam, [other], open_cache()), *corpus[1:]])
    assert lonely.priors == (None,) and lonely.class_ids == (2,)


def test_first_prompts_come_with_what_is_known_where_something_is_of_all_objects() -> None:
    sam = SamModel(SamWeights.of(toy_base(), CPU))
    corpus = with_priors(embed_planes(sam, planes(4), open_cache()))

    def masks(corpus: Any, kind: Any, with_prior: Any) -> Any:
        settings = EpisodeSettings(starts={kind: 1.0}, with_prior=with_prior)
        return begin(corpus, 4, np.random.default_rng(0), settings).prompts.masks

    for kind in ("click", "several", "scribble", "box"):
        told = masks(corpus, kind, 1.0)
        assert told.shape == (4, 1, SIDE, SIDE)
        assert {float(m.sum()) for m in told} == {float(item.priors[0].sum()) for item in corpus}
        assert masks(corpus, kind, 0.0) is None
        assert masks([*corpus[:3], replace(corpus[3], priors=(None,))], kind, 1.0) is None


def test_held_out_objects_get_priors_only_on_request(tuned: Any) -> None:
    sam = SamModel(SamWeights.of(toy_base(), CPU))
    corpus = with_priors(embed_planes(sam, planes(4), open_cache()))
    mixed = [*corpus[:3], replace(corpus[3], priors=(None,))]
    decoder = Decoder(tuned.model)
    plain, told = (
        HeldOutObjects.of(mixed).evaluate(decoder, use_priors=use_priors)
        for use_priors in (False, True)
    )
    assert (plain[0, :3] != told[0, :3]).all() and plain[0, 3] == told[0, 3]
    assert (plain[-1, :3] != told[-1, :3]).all() and plain[-1, 3] == told[-1, 3]  # the box


def file_entry(path: Path, array: np.ndarray) -> dict[str, str]:
    write_labels(path, array, Volume.from_array(array))
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def make_inputs(folder: Path, images: Any, **settings: Any) -> Path:
    """Write inputs.json about (pixels, label) pairs."""
    folder.mkdir()
    entries = []
    for number, (pixels, label) in enumerate(images):
        entry: dict[str, Any] = {"id": f"i{number}", "case": f"i{number}"}
        entry |= file_entry(folder.parent / f"i{number}.nii.gz", pixels)
        entry["label"] = file_entry(folder.parent / f"i{number}-label.nii.gz", label)
        entries.append(entry)
    content = {
        "schema": 1, "images": entries, "window": "auto", "cache": str(folder.parent / "cache"),
        "commits": len(images), "after_round": 0,
        "settings": TuneSettings(**{"device": "cpu", "lora_rank": 2, **settings}).to_dict(),
    }  # fmt: skip
    (folder / "inputs.json").write_text(json.dumps(content))
    return folder


def test_planes_are_found_along_the_axis_that_they_were_committed_on(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (6, 8, 10), np.uint8)
    label = np.full(pixels.shape, 255, np.uint8)
    label[2] = 0
    label[:, 3] = 1  # a coronal plane, which crosses every axial one
    full = np.zeros(pixels.shape, np.uint8)
    folder = make_inputs(tmp_path / "0001.partial", [(pixels, label), (pixels, full)])
    inputs = read_inputs(folder)
    found = committed_planes(inputs.images, AUTO)
    places = [(plane.image, plane.axis, plane.index) for plane in found]
    assert places == [("i0", 0, 2), ("i0", 1, 3), *[("i1", 0, i) for i in range(6)]]
    assert found[1].pixels.shape == (6, 10) and (found[1].label == 1).all()


def test_inputs_that_are_none_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "inputs.json").write_text("{}")
    assert main([str(tmp_path)]) == 2
    assert "not the folder of a tuning" in capsys.readouterr().err


@pytest.mark.slow
def test_the_child_leaves_a_report_and_an_adapter_that_can_be_switched_off(
    tmp_path: Path, forks: ForkedChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scsam_train.tuning.tune.STRENGTHS", (1.0,))  # the rest is the toy's
    images = [(plane.pixels.astype(np.uint8), plane.label) for plane in planes(3)]
    folder = make_inputs(tmp_path / "0001.partial", images, seconds=1, steps=3, batch=1)
    done = forks.run([sys.executable, "-P", "-m", "scsam_train.tuning", str(folder)])
    assert done.returncode == 0, done.stderr
    final = tmp_path / "0001"
    report = json.loads((final / "report.json").read_text())
    assert report["planes"] == 3 and report["data"] and report["settings"]["seed"] == 0
    assert (final / "sam_adapter").is_dir() is report["kept"]
    assert ("sam_adapter/prior.safetensors" in report["files"]) is report["kept"]
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 3


def case(seed: int) -> Any:
    plane = disc_plane(seed)
    return Case(plane.case, plane.case, plane.pixels, {"disc": plane.label == 1})


def test_the_benchmark_goes_on_where_it_stopped_and_keeps_to_the_gate(
    tuned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunings = []

    def counted(base: Any, planes: Any, settings: Any, device: Any, cache: Any) -> Any:
        assert len(planes) == 3
        tunings.append(settings.seed)
        return replace(tuned, report={**tuned.report, "kept": settings.seed != 1})

    def choose(data: Any, count: int, rng: np.random.Generator) -> Any:
        return [case(int(seed)) for seed in rng.choice(50, count, replace=False)]

    sets = {"discs": (choose, lambda data: (case(seed) for seed in range(90, 94)))}
    monkeypatch.setattr(after_tuning, "TUNING_SETS", sets)
    monkeypatch.setattr(after_tuning, "load_base", lambda name: toy_base())
    monkeypatch.setattr(after_tuning, "load_sam", lambda name, device: sam_of(toy_base()))
    monkeypatch.setattr(after_tuning, "tune", counted)
    plan = after_tuning.Plan("toy", 3, (0,), 2, "cpu")
    first = after_tuning.measure(tmp_path, tmp_path, ["discs"], plan)
    part = first["sets"]["discs"]
    assert part["tuned"]["1"]["mean"] > part["shipped"]["1"]["mean"] + 0.2
    assert len(part["rows"]["shipped"]) == 2  # the limit
    written = json.loads((tmp_path / "tuned.json").read_text())
    assert written.pop("machine")["cores"]  # earlier reports do not have it
    (tmp_path / "tuned.json").write_text(json.dumps(written))
    again = after_tuning.measure(tmp_path, tmp_path, ["discs"], plan)
    assert tunings == [0] and again["sets"]["discs"]["tuned"] == part["tuned"]
    more = after_tuning.measure(tmp_path, tmp_path, ["discs"], replace(plan, seeds=(0, 1)))
    assert tunings == [0, 1]
    seeds = more["sets"]["discs"]["tuned"]["1"]["seeds"]
    assert seeds["1"] == part["shipped"]["1"]["mean"]  # refused: the shipped one answers
    other = after_tuning.measure(tmp_path, tmp_path, ["discs"], replace(plan, limit=1))
    assert tunings == [0, 1, 0] and len(other["sets"]["discs"]["rows"]["0"]) == 1
    assert "| discs | tuned |" in after_tuning.markdown(more) and "1 of 2" in after_tuning.markdown(
        more
    )
    assert (tmp_path / "tuned.md").read_text() == after_tuning.markdown(other)


def sam_of(base: Any) -> SamModel:
    return SamModel(SamWeights.of(base, CPU))
