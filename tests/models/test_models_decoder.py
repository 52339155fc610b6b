"""Our order of the mask decoder's sums against segment-anything's own decoder."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

from napari_scsam.models.adapters import AdapterInfo, attach, trainable_parameters
from napari_scsam.models.decoder import MIN_IOU, decode_mask, for_best_dice

SIDE = 6


@pytest.fixture
def sam() -> torch.nn.Module:
    """Prompt encoder and mask decoder of SAM's width on a small grid, not in their first state."""
    torch.manual_seed(0)
    module = torch.nn.Module()
    module.image_encoder = torch.nn.Identity()
    module.prompt_encoder = PromptEncoder(256, (SIDE, SIDE), (16 * SIDE, 16 * SIDE), 16)
    module.mask_decoder = MaskDecoder(
        transformer_dim=256,
        transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=128, num_heads=8),
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()


def asked(sam: torch.nn.Module, points: int) -> tuple[torch.Tensor, ...]:
    """(image, position, sparse, dense) for two prompts on two images."""
    generator = torch.Generator().manual_seed(points)
    image = torch.randn((2, 256, SIDE, SIDE), generator=generator)
    xy = 16 * SIDE * torch.rand((2, points, 2), generator=generator)
    masks = torch.randn((2, 1, 4 * SIDE, 4 * SIDE), generator=generator)
    sparse, dense = sam.prompt_encoder((xy, torch.ones(2, points)), None, masks)
    return image, sam.prompt_encoder.get_dense_pe(), sparse.detach(), dense.detach()


def by_sam(decoder: torch.nn.Module, *parts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """SAM's decoder takes one image at a time."""
    image, position, sparse, dense = parts
    answers = [
        decoder(image[i : i + 1], position, sparse[i : i + 1], dense[i : i + 1], False)
        for i in range(len(image))
    ]
    return torch.cat([a[0] for a in answers]), torch.cat([a[1] for a in answers])


@pytest.mark.parametrize("points", [1, 4, 20])
def test_masks_and_estimates_are_those_of_sams_decoder(sam: torch.nn.Module, points: int) -> None:
    parts = asked(sam, points)
    with torch.no_grad():
        theirs = by_sam(sam.mask_decoder, *parts)
        ours = decode_mask(sam.mask_decoder, *parts)
    assert theirs[0].std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("disabled", [False, True])
def test_an_adapter_counts_while_it_is_on_and_not_while_it_is_off(
    sam: torch.nn.Module, disabled: bool, method: str
) -> None:
    parts = asked(sam, 2)
    with torch.no_grad():
        bare = decode_mask(sam.mask_decoder, *parts)[0]
    info = AdapterInfo("a" * 64, "lite-medsam", (), rank=4, method=method)
    model = attach(sam, info)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    with torch.no_grad(), model.disable_adapter() if disabled else nullcontext():
        theirs = by_sam(model.mask_decoder, *parts)
        ours = decode_mask(model.mask_decoder, *parts)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert torch.allclose(ours[0], bare, atol=1e-4) == disabled


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_gradients_are_those_of_sams_decoder(sam: torch.nn.Module, method: str) -> None:
    info = AdapterInfo("a" * 64, "lite-medsam", (), rank=4, method=method)
    model = attach(sam, info)
    parameters = trainable_parameters(model)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    parts = asked(sam, 2)
    found = []
    for decode in (decode_mask, by_sam):
        logits, iou = decode(model.mask_decoder, *parts)
        loss = logits.sin().mean() + iou.sum()
        taught = {n: p for n, p in parameters.items() if "prompt" not in n and "class" not in n}
        found.append(torch.autograd.grad(loss, list(taught.values()), allow_unused=True))
    for name, ours, theirs in zip(taught, *found, strict=True):
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=name)


def test_half_precision_answers_and_learns_nearly_the_same(sam: torch.nn.Module) -> None:
    model = attach(sam, AdapterInfo("a" * 64, "lite-medsam", (), rank=4))
    parameters = trainable_parameters(model)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    taught = [p for n, p in parameters.items() if "prompt" not in n and "class" not in n]
    parts = asked(sam, 2)
    answers, slopes = [], []
    for half in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = decode_mask(model.mask_decoder, *parts)[0].float()
        slope = torch.autograd.grad(logits.sin().mean(), taught, allow_unused=True)
        answers.append(logits.detach().flatten())
        slopes.append(torch.cat([g.flatten() for g in slope if g is not None]))
    for half, full in (answers, slopes):
        assert torch.corrcoef(torch.stack([half, full]))[0, 1] > 0.98


@pytest.mark.parametrize("softness", [0.5, 2.0, 6.0])
def test_the_mask_shown_is_the_one_whose_dice_is_the_best_to_be_expected(softness: float) -> None:
    """Against every threshold, on a disc with an edge of known uncertainty."""
    y, x = np.mgrid[-48:48, -48:48]
    logits = (20 - np.hypot(y, x)) / softness
    sure = 1 / (1 + np.exp(-logits))
    # Expected Dice of the n surest pixels; of so many pixels its ratio of means is as good.
    ranked = np.sort(sure.ravel())[::-1]
    expected = 2 * np.cumsum(ranked) / (np.arange(1, ranked.size + 1) + ranked.sum())
    best = float(expected.max())
    iou = torch.tensor([best / (2 - best)])
    shown = for_best_dice(torch.from_numpy(logits)[None, None], iou)[0, 0].numpy() > 0
    chosen = 2 * sure[shown].sum() / (shown.sum() + sure.sum())
    plain = 2 * sure[logits > 0].sum() / ((logits > 0).sum() + sure.sum())
    assert chosen == pytest.approx(best, abs=1e-3)
    assert chosen >= plain
    assert softness < 6 or chosen > plain + 0.01


def test_a_sure_mask_stays_as_it_is_and_a_guess_is_not_without_bounds() -> None:
    logits = torch.randn((2, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    shown = for_best_dice(logits, torch.tensor([[1.0], [0.0]]))
    assert torch.equal(shown[0], logits[0])
    assert torch.allclose(shown[1], logits[1] - np.log(MIN_IOU))
