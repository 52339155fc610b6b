"""The recipe of SC-SAM's paper: its losses, its ramp, its views, and who is shown which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from toy import run, toy_context

from napari_scsam.core.settings import TrainSettings
from scsam_train.augment import Augmenter
from scsam_train.distributed import World
from scsam_train.embedded_views import VIEWS_STREAM, embedded_view
from scsam_train.encoding import TrainedEncoder
from scsam_train.losses import IGNORE
from scsam_train.paper_losses import batch_loss, entropy_loss
from scsam_train.paper_views import STRONG, WEAK, View, Views, taken_at, unmoved
from scsam_train.recipes import RECIPES, scsam_paper
from scsam_train.recipes.scsam_paper import RAMP_END, _in_turn, _random_clicks
from scsam_train.schedules import ramp

if TYPE_CHECKING:
    from napari_scsam.core.arrays import Pixels

PAPERS_STEPS = 40_000


def probabilities(logits: Any) -> np.ndarray:
    """Softmax over axis 1, in double precision."""
    powers = np.exp(logits.numpy().astype(float))
    return powers / powers.sum(1, keepdims=True)


def published_loss(logits: Any, target: Any) -> Any:
    """Cross-entropy and Dice of docs/explanation/published-method.md, pixel by pixel."""
    p, t = probabilities(logits), target.numpy()
    said = [(n, r, c) for n, r, c in np.ndindex(t.shape) if t[n, r, c] != IGNORE]
    entropy = np.mean([-np.log(p[n, t[n, r, c], r, c]) for n, r, c in said])
    terms = []
    for k in range(p.shape[1]):
        truth = np.array([float(t[at] == k) for at in said])
        guess = np.array([p[n, k, r, c] for n, r, c in said])
        both, sizes = (guess * truth).sum(), (guess**2).sum() + (truth**2).sum()
        terms.append(1 - (2 * both + 1e-10) / (sizes + 1e-10))
    return entropy + np.mean(terms)


def example(classes: int = 3) -> Any:
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn((4, classes, 9, 7), generator=generator)
    target = torch.randint(0, classes, (4, 9, 7), generator=generator)
    target[0, :4] = IGNORE
    target[2] = 0
    return logits, target


def test_the_loss_is_the_published_one() -> None:
    logits, target = example()
    assert float(batch_loss(logits, target, World())) == pytest.approx(
        published_loss(logits, target), rel=1e-5
    )


def test_the_background_and_an_absent_class_count_in_dice_as_published() -> None:
    logits = torch.full((1, 3, 4, 4), -20.0)
    logits[:, 0] = 20.0  # background everywhere
    target = torch.zeros((1, 4, 4), dtype=torch.int64)
    right = float(batch_loss(logits, target, World()))
    # The absent classes are guessed nowhere, at a probability of e^-40: no loss by the smoothing.
    assert right == pytest.approx(0.0, abs=1e-5)
    logits[:, 1, 0, 0] = 20.0  # one pixel of class 1 at one half: a whole third is lost
    assert float(batch_loss(logits, target, World())) > 1 / 3


def test_nothing_said_is_no_loss() -> None:
    logits, target = example()
    assert float(batch_loss(logits, torch.full_like(target, IGNORE), World())) == 0.0


class Half(World):
    """One of two processes, whose sums are those of both, looked up by their order."""

    def __init__(self, others: Any) -> None:
        super().__init__()
        self.size, self._others = 2, iter(others)

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        return value + next(self._others)


def sums_of(logits: Any, target: Any) -> Any:
    """What a process gives to each sum, in order."""
    valid = target != IGNORE
    p = logits.softmax(1) * valid[:, None]
    t = torch.stack([(target == k) for k in range(logits.shape[1])], 1).float()
    return [valid.sum(), (p * t).sum((0, 2, 3)), (p**2 + t).sum((0, 2, 3))]


def test_two_processes_have_the_loss_and_the_gradient_of_one() -> None:
    logits, target = example()
    whole = logits.clone().requires_grad_()
    batch_loss(whole, target, World()).backward()
    parts, total = [], 0.0
    for own, other in ((slice(0, 1), slice(1, 4)), (slice(1, 4), slice(0, 1))):
        part = logits[own].clone().requires_grad_()
        loss = batch_loss(part, target[own], Half(sums_of(logits[other], target[other])))
        loss.backward()
        total += float(loss.detach())
        parts.append(part.grad)
    assert total == pytest.approx(published_loss(logits, target), rel=1e-5)
    assert torch.allclose(torch.cat(parts), whole.grad, atol=1e-7)


@pytest.mark.parametrize("classes", [2, 4])
def test_entropy_is_one_where_nothing_is_known(classes: int) -> None:
    logits, _ = example(classes)
    p = probabilities(logits)
    expected = np.mean(-(p * np.log(p)).sum(1)) / np.log(classes)
    assert float(entropy_loss(logits, 4)) == pytest.approx(expected, rel=1e-5)
    assert float(entropy_loss(torch.zeros_like(logits), 8)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("step", "weight"),
    [(0, 0.007), (1_000, 0.017), (2_500, 0.06), (5_000, 0.29), (7_500, 0.73), (10_000, 1.0)],
)
def test_the_ramp_is_the_published_one(step: int, weight: float) -> None:
    tolerance = 0.5 * 10.0 ** -len(str(weight).split(".")[1])
    assert ramp(step / PAPERS_STEPS, RAMP_END) == pytest.approx(weight, abs=tolerance)


@pytest.fixture
def overheard(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Arguments and results of all losses of a recipe, in order."""
    heard = []

    def listen(name: str) -> None:
        plain = getattr(scsam_paper, name)

        def loss(logits: Any, *rest: Any) -> Any:
            found = plain(logits, *rest)
            heard.append((name, logits.detach(), rest[0], float(found.detach())))
            return found

        monkeypatch.setattr(scsam_paper, name, loss)

    listen("batch_loss")
    listen("entropy_loss")
    return heard


