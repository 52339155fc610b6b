"""SAM's mask decoder (Kirillov et al., 2023, figure 14) with its products in a cheaper order.

An embedding has 4,096 positions and a prompt a handful of tokens. SAM projects every position to
the keys, queries and values of each attention. Here the projection is moved to the tokens' side,
using ``q . (W x) = (W' q) . x``. The result is the same up to rounding, with less than half of the
multiplications and without large intermediate arrays.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

# Predicted IoUs below this value are not reliable. Arbitrary.
MIN_IOU = 0.1


def decode_mask(
    decoder: nn.Module, image: Tensor, position: Tensor, sparse: Tensor, dense: Tensor
) -> tuple[Tensor, Tensor]:
    """Decode one mask per prompt; see `segment_anything.modeling.MaskDecoder.forward`.

    Gradients flow as through the original decoder, with or without peft adapters.

    Parameters
    ----------
    decoder : MaskDecoder
    image : Tensor of shape (B or 1, C, side, side)
        Embeddings.
    position : Tensor of shape (1, C, side, side)
        Positional encoding of the embedding's grid.
    sparse : Tensor of shape (B, T, C)
        Tokens of points and boxes.
    dense : Tensor of shape (B, C, side, side)
        Encoding of the mask prompt, or of no mask.

    Returns
    -------
    logits : Tensor of shape (B, 1, 4 * side, 4 * side)
    iou : Tensor of shape (B, 1)
        IoU predicted by SAM.
    """
    parts = cast("Any", decoder)
    side = image.shape[-1]
    own = torch.cat([parts.iou_token.weight, parts.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
    image_tokens = _to_autocast_precision(_flattened(image + dense))
    position = _to_autocast_precision(_flattened(position))
    tokens, image_tokens = _attend(parts.transformer, tokens, image_tokens, position)
    # Of the decoder's four masks, the first is for unambiguous prompts.
    mask_token = parts.output_hypernetworks_mlps[0](tokens[:, 1])
    logits = _upscale(parts.output_upscaling, image_tokens, mask_token, side)
    return logits, parts.iou_prediction_head(tokens[:, 0])[:, :1]


def for_best_dice(logits: Tensor, iou: Tensor) -> Tensor:
    """Shift logits so that ``> 0`` is the mask with the best expected Dice.

    For calibrated probabilities this mask is not ``> 0.5``, but above half of the Dice that it will
    have (Lipton, Elkan and Naryanaswamy, ECML 2014, theorem 1). With the predicted IoU, Dice is
    2 IoU / (1 + IoU), and the log-odds of half of it is log IoU. So a confident mask stays as it
    is, and an uncertain one becomes larger. This is for the first mask of points or a box; with a
    mask prompt, the mask would grow from one decode to the next.

    Parameters
    ----------
    logits : Tensor of shape (B, 1, side, side)
        From a decoder that was trained with cross-entropy.
    iou : Tensor of shape (B, 1) or (B,)
        IoU predicted by SAM; detached.
    """
    return logits - iou.detach().clamp(MIN_IOU, 1).log().view(-1, 1, 1, 1)


def _to_autocast_precision(image_tokens: Tensor) -> Tensor:
    """Convert to autocast's precision once, instead of before each product."""
    kind = image_tokens.device.type
    if not torch.is_autocast_enabled(kind):
        return image_tokens
    return image_tokens.to(torch.get_autocast_dtype(kind))


def _flattened(grid: Tensor) -> Tensor:
    """Reshape (B, C, rows, cols) to (B, rows * cols, C)."""
    return grid.flatten(2).transpose(1, 2).contiguous()


def _attend(
    transformer: Any, first: Tensor, image_tokens: Tensor, position: Tensor
) -> tuple[Tensor, Tensor]:
    """Run the two-way transformer; returns tokens and positions."""
    tokens = first
    for layer in transformer.layers:
        # The first layer's tokens are their own positional encoding.
        queries = tokens if layer.skip_first_layer_pe else tokens + first
        seen = layer.self_attn(q=queries, k=queries, v=tokens)
        tokens = layer.norm1(seen if layer.skip_first_layer_pe else tokens + seen)
        image_keys = image_tokens + position
        seen = _tokens_to_image(
            layer.cross_attn_token_to_image, tokens + first, image_keys, image_tokens
        )
        tokens = layer.norm2(tokens + seen)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        image_tokens = layer.norm4(
            _image_to_tokens(
                layer.cross_attn_image_to_token, image_tokens, image_keys, tokens + first, tokens
            )
        )
    last = transformer.final_attn_token_to_image
    seen = _tokens_to_image(last, tokens + first, image_tokens + position, image_tokens)
    return transformer.norm_final_attn(tokens + seen), image_tokens


