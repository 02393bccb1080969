"""One prefix, many differently masked copies of its answer, in a single forward pass.

Equal to running the backbone on every copy with the prefix as its cache
(`check_against_backbone` proves it), but the prefix is never repeated in
memory and all matrix products run over prefix and copies together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffcam_core.models.llada import Backbone, Block


def copies_logits(backbone: Backbone, prefix: Tensor, copies: Tensor) -> Tensor:
    """Logits of every copy.

    Parameters
    ----------
    backbone : Backbone
        The language model.
    prefix : Tensor
        (B, P, d) embeddings of prompt and image.
    copies : Tensor
        (B, M, L, d) embeddings of M masked answers.

    Returns
    -------
    Tensor
        (B, M, L, vocabulary).
    """
    batch, n_copies, length, width = copies.shape
    split = prefix.shape[1]
    x = torch.cat((prefix, copies.reshape(batch, n_copies * length, width)), dim=1)
    for block in backbone.blocks:
        x = _block(block, backbone, x, split, n_copies)
    return backbone.head(x[:, split:]).view(batch, n_copies, length, -1)


def _block(block: Block, backbone: Backbone, x: Tensor, split: int, n_copies: int) -> Tensor:
    normed = block.attn_norm(x)
    batch, total, _ = x.shape
    length = (total - split) // n_copies

    def heads(projected: Tensor) -> tuple[Tensor, Tensor]:
        shaped = projected.view(batch, total, block.n_heads, block.head_dim).transpose(1, 2)
        own = shaped[:, :, split:].reshape(batch, -1, n_copies, length, block.head_dim)
        return shaped[:, :, :split], own

    q_prefix, q_own = heads(block.q_proj(normed))
    k_prefix, k_own = heads(block.k_proj(normed))
    v_prefix, v_own = heads(block.v_proj(normed))
    rotate = backbone.rotary.rotate
    q_prefix, k_prefix = rotate(q_prefix, 0), rotate(k_prefix, 0)
    q_own, k_own = rotate(q_own, split), rotate(k_own, split)
    scale = block.head_dim**-0.5
    mixed_prefix = _softmax(q_prefix @ k_prefix.transpose(-1, -2) * scale) @ v_prefix
    flat = q_own.reshape(batch, block.n_heads, n_copies * length, block.head_dim)
    to_prefix = (flat @ k_prefix.transpose(-1, -2)).view(*q_own.shape[:4], split)
    weights = _softmax(torch.cat((to_prefix, q_own @ k_own.transpose(-1, -2)), dim=-1) * scale)
    from_prefix = (
        weights[..., :split].reshape(batch, block.n_heads, n_copies * length, split) @ v_prefix
    )
    mixed_own = from_prefix + (weights[..., split:] @ v_own).view_as(from_prefix)
    mixed = torch.cat((mixed_prefix, mixed_own), dim=2)
    x = x + block.attn_out(mixed.transpose(1, 2).reshape(batch, total, -1))
    normed = block.ff_norm(x)
    return x + block.ff_out(F.silu(block.ff_proj(normed)) * block.up_proj(normed))


def _softmax(scores: Tensor) -> Tensor:
    # Autocast would widen the scores to float32 and double the traffic of the largest tensors.
    with torch.autocast("cpu", enabled=False):
        return scores.softmax(-1)


@torch.no_grad()
def check_against_backbone(backbone: Backbone, prefix: Tensor, copies: Tensor) -> float:
    """Largest difference between `copies_logits` and the backbone with a prefix cache."""
    fast = copies_logits(backbone, prefix, copies)
    past = backbone(prefix, use_cache=True, logits_at=[]).past
    batch, n_copies, length, width = copies.shape
    slow = backbone(copies.reshape(batch * n_copies, length, width), past=past).logits
    return float((fast.reshape_as(slow) - slow).abs().max())