@pytest.mark.parametrize("fraction", [0.0, 0.125, 0.5])
def test_labels_other_answers_and_entropy_count_1_1_and_09(overheard: Any, fraction: float) -> None:
    report = RECIPES["scsam-paper"](toy_context(recipe="scsam-paper")).step(fraction)
    kinds = [name for name, *_ in overheard]
    assert kinds == ["batch_loss"] * 4 + ["entropy_loss"]
    own, cross, sam_own, sam_cross, entropy = (value for *_, value in overheard)
    assert report.loss_unet == pytest.approx(own + cross + 0.9 * entropy, rel=1e-6)
    back = np.exp(-5 * (1 - min(4 * fraction, 1)) ** 2)
    assert report.loss_sam == pytest.approx(sam_own + back * sam_cross, rel=1e-6)
    (_, unet, labels, _), (_, _, from_sam, _), (_, sam, _, _), (_, _, from_unet, _) = overheard[:4]
    assert bool((labels[2:] == IGNORE).all()) and bool((labels[:2] == 1).any())
    assert bool((from_sam[:2] == IGNORE).all()) and bool((from_unet[:2] == IGNORE).all())
    assert torch.equal(from_sam[2:], sam[2:].argmax(1))
    assert torch.equal(from_unet[2:], unet[2:].argmax(1))


def test_padding_of_an_unlabelled_picture_teaches_nothing(overheard: Any) -> None:
    context = toy_context(recipe="scsam-paper")
    context.materials.unlabelled_valid[:] = False
    RECIPES["scsam-paper"](context).step(0.5)
    assert bool((overheard[1][2] == IGNORE).all())


def test_rates_fall_linearly_to_nothing_and_no_gradient_is_clipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = []
    plain = scsam_paper.descend

    def descend(*args: Any, clip: Any) -> Any:
        limits.append(clip)
        return plain(*args, clip=clip)

    monkeypatch.setattr(scsam_paper, "descend", descend)
    recipe = RECIPES["scsam-paper"](toy_context(recipe="scsam-paper"))
    rates = []
    for fraction in (0.0, 0.25, 1.0):
        recipe.step(fraction)
        optimisers = (recipe._unet_optimiser, recipe._sam_optimiser)
        rates.append([optimiser.param_groups[0]["lr"] for optimiser in optimisers])
    assert np.allclose(rates, [[0.01, 1e-4], [0.0075, 7.5e-5], [0, 0]])
    assert set(limits) == {float("inf")}


def draws(strength: Any, count: int = 600, **options: Any) -> list[View]:
    return [View.draw(strength, np.random.default_rng([1, i]), **options) for i in range(count)]


def share(flags: Any) -> float:
    return float(np.mean(list(flags)))


# Of 600 draws the share lies within four standard deviations, 0.082 at most.
NEAR = 0.082


