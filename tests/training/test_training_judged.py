"""Classes that are unknown on some planes, on all, or come late: each is unknown, not absent."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch
from toy import SIDE, run, toy_context, weights_of

from napari_scsam.core.judged import Judged
from napari_scsam.core.settings import TrainSettings
from napari_scsam.core.volume import Volume
from napari_scsam.core.windows import AUTO
from napari_scsam.io import write_labels
from napari_scsam.models.pair import Pair
from scsam_train.batches import BatchSampler, SupervisedLoss
from scsam_train.config import FileRef, ImageInput, read_inputs
from scsam_train.data import TrainPlane, load_planes
from scsam_train.embedded_views import build_canvases
from scsam_train.losses import likeliest_known, merged, segmentation_loss
from scsam_train.pseudo import of_trusted
from scsam_train.recipes import RECIPES
from scsam_train.sam_student import SamStudent
from scsam_train.students import UNetStudent
from scsam_train.teacher_reliability import TeacherReliability
from scsam_train.tuning.inputs import committed_planes
from scsam_train.tuning.inputs import read_inputs as read_tuning
from scsam_train.validation_metrics import Evaluator

if TYPE_CHECKING:
    from napari_scsam.models.sam import Embedding

MADE_BY_0_1_0 = Path(__file__).parents[1] / "project" / "made_by_0.1.0.zip"


# Reading


def file_ref(path: Path) -> FileRef:
    return FileRef(path, hashlib.sha256(path.read_bytes()).hexdigest())


def volume_input(folder: Path, judged: Any) -> ImageInput:
    """Three slices; class 1 on all of them, class 2 on the first."""
    rng = np.random.default_rng(0)
    label = np.zeros((3, SIDE, SIDE), np.uint8)
    label[:, 4:12, 4:12] = 1
    label[0, 20:28, 20:28] = 2
    path, beside = folder / "v.tif", folder / "v-label.nii.gz"
    data = (rng.integers(0, 40, label.shape) + 100 * (label > 0)).astype(np.uint8)
    tifffile.imwrite(path, data, photometric="minisblack")
    write_labels(beside, label, Volume.from_array(label))
    return ImageInput("v", "v", file_ref(path), file_ref(beside), judged)


def test_planes_and_materials_say_what_was_judged(tmp_path: Path) -> None:
    image = volume_input(tmp_path, Judged((1, 2), {1: (1,)}))
    inputs = SimpleNamespace(images=(image,), class_names={1: "a", 2: "b", 5: "c"}, window=AUTO)
    labelled, others = load_planes(inputs, 0)
    assert [plane.judged for plane in labelled] == [(1, 2), (1,), (1, 2)]
    made = build_canvases(labelled, others, (1, 2, 5), SIDE, torch.device("cpu"))
    assert made.judged.tolist() == [[True, True, False], [True, False, False], [True, True, False]]
    assert made.known.tolist() == [True, True, False]
    (plane, *_) = load_planes(replace_inputs(inputs, image, None), 0)[0]
    assert plane.judged is None and plane.knows(5)


def replace_inputs(inputs: Any, image: ImageInput, judged: Judged | None) -> Any:
    return SimpleNamespace(**{**vars(inputs), "images": (replace(image, judged=judged),)})


def test_a_plane_along_another_axis_is_judged_for_what_all_slices_are(tmp_path: Path) -> None:
    image = volume_input(tmp_path, Judged((1, 2), {1: (1,)}))
    label = np.full((3, SIDE, SIDE), 255, np.uint8)
    label[:, 5] = 0
    label[1] = 1
    write_labels(image.label.path, label, Volume.from_array(label))
    image = replace(image, label=file_ref(image.label.path))
    along = {plane.axis: plane.judged for plane in committed_planes([image], AUTO)}
    assert along == {0: (1,), 1: (1,)}


def test_inputs_of_0_1_0_are_read_and_judged_everything(tmp_path: Path) -> None:
    with zipfile.ZipFile(MADE_BY_0_1_0) as archive:
        archive.extractall(tmp_path)
    for inputs in (read_inputs(tmp_path / "round"), read_tuning(tmp_path / "tuning")):
        (image,) = inputs.images
        assert image.label is not None and image.judged is None
    path = tmp_path / "round" / "inputs.json"
    content = json.loads(path.read_text())
    content["images"][0]["label"]["judged"] = {"classes": [2, 1], "planes": {"1": [2]}}
    path.write_text(json.dumps(content))
    assert read_inputs(tmp_path / "round").images[0].judged == Judged((1, 2), {1: (2,)})


# Losses


def marginal_by_hand(logits: Any, target: Any, known: Any) -> float:
    """Marginal cross-entropy and Dice over the known classes, pixel by pixel in numpy."""
    total = 0.0
    for one, truth, told in zip(logits.numpy(), target.numpy(), known, strict=True):
        p = np.exp(one.astype(float)) / np.exp(one.astype(float)).sum(0)
        background = p[0] + sum(p[k] for k in range(1, len(p)) if not told[k - 1])
        chances = []
        for i, j in np.argwhere(truth != 255):
            chances.append(background[i, j] if truth[i, j] == 0 else p[truth[i, j], i, j])
        dice = []
        for k in range(1, len(p)):
            guess, mask = p[k][truth != 255], (truth == k)[truth != 255]
            if told[k - 1]:
                dice.append((2 * (guess * mask).sum() + 1) / (guess.sum() + mask.sum() + 1))
        total += np.mean(-np.log(chances)) + 1 - np.mean(dice)
    return total / len(logits)


def some_answer(known: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (3, 4, 6, 5) and label maps that hold known classes only."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((3, 4, 6, 5), generator=generator)
    target = torch.randint(4, (3, 6, 5), generator=generator)
    for truth, told in zip(target, known, strict=True):
        for k in (1, 2, 3):
            if not told[k - 1]:
                truth[truth == k] = 0
    target[0, :2] = 255
    return logits, target


def test_background_is_of_the_background_or_of_any_unknown_class() -> None:
    known = [[1, 0, 1], [1, 1, 1], [0, 1, 0]]
    logits, target = some_answer(known)
    loss = segmentation_loss(logits, target, torch.ones(3), None, torch.tensor(known).float())
    assert float(loss) == pytest.approx(marginal_by_hand(logits, target, known), rel=1e-5)


def test_where_everything_is_judged_the_loss_is_what_it_was_to_the_last_bit() -> None:
    known = torch.ones((3, 3))
    logits, target = some_answer(known)
    weight, balance = torch.tensor([1.0, 0.3, 0.7]), torch.tensor([0.5, 1.0, 2.0, 4.0])
    plain = segmentation_loss(logits, target, weight, balance)
    assert torch.equal(segmentation_loss(logits, target, weight, balance, known), plain)
    # And of a class that is half known the loss is half that of a label, beside others.
    halves = segmentation_loss(logits, target, weight, balance, known / 2)
    assert float(halves) == pytest.approx(float(plain) / 2, rel=1e-5)


def test_an_unknown_class_is_pushed_nowhere() -> None:
    logits = torch.zeros((1, 3, 4, 4), requires_grad=True)
    target = torch.zeros((1, 4, 4), dtype=torch.long)
    target[0, 0] = 1
    segmentation_loss(logits, target, torch.ones(1), None, torch.tensor([[1.0, 0.0]])).backward()
    assert logits.grad.isfinite().all()
    background, unknown = logits.grad[0, 0, 1:], logits.grad[0, 2, 1:]
    torch.testing.assert_close(background, unknown)  # nothing tells the two apart
    assert (unknown < 0).all() and (logits.grad[0, 1, 1:] > 0).all()


def test_an_unknown_class_is_answered_as_background() -> None:
    logits = torch.tensor([0.0, 0.5, 3.0])[None, :, None, None]
    known, total = torch.tensor([True, False]), 1 + np.exp(0.5) + np.exp(3)
    assert merged(logits, known).exp()[0, :, 0, 0].tolist() == pytest.approx(
        [(1 + np.exp(3)) / total, np.exp(0.5) / total, 0]
    )
    assert likeliest_known(logits, known).item() == 0
    assert likeliest_known(logits, torch.tensor([True, True])).item() == 2


# The students


def kit_of(judged: Any, labels: Any = None, classes: int = 2) -> Any:
    """What the students need of a context: two labelled planes of noise, one unlabelled."""
    settings = TrainSettings(image_size=SIDE, labelled_batch=2, unlabelled_batch=2)
    if labels is None:
        labels = torch.zeros((2, SIDE, SIDE), dtype=torch.uint8)
        labels[:, 4:12, 4:12] = 1
    planes = [
        TrainPlane(
            name,
            name,
            0,
            np.random.default_rng(at).random((SIDE, SIDE)),
            label.numpy(),
            judged=known,
        )
        for at, (name, label, known) in enumerate(zip("ab", labels, judged, strict=True))
    ]
    other = TrainPlane("u", "u", 0, planes[0].pixels, np.full((SIDE, SIDE), 255, np.uint8))
    ids = tuple(range(1, 1 + classes))
    materials = build_canvases(planes, [other], ids, SIDE, torch.device("cpu"))
    return SimpleNamespace(
        materials=materials,
        settings=settings,
        classes=classes,
        sam_inputs=None,
        side_at=lambda fraction: SIDE,
    )


def test_batches_carry_what_was_judged_into_the_loss() -> None:
    lessons = BatchSampler(context := kit_of([(1, 2), (1,)]))
    batch = lessons.labelled(16, 0)
    expected = {"a:0": [1, 1], "b:0": [1, 0]}
    assert set(batch.names) == set(expected)
    assert batch.known.tolist() == [expected[name] for name in batch.names]
    other = lessons.unlabelled(np.array([0]), batch.labels[:1], 1.0, 0)
    assert (batch.part(slice(0, 1)) + other).known.tolist() == [*batch.known[:1].tolist(), [1, 1]]
    only_b = replace(batch, known=torch.tensor([[1.0, 0.0]]).expand(16, -1))
    logits = torch.randn((16, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    marker = SupervisedLoss(context)
    assert float(marker(logits, batch, 1.0, 16)) > float(marker(logits, only_b, 1.0, 16))


def two_classes(judged: Any, **settings: Any) -> Any:
    """A toy context of two classes, of which the planes hold the first only."""
    context = toy_context(classes=2, **settings)
    context.materials.judged = torch.tensor(judged)
    return context


def test_sam_is_asked_for_a_class_only_where_it_was_judged() -> None:
    student = SamStudent(two_classes([[True, True], [True, False]]))
    rng = np.random.default_rng(0)
    drawn = {(o.position, o.name) for o in (student.objects.labelled(rng) for _ in range(200))}
    assert drawn == {(1, "a:0"), (1, "b:0"), (2, "a:0")}


def test_sam_is_never_asked_for_a_class_that_nobody_judged() -> None:
    context = two_classes([[True, False], [True, False]])
    student = SamStudent(context)
    rng = np.random.default_rng(0)
    assert {student.objects.labelled(rng).position for _ in range(100)} == {1}
    found = student.predicted([context.materials.views[0][0].features], SIDE)
    assert (found[:, 2] == 0).all() and (found[:, 1] > 0).any()


def test_an_unknown_class_teaches_the_teachers_nothing_and_is_not_answered() -> None:
    context = two_classes([[True, False], [True, False]])
    unet = UNetStudent(context.unet.network, context)
    found = unet.predicted(context.materials.images)
    plain = unet(context.materials.images).softmax(1)
    assert (found[:, 2] == 0).all()
    torch.testing.assert_close(found[:, 0], plain[:, 0] + plain[:, 2])
    torch.testing.assert_close(found[:, 1], plain[:, 1])


@pytest.mark.parametrize("name", ["cps", "scsam"])
@pytest.mark.parametrize("late", [False, True])
def test_a_round_learns_beside_a_class_that_is_unknown(
    name: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a class that nobody judged, or on one plane of two: losses and weights are numbers."""
    monkeypatch.setattr("scsam_train.pseudo.CONFIDENT", 0.5)
    context = two_classes([[True, False], [True, late]], recipe=name)
    reports = run(RECIPES[name](context), 0, 10, 12)
    assert np.isfinite(reports[-1].loss_unet)
    assert all(value.isfinite().all() for value in weights_of(context).values())


