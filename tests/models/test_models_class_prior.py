"""Class priors: discriminants like a library's, from sums over planes; what SAM gets of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from napari_scsam.core.errors import ModelError
from napari_scsam.core.prompts import Prompts
from napari_scsam.models.base import load_base
from napari_scsam.models.class_prior import ClassPrior, Moments
from napari_scsam.models.sam import SamModel, SamWeights

if TYPE_CHECKING:
    from pathlib import Path

CELLS, DEPTH = 8, 5


def plane(seed: int, classes: Any = (0, 1, 4)) -> tuple[torch.Tensor, torch.Tensor]:
    """Features that tell the classes apart, and a label map four times as fine."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice(classes, (CELLS, CELLS))
    means = {c: np.random.default_rng(c).normal(size=DEPTH) for c in classes}
    mixing = np.random.default_rng(99).normal(size=(DEPTH, DEPTH))
    features = np.stack([[means[c] + mixing @ rng.normal(size=DEPTH) for c in r] for r in coarse])
    label = np.kron(coarse, np.ones((4, 4), int)).astype(np.uint8)
    return torch.from_numpy(features).permute(2, 0, 1).float(), torch.from_numpy(label)


def test_log_odds_are_those_of_scikit_learn() -> None:
    planes = [plane(seed) for seed in range(4)]
    prior = ClassPrior.fit((Moments.of(*one) for one in planes), shrinkage=0.0)
    x = np.concatenate([f.flatten(1).T.numpy() for f, _ in planes])
    y = np.concatenate([label[::4, ::4].flatten().numpy() for _, label in planes])
    shares = np.unique(y, return_counts=True)[1] ** 0.5
    theirs = LinearDiscriminantAnalysis(solver="lsqr", priors=shares / shares.sum()).fit(x, y)
    for cell in x[:50]:
        flat = torch.from_numpy(cell).float()[:, None, None].expand(DEPTH, 2, 2)
        wanted = theirs.decision_function(cell[None])[0]
        for position, class_id in ((1, 1), (2, 4)):
            found = prior.log_odds(flat[None], class_id)
            assert found.shape == (1, 1, 8, 8)
            odds = wanted[position] - logsumexp(np.delete(wanted, position))
            assert float(found[0, 0, 3, 3]) == pytest.approx(odds, rel=1e-3, abs=1e-2)


def test_what_is_not_annotated_says_nothing_and_half_a_cell_counts_half() -> None:
    features, label = plane(0)
    label[:16] = 255
    whole = Moments.of(features, label).by_class
    cut = Moments.of(features[:, 4:], label[16:])
    for class_id, (count, first, _) in cut.by_class.items():
        torch.testing.assert_close(whole[class_id][0], count)
        torch.testing.assert_close(whole[class_id][1], first)
    halved = torch.zeros(32, 32, dtype=torch.uint8)
    halved[:, :2] = 3
    count, first, _ = Moments.of(features, halved).by_class[3]
    torch.testing.assert_close(float(count), 4.0)
    torch.testing.assert_close(first, 0.5 * features[:, :, 0].sum(1).double())


def test_only_classes_that_a_plane_shows_beside_background_are_known() -> None:
    prior = ClassPrior.fit([Moments.of(*plane(0)), Moments.of(*plane(1, (0, 2)))])
    assert [prior.knows(c) for c in (0, 1, 2, 3, 4)] == [False, True, True, False, True]
    features, label = plane(0, (1,))
    for planes in ([], [Moments.of(features, label)], [Moments.of(features, 0 * label)]):
        assert not any(ClassPrior.fit(planes).knows(c) for c in range(5))


def test_features_that_are_always_the_same_do_no_harm() -> None:
    features, label = plane(0)
    features[2] = 0.0
    odds = ClassPrior.fit([Moments.of(features, label)]).log_odds(features[None], 1)
    assert torch.isfinite(odds).all()
    assert ((odds[0, 0, 1::4, 1::4] > 0) == (label[::4, ::4] == 1)).float().mean() > 0.7


def test_it_is_read_as_it_was_written_and_refused_when_damaged(tmp_path: Path) -> None:
    prior = ClassPrior.fit([Moments.of(*plane(0))])
    path = tmp_path / "prior.safetensors"
    prior.save(path)
    features = plane(1)[0][None]
    assert torch.equal(ClassPrior.load(path).log_odds(features, 4), prior.log_odds(features, 4))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ModelError, match=r"prior\.safetensors can't be read"):
        ClassPrior.load(path)


def test_a_first_click_on_a_known_class_is_asked_with_its_looks_and_nothing_else_is(
    thin_checkpoint: Path, vit_b_is_thin: None
) -> None:
    base = load_base("vit_b", thin_checkpoint)

    def sam(prior: Any = None) -> SamModel:
        device = torch.device("cpu")
        return SamModel(SamWeights.of(base, device), prior=prior)

    image = np.random.default_rng(3).normal(size=(64, 64))
    embedding = sam().embed(image)
    label = torch.zeros(256, 256, dtype=torch.uint8)
    label[:128] = 2
    prior = ClassPrior.fit([Moments.of(embedding.features[0], label)])
    click, box = Prompts([(20, 20)], [1]), Prompts(box=(5, 5, 40, 40))
    odds = prior.log_odds(embedding.features, 2)[0, 0].clamp(-8, 8).numpy()

    def logits(prompts: Prompts, class_id: int | None = None, known: Any = prior) -> Any:
        return sam(known).decode(embedding, prompts, class_id=class_id).logits

    plain = logits(click, known=None)
    assert np.abs(logits(click, 2) - plain).max() > 1e-3
    # The plane's grid is 64 px: the same prompt by the front door has been made coarser on it.
    small = Prompts([(20, 20)], [1], mask=odds[2::4, 2::4])
    close = np.abs(logits(click, 2) - logits(small, known=None)).mean()
    assert close < 0.2 * np.abs(logits(click, 2) - plain).mean()
    assert np.abs(logits(box, 2) - logits(box, known=None)).max() > 1e-3
    for prompts, class_id in ((click, 1), (click, None), (box, 1), (small, 2)):
        assert np.array_equal(logits(prompts, class_id), logits(prompts, known=None))