@pytest.mark.parametrize(
    ("strength", "light", "distorted", "holed", "fewest", "most"),
    [(WEAK, 0.2, 0.0, 0.5, 5, 8), (STRONG, 0.6, 0.5, 0.7, 10, 20)],
)
def test_views_of_labelled_and_others_differ_as_published(
    strength: Any, light: float, distorted: float, holed: float, fewest: int, most: int
) -> None:
    views = draws(strength)
    still = np.linspace(-1, 1, 6)
    grids = [not np.allclose(v.lines, still) for v in views]
    corners = [not np.allclose(v.corners, np.eye(3)[:2]) for v in views]
    assert share(v.gain != 1 for v in views) == pytest.approx(light, abs=NEAR)
    assert share(grids) == pytest.approx(distorted / 2, abs=NEAR)
    assert share(corners) == pytest.approx(distorted / 2, abs=NEAR)
    assert not any(a and b for a, b in zip(grids, corners, strict=True))
    counts = {len(v.holes) for v in views} - {0}
    assert share(len(v.holes) > 0 for v in views) == pytest.approx(holed, abs=NEAR)
    assert counts == set(range(fewest, most + 1))


def test_flips_turns_and_shifts_are_as_often_and_as_far_as_published() -> None:
    matrices = np.array([np.vstack([v.moved, [0, 0, 1]]) for v in draws(WEAK)])
    forward = np.linalg.inv(matrices)
    assert share(forward[:, 0, 0] < 0) == pytest.approx(0.5, abs=NEAR)
    assert share(forward[:, 1, 1] < 0) == pytest.approx(0.5, abs=NEAR)
    scales = np.sqrt(np.abs(np.linalg.det(forward)))
    angles = np.degrees(np.arcsin(np.abs(forward[:, 0, 1]) / scales))
    assert share(angles > 1e-6) == pytest.approx(0.5, abs=NEAR)
    assert 9 < angles.max() <= 10
    assert 0.95 <= scales.min() < 0.96 and 1.04 < scales.max() <= 1.05
    assert 0.06 < np.abs(forward[:, :2, 2]).max() / 2 <= 0.0625
    for view in draws(STRONG, 50, mirror=False):
        assert np.linalg.det(view.moved[:, :2]) > 0 and view.moved[0, 0] > 0