# Trust, by class


def test_the_exam_asks_only_for_classes_that_were_judged() -> None:
    truth = np.zeros((8, 8), np.uint8)
    truth[:4, :4] = 1
    guess = truth.astype(np.int64)
    guess[6:, 6:] = 2  # nobody knows whether it is there
    exam = TeacherReliability(3)
    exam.update(guess, guess, truth, np.array([True, False, True]))
    np.testing.assert_allclose(exam.dice, [[1, 0, 0]] * 2)
    assert exam.means == (1, 1)  # of the one class that anything is known of
    exam.update(guess, guess, truth, np.array([True, True, True]))
    assert exam.dice[0, 1] == 0 and exam.means == (0.5, 0.5)


def test_pixels_of_untrusted_classes_are_unknown() -> None:
    labels = torch.tensor([[[0, 1, 2, 3, 255]]], dtype=torch.uint8)
    found = of_trusted(labels, np.array([True, False, True]))
    assert found.tolist() == [[[0, 1, 255, 3, 255]]]


@pytest.mark.parametrize("unlabelled", [False, True])
def test_a_class_without_evidence_stops_no_other_s_pseudo_labels(
    unlabelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class 2 has no label, or nobody judged it: class 1 is learned from pseudo-labels."""
    trust = property(lambda exam: np.array([0.8, 0.0]))
    monkeypatch.setattr("scsam_train.teacher_reliability.TeacherReliability.reliability", trust)
    context = two_classes([[True, unlabelled]] * 2, recipe="scsam")
    recipe = RECIPES["scsam"](context)
    seen = []
    monkeypatch.setattr(
        recipe, "_supervised_loss", lambda logits, batch, *_: seen.append(batch) or logits.sum()
    )
    label = torch.zeros((2, SIDE, SIDE), dtype=torch.uint8)
    label[:, :8], label[:, 8:16] = 1, 2
    monkeypatch.setattr(
        recipe._teachers.pseudo,
        "label_maps",
        lambda chosen, *_: label.repeat(2, 1, 1)[: len(chosen)],
    )
    run(recipe, 0, 8, 12)
    batch = seen[-1]
    pseudo = [at for at, name in enumerate(batch.names) if name.startswith("u")]
    assert pseudo and batch.weights[pseudo].tolist() == pytest.approx([0.8] * len(pseudo), abs=0.01)
    assert batch.known[pseudo].tolist() == [[1, 0]] * len(pseudo)
    assert set(batch.labels[pseudo].unique().tolist()) == {0, 1, 255}


def test_each_class_s_pseudo_labels_weigh_what_it_is_trusted() -> None:
    context = two_classes([[True, True]] * 2, recipe="scsam")
    recipe = RECIPES["scsam"](context)
    recipe._teachers.predict_next(3)
    batch = recipe._pseudo_labelled(recipe._teachers.pseudo.ready, 2, np.array([0.4, 0.8]), 0.5)
    assert batch.weights.tolist() == pytest.approx([0.8, 0.8])
    assert batch.known.tolist() == [pytest.approx([0.5, 1.0])] * 2
    logits, target = torch.zeros((1, 3, 2, 2)), torch.tensor([[[0, 1], [2, 255]]])
    entropy, dice = np.log(3), (2 / 3 + 1) / (1 + 1 + 1)
    found = segmentation_loss(logits, target, torch.ones(1), None, torch.tensor([[0.5, 1.0]]))
    # Background pixels weigh the mean of both.
    expected = entropy * (0.75 + 0.5 + 1) / 3 + 0.75 * (1 - dice)
    assert float(found) == pytest.approx(expected, rel=1e-5)


# The judge and the pair


class TwoAnswers:
    """Answers class 1 on the left half and class 2 on the right one."""

    class_ids, trained, joins_sam = (1, 2), ("unet",), False

    def members(
        self, pixels: Any, embedding: Embedding, around: Any = None
    ) -> dict[str, np.ndarray]:
        maps = np.zeros((3, *pixels.shape))
        maps[1, :, :2] = maps[2, :, 2:] = 1
        return {"unet": maps, "pair": maps}


def test_what_was_not_judged_is_not_counted() -> None:
    truth = np.array([[1, 1, 0, 0]], np.uint8)
    planes = [
        TrainPlane("a", "a", 0, np.zeros((1, 4)), truth, judged=(1,)),
        TrainPlane("b", "b", 0, np.zeros((1, 4)), truth, judged=(1, 2)),
    ]
    marks = Evaluator(planes, {1: "organ", 2: "tumour"}).evaluate(TwoAnswers(), lambda: None)
    assert marks.cases()["a"]["pair"] == {"organ": 1, "tumour": None}
    assert marks.cases()["b"]["pair"] == {"organ": 1, "tumour": 0}


def test_a_pair_never_answers_a_class_that_its_round_knew_nothing_of() -> None:
    context = two_classes([[True, False]] * 2, grid=64)  # its encoder is asked, too
    image = np.random.default_rng(0).random((SIDE, SIDE)).astype(np.float32)
    embedding = context.sam.embed(image)
    found, plain = (
        Pair(context.unet, context.sam, unknown=unknown).members(image, embedding)
        for unknown in ((2,), ())
    )
    for name, probabilities in found.items():
        assert (probabilities[2] < 1e-5).all() and plain[name][2].max() > 1e-3
        np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(found["unet"][0], plain["unet"][0] + plain["unet"][2], atol=1e-5)
