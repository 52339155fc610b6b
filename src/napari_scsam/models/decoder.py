"""SAM's mask decoder (Kirillov et al., 2023, figure 14) with its sums in a cheaper order.

An image has 4,096 places and a prompt a handful of tokens. SAM projects every place to the
keys, queries and values of each attention; here the projection is moved to the tokens' side,
where ``q . (W x) = (W' q) . x``. What comes out is the same but for rounding, in less than
half of the products and without the large arrays between them.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

# What is estimated lower than this is a guess, too.
LEAST_IOU = 0.1


def decode_mask(
    decoder: nn.Module, image: Tensor, position: Tensor, sparse: Tensor, dense: Tensor
) -> tuple[Tensor, Tensor]:
    """One mask for each prompt; see `segment_anything.modeling.MaskDecoder.forward`.

    Gradients flow as through the decoder itself, adapted by peft or not.

    Parameters
    ----------
    decoder : MaskDecoder
    image : Tensor of shape (B or 1, C, side, side)
        Embeddings.
    position : Tensor of shape (1, C, side, side)
        Position code of the embedding's grid.
    sparse : Tensor of shape (B, T, C)
        Tokens of the points and boxes.
    dense : Tensor of shape (B, C, side, side)
        Of the mask that the prompt holds, or of none.

    Returns
    -------
    logits : Tensor of shape (B, 1, 4 * side, 4 * side)
    iou : Tensor of shape (B, 1)
        SAM's own estimate.
    """
    parts = cast("Any", decoder)
    side = image.shape[-1]
    own = torch.cat([parts.iou_token.weight, parts.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
    places = _in_working_precision(_as_places(image + dense))
    position = _in_working_precision(_as_places(position))
    tokens, places = _attend(parts.transformer, tokens, places, position)
    # Of the four masks that the decoder can draw, the first is that of an unambiguous prompt.
    brush = parts.output_hypernetworks_mlps[0](tokens[:, 1])
    logits = _draw(parts.output_upscaling, places, brush, side)
    return logits, parts.iou_prediction_head(tokens[:, 0])[:, :1]


def for_best_dice(logits: Tensor, iou: Tensor) -> Tensor:
    """Logits moved so that ``> 0`` draws the mask whose Dice is the best to be expected.

    Where probabilities mean what they say, that mask is not all above 0.5 but all above half of
    the Dice that it will have (Lipton, Elkan and Naryanaswamy, ECML 2014, theorem 1). With
    SAM's own estimate, Dice is 2 IoU / (1 + IoU): the log-odds of half of that is log IoU. A
    mask that SAM is sure of stays as it is; an unsure one is drawn larger. For a first answer, to
    points or a box: one that goes on from an outline, and the next from it, would grow.

    Parameters
    ----------
    logits : Tensor of shape (B, 1, side, side)
        Of a decoder that learned from cross-entropy.
    iou : Tensor of shape (B, 1) or (B,)
        SAM's own estimate. No gradient flows to it.
    """
    return logits - iou.detach().clamp(LEAST_IOU, 1).log().view(-1, 1, 1, 1)


def _in_working_precision(places: Tensor) -> Tensor:
    """In that of the products, where autocast is on: it would convert so many numbers each time."""
    kind = places.device.type
    if not torch.is_autocast_enabled(kind):
        return places
    return places.to(torch.get_autocast_dtype(kind))


def _as_places(grid: Tensor) -> Tensor:
    """(B, C, rows, cols) as (B, rows * cols, C)."""
    return grid.flatten(2).transpose(1, 2).contiguous()


def _attend(
    transformer: Any, first: Tensor, places: Tensor, position: Tensor
) -> tuple[Tensor, Tensor]:
    """Let tokens and places look at one another; returns both."""
    tokens = first
    for layer in transformer.layers:
        # The first layer's tokens are their own position code.
        asked = tokens if layer.skip_first_layer_pe else tokens + first
        seen = layer.self_attn(q=asked, k=asked, v=tokens)
        tokens = layer.norm1(seen if layer.skip_first_layer_pe else tokens + seen)
        placed = places + position
        seen = _tokens_look(layer.cross_attn_token_to_image, tokens + first, placed, places)
        tokens = layer.norm2(tokens + seen)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        places = layer.norm4(
            _places_look(layer.cross_attn_image_to_token, places, placed, tokens + first, tokens)
        )
    last = transformer.final_attn_token_to_image
    seen = _tokens_look(last, tokens + first, places + position, places)
    return transformer.norm_final_attn(tokens + seen), places


def _tokens_look(attention: Any, asking: Tensor, placed: Tensor, places: Tensor) -> Tensor:
    """Tokens (B, T, C) attend to places (B, N, C): (B, T, C)."""
    heads = attention.num_heads
    asked = _heads(attention.q_proj(asking), heads)
    # A bias of the keys adds the same to every place, which the softmax takes out again.
    asked = asked @ _by_head(attention.k_proj, heads) / math.sqrt(asked.shape[-1])
    weights = (asked.flatten(1, 2) @ placed.transpose(1, 2)).softmax(dim=-1)
    mixed = torch.unflatten(weights @ places, 1, (heads, -1))
    found = mixed @ _by_head(attention.v_proj, heads).transpose(1, 2)
    found = found.transpose(1, 2).flatten(2) + attention.v_proj.bias
    return cast("Tensor", attention.out_proj(found))


def _places_look(
    attention: Any, places: Tensor, placed: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """Places (B, N, C) attend to tokens (B, T, C), and are added: (B, N, C)."""
    heads = attention.num_heads
    keyed = _heads(attention.k_proj(keys), heads)
    keyed = keyed / math.sqrt(keyed.shape[-1])
    folded = keyed @ _by_head(attention.q_proj, heads)
    always = keyed @ attention.q_proj.bias.view(heads, -1, 1)
    scores = torch.unflatten(folded.flatten(1, 2) @ placed.transpose(1, 2), 1, (heads, -1))
    weights = (scores + always).softmax(dim=2).flatten(1, 2)
    given = _heads(attention.v_proj(values), heads) @ _by_head(
        attention.out_proj, heads, of_input=True
    )
    # Each head's weights sum to one, so that the first can bring the bias.
    bias = torch.zeros(heads, 1, 1).to(given)
    bias[0] = 1
    given = (given + bias * attention.out_proj.bias).flatten(1, 2)
    shown: Tensor = weights.transpose(1, 2) @ given
    return places + shown


def _heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, heads * D) as (B, heads, T, D)."""
    return torch.unflatten(x, 2, (heads, -1)).transpose(1, 2)