def _tokens_to_image(
    attention: Any, tokens: Tensor, image_keys: Tensor, image_tokens: Tensor
) -> Tensor:
    """Cross-attention of tokens (B, T, C) to positions (B, N, C); returns (B, T, C)."""
    heads = attention.num_heads
    queries = _heads(attention.q_proj(tokens), heads)
    # A key bias adds the same value to all positions, which the softmax cancels.
    queries = queries @ _by_head(attention.k_proj, heads) / math.sqrt(queries.shape[-1])
    weights = (queries.flatten(1, 2) @ image_keys.transpose(1, 2)).softmax(dim=-1)
    mixed = torch.unflatten(weights @ image_tokens, 1, (heads, -1))
    found = mixed @ _by_head(attention.v_proj, heads).transpose(1, 2)
    found = found.transpose(1, 2).flatten(2) + attention.v_proj.bias
    return cast("Tensor", attention.out_proj(found))


def _image_to_tokens(
    attention: Any, image_tokens: Tensor, image_keys: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """Cross-attention of positions (B, N, C) to tokens (B, T, C), with residual; (B, N, C)."""
    heads = attention.num_heads
    keyed = _heads(attention.k_proj(keys), heads)
    keyed = keyed / math.sqrt(keyed.shape[-1])
    folded = keyed @ _by_head(attention.q_proj, heads)
    always = keyed @ attention.q_proj.bias.view(heads, -1, 1)
    scores = torch.unflatten(folded.flatten(1, 2) @ image_keys.transpose(1, 2), 1, (heads, -1))
    weights = (scores + always).softmax(dim=2).flatten(1, 2)
    given = _heads(attention.v_proj(values), heads) @ _by_head(
        attention.out_proj, heads, of_input=True
    )
    # The weights of each head sum to one, so that the first head can add the bias.
    bias = torch.zeros(heads, 1, 1).to(given)
    bias[0] = 1
    given = (given + bias * attention.out_proj.bias).flatten(1, 2)
    shown: Tensor = weights.transpose(1, 2) @ given
    return image_tokens + shown


def _heads(x: Tensor, heads: int) -> Tensor:
    """Reshape (B, T, heads * D) to (B, heads, T, D)."""
    return torch.unflatten(x, 2, (heads, -1)).transpose(1, 2)


def _by_head(layer: nn.Module, heads: int, *, of_input: bool = False) -> Tensor:
    """Return a projection's weights by output head, or `of_input` head: (heads, D, C)."""
    matrix = _matrix(layer)
    return torch.unflatten(matrix.T if of_input else matrix, 0, (heads, -1))


def _matrix(layer: Any) -> Tensor:
    """Return the matrix (out, in) of a linear layer, including its adapter."""
    if type(layer) is nn.Linear:
        return layer.weight
    unit = torch.eye(layer.in_features).to(layer.weight)
    return cast("Tensor", (layer(unit) - layer.bias).T)


def _upscale(upscaling: Any, image_tokens: Tensor, mask_token: Tensor, side: int) -> Tensor:
    """Return logits (B, 1, 4 * side, 4 * side): upscaled positions times the mask token.

    A transposed convolution with kernel size equal to its stride makes four positions of each.
    They are kept side by side until one value per position is left.
    """
    # By name: peft wraps fully trained modules, so this need not be an nn.Sequential.
    first, norm, gelu, second, last_gelu = (getattr(upscaling, str(i)) for i in range(5))
    fine = functional.layer_norm(
        _quarter(first, image_tokens), norm.weight.shape, norm.weight, norm.bias, norm.eps
    )
    finer = last_gelu(_quarter(second, gelu(fine)))
    logits: Tensor = (finer.flatten(1, -2) @ mask_token[:, :, None]).view(
        -1, side, side, 2, 2, 2, 2
    )
    return logits.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, 1, 4 * side, 4 * side)


def _quarter(conv: Any, x: Tensor) -> Tensor:
    """Apply the transposed convolution to each position: (..., C) to (..., 4, D), row by row."""
    into, out = conv.weight.shape[:2]
    matrix = conv.weight.permute(2, 3, 1, 0).reshape(4 * out, into)
    bias = conv.bias.repeat(4)
    return torch.unflatten(functional.linear(x, matrix, bias), -1, (4, out))
