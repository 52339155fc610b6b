"""Weights of a pair are chosen on other held-out planes than those that it is reported on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_scsam.models.pair import Pair
from scsam_train import validation
from scsam_train.data import TrainPlane
from scsam_train.pair_weights import choose_weights, folds_of
from scsam_train.validation_metrics import Evaluator, best_member

if TYPE_CHECKING:
    from napari_scsam.core.arrays import Pixels
    from napari_scsam.core.prompts import Prompts
    from napari_scsam.models.sam import Embedding

SIDE = 16
NAMES = {1: "organ", 4: "tumour"}


class FakeUnet:
    """Answers the first channel of the pixels, not quite sure."""

    class_ids, sees_sam = (1, 4), False

    def probabilities(
        self, image: Pixels, around: Any = None, embedding: Embedding | None = None
    ) -> np.ndarray:
        answer = image[..., 0]
        return np.stack([0.8 * (answer == i) + 0.2 / 3 for i in (0, 1, 4)]).astype(np.float32)


class FakeSam:
    """Answers the second channel, and the third where it is asked by a box."""

    understands_points = False

    def embedding_key(self, image: Pixels) -> Any:
        return image.tobytes()

    def embed(self, image: Pixels) -> SimpleNamespace:
        return SimpleNamespace(key=image.tobytes(), shape=image.shape[:2], image=image)

    def decode(
        self, embedding: SimpleNamespace, prompts: Prompts, class_id: int | None = None
    ) -> Any:
        answer = embedding.image[..., 1 if prompts.box is None else 2]
        return SimpleNamespace(logits=np.where(answer == class_id, 2.0, -2.0).astype(np.float32))


def blocks(organ: bool = True, tumour: bool = True) -> np.ndarray:
    """An organ above and a tumour below, where they are there."""
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[1:7, 2:14] = 1 if organ else 0
    label[9:15, 2:14] = 4 if tumour else 0
    return label


NOTHING, BOTH = blocks(False, False), blocks()


def plane(
    case: str,
    unet: Any = BOTH,
    sam: Any = BOTH,
    again: Any = None,
    truth: np.ndarray = BOTH,
    index: int = 0,
    judged: Any = None,
) -> TrainPlane:
    """A plane with what U-Net, SAM and SAM asked again answer, and with the truth."""
    pixels = np.stack([unet, sam, sam if again is None else again], axis=-1)
    return TrainPlane(case, case, index, pixels, truth, judged=judged)


def weighed(planes: Any) -> Any:
    judge, pair = Evaluator(planes, NAMES), Pair(FakeUnet(), FakeSam())
    marks = judge.evaluate(pair, lambda: None)
    return choose_weights(judge, pair, marks, lambda: None)


def random_label(rng: np.random.Generator) -> np.ndarray:
    label = BOTH.copy()
    label[rng.random(label.shape) < 0.4] = 0
    return label


@pytest.mark.parametrize(
    ("cases", "slices"), [(2, 1), (3, 1), (5, 2), (6, 1), (9, 1), (1, 4), (1, 9)]
)
def test_no_case_has_a_say_in_how_its_own_pair_is_weighed(cases: int, slices: int) -> None:
    """Whatever its truth is, its pair answers the same; what others answer may change."""
    rng = np.random.default_rng(cases)
    planes = [
        plane(f"c{case}", *(random_label(rng) for _ in range(4)), index=index)
        for case in range(cases)
        for index in range(slices)
    ]
    before = weighed(planes)
    answers = before.evaluation.counts["pair"][:, :, 1]
    units = {p.case for p in planes} if cases > 1 else {p.name for p in planes}
    kept = set()
    for unit in units:
        own = [p.case == unit or p.name == unit for p in planes]
        changed = [
            TrainPlane(p.image, p.case, p.index, p.pixels, NOTHING) if mine else p
            for p, mine in zip(planes, own, strict=True)
        ]
        after = weighed(changed)
        assert (after.evaluation.counts["pair"][own, :, 1] == answers[own]).all()
        kept.add(str(after.weights))
    assert len({str(before.weights), *kept}) > 1  # what is kept, all of them choose


def test_with_few_cases_each_is_left_out_and_with_many_halves_choose_for_each_other() -> None:
    few = [plane(name) for name in "abc"]
    parts, unit = folds_of(few)
    assert unit == "case" and [(p.chosen_by, p.reported_on) for p in parts] == [
        ([1, 2], [0]), ([0, 2], [1]), ([0, 1], [2]),
    ]  # fmt: skip
    many = [plane(name) for name in "abcdef"]
    parts, _ = folds_of(many)
    assert [(p.chosen_by, p.reported_on) for p in parts] == [
        ([1, 3, 5], [0, 2, 4]), ([0, 2, 4], [1, 3, 5]),
    ]  # fmt: skip
    slices = [plane("a", index=index) for index in (3, 7)]
    assert weighed(slices).to_dict() == {
        "unit": "slice",
        "parts": [
            {"chosen_by": ["a:7"], "reported_on": ["a:3"]},
            {"chosen_by": ["a:3"], "reported_on": ["a:7"]},
        ],
        "kept_weights_chosen_by": ["a:3", "a:7"],
    }


def test_the_figure_is_the_one_of_weights_that_others_chose() -> None:
    """U-Net is right in a and b, SAM in c: who left c out trusts the U-Net, and c shows it."""
    planes = [
        plane("a", sam=NOTHING),
        plane("b", sam=NOTHING),
        plane("c", unet=NOTHING),
    ]
    found = weighed(planes)
    assert found.evaluation.cases()["c"]["pair"] == {"organ": 0.0, "tumour": 0.0}
    assert found.evaluation.cases()["c"]["sam"] == {"organ": 1.0, "tumour": 1.0}
    shares = found.weights.unet_shares
    # Dice 2/3 and 1/3: errors 1/9 and 4/9 squared.
    assert shares == pytest.approx([(4 / 9 + 1e-4) / (5 / 9 + 2e-4)] * 2)


class UnsureUnet(FakeUnet):
    def probabilities(
        self, image: Pixels, around: Any = None, embedding: Embedding | None = None
    ) -> np.ndarray:
        return (super().probabilities(image) + 1 / 3) / 2


class SureSam(FakeSam):
    def decode(
        self, embedding: SimpleNamespace, prompts: Prompts, class_id: int | None = None
    ) -> Any:
        return SimpleNamespace(logits=10 * super().decode(embedding, prompts, class_id).logits)


def test_a_sure_sam_does_not_outvote_a_unet_that_does_better_alone() -> None:
    """The U-Net finds two thirds of the organ and SAM less, but nothing makes SAM doubt."""
    unet, sam = BOTH.copy(), BOTH.copy()
    unet[1:7, 10:], sam[1:7, 9:] = 0, 0
    judge = Evaluator([plane(case, unet, sam) for case in "abc"], NAMES)
    pair = Pair(UnsureUnet(), SureSam())
    marks = judge.evaluate(pair, lambda: None)
    found = choose_weights(judge, pair, marks, lambda: None)
    assert found.weights.unet_shares[0] == 1.0
    organ = found.evaluation.dice()["pair"]["organ"]
    assert organ == marks.dice()["unet"]["organ"] == pytest.approx(0.8)


def test_a_lead_that_may_be_chance_changes_nothing() -> None:
    """The U-Net alone is ahead in two cases, SAM in one: the mean says U-Net, its error not."""
    unet = BOTH.copy()
    unet[1:7, 10:] = 0
    planes = []
    for case, first_missing in (("a", 9), ("b", 11), ("c", 8)):
        sam = BOTH.copy()
        sam[1:7, first_missing:] = 0
        planes.append(plane(case, unet, sam))
    judge, pair = Evaluator(planes, NAMES), Pair(UnsureUnet(), SureSam())
    marks = judge.evaluate(pair, lambda: None)
    assert marks.dice()["unet"]["organ"] > marks.dice()["sam"]["organ"]
    found = choose_weights(judge, pair, marks, lambda: None)
    assert 0.5 < found.weights.unet_shares[0] < 0.9
    assert found.weights.guided == [False, False]


@pytest.mark.parametrize(
    ("again", "guided"), [(BOTH, [True, True]), (blocks(tumour=False), [True, False])]
)
def test_sam_is_asked_again_for_the_classes_that_it_helps(again: Any, guided: list[bool]) -> None:
    half = BOTH.copy()
    half[:, 8:] = 0
    found = weighed([plane(case, half, half, again) for case in "abc"])
    assert found.weights.guided == guided
    by_class = found.evaluation.dice()["pair"]
    assert by_class["organ"] == 1.0 and (by_class["tumour"] == 1.0) == guided[1]


def test_a_class_on_one_case_is_weighed_as_the_others_are() -> None:
    """Nothing else says how to weigh the tumour where the one case that has it is left out."""
    only = blocks(tumour=False)
    planes = [
        plane("a", sam=NOTHING),
        plane("b", unet=only, sam=NOTHING, truth=only),
        plane("c", unet=only, sam=NOTHING, truth=only),
    ]
    found = weighed(planes)
    # From b and c the U-Net is known to be right about organs: so is its tumour believed.
    assert found.evaluation.cases()["a"]["pair"] == {"organ": 1.0, "tumour": 1.0}


def test_a_class_without_a_figure_spoils_no_other() -> None:
    """No held-out plane was judged for the tumour, or none has it."""
    only = blocks(tumour=False)
    for judged, truth in (((1,), BOTH), (None, only)):
        label = np.where(truth == 4, 0, truth).astype(np.uint8)
        answer = BOTH if judged else only
        planes = [plane(c, unet=answer, sam=NOTHING, truth=label, judged=judged) for c in "abc"]
        found = weighed(planes)
        scores = found.evaluation.dice()
        assert scores["pair"] == {"organ": 1.0, "tumour": None, "mean": 1.0}
        organ, tumour = found.weights.unet_shares
        assert organ == tumour > 0.99


def test_a_unit_alone_is_reported_with_equal_weights() -> None:
    found = weighed([plane("a", sam=NOTHING)])
    assert found.to_dict()["parts"] == [{"chosen_by": [], "reported_on": ["a:0"]}]
    assert found.weights.unet_shares[0] > 0.99  # kept, but not what is reported
    equal = Pair(FakeUnet(), FakeSam())
    marks = Evaluator([plane("a", sam=NOTHING)], NAMES).evaluate(equal, lambda: None)
    assert (found.evaluation.counts["pair"] == marks.counts["pair"]).all()


@pytest.mark.parametrize("names", [NAMES, {1: "organ"}, {**NAMES, 7: "vessel"}])
def test_the_parent_is_weighed_by_other_cases_than_it_is_measured_on(
    names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """U-Net is right in a and b, SAM in c; the weights that the parent kept have no say."""
    cases = [plane("a", sam=NOTHING), plane("b", sam=NOTHING), plane("c", unet=NOTHING)]
    session = SimpleNamespace(
        settings=SimpleNamespace(device="cpu"),
        control=SimpleNamespace(check=lambda: None),
        inputs=SimpleNamespace(class_names=names),
    )
    for planes in (cases, cases[:1]):
        expected = weighed(planes).evaluation.cases()
        for kept in ([0.0, 0.0], [1.0, 1.0]):
            parent = Pair(FakeUnet(), FakeSam(), kept)
            monkeypatch.setattr(validation, "load_round", lambda *_, pair=parent, **__: pair)
            found = validation._evaluate_parent(session, Evaluator(planes, names), None).cases()
            for case, scores in expected.items():
                assert found[case]["pair"]["organ"] == scores["pair"]["organ"]


def test_clicks_are_not_tried_on_planes_that_taught() -> None:
    """Nothing is held out: the base answers, and metrics.json says so."""
    session = SimpleNamespace(
        trained=("unet", "sam"),
        sam=SimpleNamespace(with_adapter=lambda info: None),
        info=SimpleNamespace(understands_points=True),
        split=SimpleNamespace(held_out=[], train=[plane("a")]),
    )
    assert validation._examine_clicks(session) is None
    assert "left to the base" in validation._clicks_reason(session, None)
    assert "the round's SAM" in validation._clicks_reason(session, ((0.9, 0.9), (0.9, 0.9)))
    assert "by the base" in validation._clicks_reason(session, ((0.6, 0.6), (0.9, 0.9)))


def test_any_member_may_be_the_best_and_any_may_be_missing() -> None:
    scores = {m: {"mean": v} for m, v in (("unet", 0.7), ("pair", 0.8), ("prompted", 0.9))}
    assert best_member(scores) == "prompted"
    scores["prompted"]["mean"] = 0.8
    assert best_member(scores) == "pair"
    assert best_member({"sam": {"mean": None}, "pair": {"mean": None}}) == "pair"