def squares(side: int, count: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures 0.2 with a bright rectangle off both diagonals, and its labels."""
    labels = torch.zeros((count, side, side), dtype=torch.uint8)
    labels[:, side // 4 : side // 2, side // 2 : 7 * side // 8] = 1
    images = 0.2 + 0.6 * labels[:, None].float().expand(-1, 3, -1, -1)
    return images.contiguous(), labels


@pytest.mark.parametrize("seed", range(8))
def test_places_of_a_view_are_where_its_pixels_come_from(seed: int) -> None:
    """A picture whose channels say where they are, x and y."""
    view = View.draw(STRONG, np.random.default_rng(seed))
    side = 64
    own = unmoved(1, side)
    picture = own.permute(0, 3, 1, 2)
    found = taken_at(picture, Views([view]).places(side))[0].permute(1, 2, 0).numpy()
    inside = 1 - 1 / side
    assert np.allclose(found, view.places(side).clip(-inside, inside), atol=1e-4)
    coarse = view.places(side // 2)
    between = view.places(side).reshape(side // 2, 2, side // 2, 2, 2).mean((1, 3))
    assert np.median(np.abs(coarse - between)) < 1e-3


def test_a_view_takes_its_lines_then_its_corners_then_its_move_and_mirrors_at_the_edge() -> None:
    lines = np.array([[-1, -0.6, -0.2, 0.2, 0.6, 1], [-1, -0.5, 0, 0.25, 0.5, 1]])
    corners, moved = np.array([[1, 0.2, 0], [0, 1, 0.1]]), np.array([[1, 0, 0.5], [0.3, 1, 0]])
    found = View(lines, corners, moved, 1.0, 0.0, np.empty((0, 2))).places(10)
    # Row 7 is at y = 0.5, between the lines at 0.2 and 0.6 that come from 0.25 and 0.5; column 2
    # is at x = -0.5, and column 9 at 0.9.
    y = 0.25 + 0.25 * (0.5 - 0.2) / 0.4
    x, y = -0.5 + 0.2 * y, y + 0.1
    assert found[7, 2] == pytest.approx((x + 0.5, 0.3 * x + y))
    y = 0.25 + 0.25 * (0.5 - 0.2) / 0.4
    x, y = 0.9 + 0.2 * y, y + 0.1
    assert found[7, 9] == pytest.approx((2 - (x + 0.5), 0.3 * x + y))


@pytest.mark.parametrize("seed", range(6))
def test_labels_move_with_their_picture_and_are_background_in_holes(seed: int) -> None:
    images, labels = squares(128)
    views = Views([View.draw(STRONG, np.random.default_rng([2, seed]))])
    hidden = torch.from_numpy(views._views[0].hidden(128))[None]
    moved, bare = views.labels(labels, holes=True), views.labels(labels, holes=False)
    seen = views.pictures(images)[:, 0]
    bright = seen > seen[~hidden].max() * 0.6
    assert ((bright == (bare == 1)) | hidden).float().mean() > 0.98
    assert bool((seen[hidden] == 0).all()) and bool((moved[hidden] == 0).all())
    assert torch.equal(moved[~hidden], bare[~hidden])
    unknown = views.labels(torch.full_like(labels, IGNORE), holes=True)
    assert bool((unknown == IGNORE).all())


def test_holes_are_of_twelve_pixels_in_256() -> None:
    view = View.draw(STRONG, np.random.default_rng(4))
    one = View(view.lines, view.corners, view.moved, 1.0, 0.0, np.array([[0.25, 0.5]]))
    rows, cols = np.nonzero(one.hidden(256))
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (64, 75, 128, 139)


def test_labelled_planes_get_weak_views_and_others_strong_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = []
    plain = View.draw

    def draw(strength: Any, rng: np.random.Generator, *, mirror: Any) -> Any:
        given.append((strength, mirror))
        return plain(strength, rng, mirror=mirror)

    monkeypatch.setattr(scsam_paper.View, "draw", draw)
    RECIPES["scsam-paper"](toy_context(recipe="scsam-paper", mirror=False)).step(0.5)
    assert given == [(WEAK, False)] * 2 + [(STRONG, False)] * 2


def test_no_two_steps_see_the_same_and_each_plane_comes_once_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = RECIPES["scsam-paper"](toy_context(recipe="scsam-paper"))
    seen = []
    recipe._network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    run(recipe, 0, 3, 3)
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])
    taken = [i for step in range(6) for i in _in_turn(9, 6, step, [0])]
    assert [sorted(taken[at : at + 9]) for at in (0, 9, 18, 27)] == [list(range(9))] * 4
    assert len({tuple(taken[at : at + 9]) for at in (0, 9, 18, 27)}) == 4
    assert sorted(_in_turn(2, 6, 0, [0])) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("seed", range(6))
def test_points_lie_where_sam_sees_what_the_unet_found(seed: int) -> None:
    """In the view they are drawn in, in the picture they are meant in, off the diagonal."""
    _, labels = squares(64)
    views = Views([View.draw(STRONG, np.random.default_rng([3, seed]))])
    found = views.labels(labels, holes=False)[0].numpy() == 1
    places = views.places(64)[0].numpy()
    clicks = _random_clicks(found, places, 256, np.random.default_rng(seed))
    assert [label for *_, label in clicks] == [1] * 5 + [0] * 5
    assert len({click[:2] for click in clicks}) == 10
    for row, col, label in clicks:
        at = tuple(min(63, round((value + 0.5) / 4 - 0.5)) for value in (row, col))
        assert int(labels[0][at]) == label


def test_too_few_places_are_padded_as_sam_pads() -> None:
    places = unmoved(1, 8)[0].numpy()
    nothing = np.zeros((8, 8), bool)
    clicks = _random_clicks(nothing, places, 8, np.random.default_rng(0))
    assert [label for *_, label in clicks] == [-1] * 5 + [0] * 5
    nothing[2, 5:7] = True
    few = _random_clicks(nothing, places, 8, np.random.default_rng(0))
    assert [label for *_, label in few] == [1, 1, -1, -1, -1] + [0] * 5
    assert sorted(click[:2] for click in few[:2]) == [
        pytest.approx((2.0, 5.0), abs=1e-5),
        pytest.approx((2.0, 6.0), abs=1e-5),
    ]


def test_sams_answer_is_moved_into_the_unets_view(
    monkeypatch: pytest.MonkeyPatch, overheard: Any
) -> None:
    """A decoder that draws the object as it is on the plane fits the labels of the view."""
    context = toy_context(recipe="scsam-paper", labelled_batch=2, unlabelled_batch=0)
    recipe = RECIPES["scsam-paper"](context)
    order, _ = recipe._choose()
    truth = torch.stack([context.materials.views[i][0].label for _, i in order])

    def decoder(features: torch.Tensor, ask: Any) -> tuple[torch.Tensor, None]:
        drawn = (truth[:, None].float() - 0.5) * 20
        return (drawn + 0 * recipe._context.sam.module.class_tokens(ask.classes).sum()), None

    decoder.side = recipe._decoder.side
    monkeypatch.setattr(recipe, "_decoder", decoder)
    recipe.step(0.5)
    _, sam, labels, _ = overheard[2]
    known = labels != IGNORE
    assert bool((labels == 1).any())
    assert float((sam.argmax(1) == labels)[known].float().mean()) > 0.97


@pytest.mark.parametrize("seed", range(4))
def test_with_an_adapted_encoder_sam_is_shown_the_unets_view(seed: int) -> None:
    """Its pixels are those of Kirillov et al.'s code: (0..255 - mean) / deviation, padding 0."""
    context = toy_context(recipe="scsam-paper", profile="adapted-encoder")
    encoder = TrainedEncoder(context.sam, context.settings)
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    deviation = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    images, _ = squares(64)
    there = torch.ones((1, 64, 64), dtype=torch.bool)
    there[:, :, 56:] = False
    images *= there[:, None]
    views = Views([View.draw(STRONG, np.random.default_rng([5, seed]))])
    kept = (255 * images - mean) / deviation * there[:, None]
    found = encoder.in_view(kept, views)
    seen = (255 * views.pictures(images) - mean) / deviation
    shown = views.shown(there)[:, None]
    assert encoder.sees_views and torch.allclose(found, seen * shown, atol=1e-3)
    assert 0.7 < float(shown.float().mean()) < 0.98


@pytest.mark.parametrize("profile", ["frozen-encoder", "adapted-encoder"])
def test_holes_are_in_sams_labels_only_where_it_sees_them(overheard: Any, profile: str) -> None:
    context = toy_context(recipe="scsam-paper", profile=profile)
    context.materials.labels[:] = 1
    for step in (0.0, 0.3, 0.6, 0.9):
        RECIPES["scsam-paper"](context).step(step)
    recipe = RECIPES["scsam-paper"](context)
    run(recipe, 0, 8, 8)
    unet, sam = ([labels for *_, labels, _ in overheard[at::5]] for at in (0, 2))
    assert any(bool((labels == 0).any()) for labels in unet)
    assert any(bool((labels == 0).any()) for labels in sam) == (profile == "adapted-encoder")


@pytest.mark.parametrize("view", [1, 2, 3])
def test_an_embedded_view_is_the_same_for_the_unet_at_its_own_size(view: int) -> None:
    small, large = (
        embedded_view(Augmenter(TrainSettings(), VIEWS_STREAM), *squares(side), 3, view)
        for side in (96, 192)
    )
    halved = torch.nn.functional.avg_pool2d(large[0], 2)
    assert float((halved - small[0]).abs().mean()) < 0.01
    assert float((large[1][:, ::2, ::2] == small[1]).float().mean()) > 0.97
    plain, _ = squares(96)
    assert float((small[0] - plain).abs().mean()) > 0.02


def test_of_a_labelled_plane_each_embedded_view_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    context = toy_context(recipe="scsam-paper")
    context.materials.views[:] = [3 * views for views in context.materials.views]
    taken = []
    plain = scsam_paper.embedded_view

    def embedded(augmenter: Any, image: Pixels, label: Any, at: Any, view: Any) -> Any:
        taken.append((at, view))
        return plain(augmenter, image, label, at, view)

    monkeypatch.setattr(scsam_paper, "embedded_view", embedded)
    run(RECIPES["scsam-paper"](context), 0, 12, 12)
    assert set(taken) == {(0, 1), (0, 2), (1, 1), (1, 2)}
    assert len(taken) < 2 * 12  # the unchanged one, too


def test_only_the_paper_starts_its_unet_from_scratch_in_any_case() -> None:
    assert {name for name, recipe in RECIPES.items() if recipe.from_scratch} == {"scsam-paper"}


def test_a_class_that_a_plane_was_not_judged_for_is_part_of_its_background(overheard: Any) -> None:
    """Nobody judged the only class on plane a: the U-Net may answer what it likes there."""
    context = toy_context(recipe="scsam-paper", unlabelled_batch=0)
    context.materials.judged[0] = False
    context.materials.labels[0] = 0
    recipe = RECIPES["scsam-paper"](context)
    order, _ = recipe._choose()
    report = recipe.step(0.5)
    (_, logits, _, _) = overheard[0]
    at = [index for _, index in order].index(0)
    background = torch.tensor(probabilities(logits[at : at + 1])[0, 0])
    assert torch.allclose(background, torch.ones_like(background), atol=1e-5)
    assert np.isfinite(report.loss_unet) and np.isfinite(report.loss_sam)