def _by_head(layer: nn.Module, heads: int, *, of_input: bool = False) -> Tensor:
    """Weights of a projection to heads, or `of_input` from heads: (heads, D, C)."""
    matrix = _matrix(layer)
    return torch.unflatten(matrix.T if of_input else matrix, 0, (heads, -1))


def _matrix(layer: Any) -> Tensor:
    """What a linear layer multiplies with, of shape (out, in), an adapter inside it included."""
    if type(layer) is nn.Linear:
        return layer.weight
    unit = torch.eye(layer.in_features).to(layer.weight)
    return cast("Tensor", (layer(unit) - layer.bias).T)


def _draw(upscaling: Any, places: Tensor, brush: Tensor, side: int) -> Tensor:
    """Logits (B, 1, 4 * side, 4 * side): the places twice twofold finer, along the brush.

    A transposed convolution that is as wide as its step makes four finer places of each,
    which stay side by side until there is but one number for each of them.
    """
    # By name: a module that peft trains whole stands in for the sequence without being one.
    first, norm, gelu, second, last_gelu = (getattr(upscaling, str(i)) for i in range(5))
    fine = functional.layer_norm(
        _quarter(first, places), norm.weight.shape, norm.weight, norm.bias, norm.eps
    )
    finer = last_gelu(_quarter(second, gelu(fine)))
    drawn: Tensor = (finer.flatten(1, -2) @ brush[:, :, None]).view(-1, side, side, 2, 2, 2, 2)
    return drawn.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, 1, 4 * side, 4 * side)


def _quarter(conv: Any, x: Tensor) -> Tensor:
    """(..., C) as (..., 4, D): what the convolution makes of each place, row by row."""
    into, out = conv.weight.shape[:2]
    matrix = conv.weight.permute(2, 3, 1, 0).reshape(4 * out, into)
    bias = conv.bias.repeat(4)
    return torch.unflatten(functional.linear(x, matrix, bias), -1, (4, out))
