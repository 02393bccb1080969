"""Attention whose backward is shared by many targets.

A stock attention kernel is differentiated once per target and computes its attention weights
anew each time. With :class:`SharedAttention` in force, the forward keeps nothing but q, k, v and
the output, and one backward computes the weights once for a whole batch of targets. It is a
``TorchFunctionMode``, not a hook and not a global switch: it acts in the present thread, inside
the ``with`` block, on whatever model calls ``scaled_dot_product_attention``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Entries of one slab of (targets x heads x queries x keys). On a CPU a slab stays in the cache.
_SLAB_CPU = 2**19
_SLAB_GPU = 2**25


class SharedAttention(TorchFunctionMode):
    """Replace plain ``scaled_dot_product_attention`` calls; masked or causal ones stay stock."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Divert the one function, pass every other one on."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and _is_plain(*args, **kwargs):
            return _attend(*args, **kwargs)
        return func(*args, **kwargs)


def _is_plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> bool:
    del enable_gqa
    whole = attn_mask is None and not is_causal and dropout_p == 0.0 and scale is None
    return whole and query.dim() == key.dim() == value.dim() == 4


def _attend(
    query: Tensor, key: Tensor, value: Tensor, *_: object, enable_gqa: bool = False, **__: object
) -> Tensor:
    if enable_gqa:
        repeats = query.shape[1] // key.shape[1]
        key = key.repeat_interleave(repeats, dim=1)
        value = value.repeat_interleave(repeats, dim=1)
    mixed: Tensor = _Attend.apply(query, key, value)  # type: ignore[no-untyped-call]
    return mixed


class _Attend(torch.autograd.Function):
    """Stock attention forwards, :class:`_AttendBackward` backwards."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        return _AttendBackward.apply(cotangent, *ctx.saved_tensors)  # type: ignore[no-untyped-call]


class _AttendBackward(torch.autograd.Function):
    """Cotangents of q, k and v; knows how to take many cotangents of the output at once."""

    @staticmethod
    def forward(
        cotangent: Tensor, query: Tensor, key: Tensor, value: Tensor, mixed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        dq, dk, dv = _pull_back(cotangent[None], query, key, value, mixed)
        return dq[0], dk[0], dv[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        """Nothing to keep: second derivatives are never asked for."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        cotangent: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mixed: Tensor,
    ) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, int, int]]:
        # Only the cotangent differs between targets: they share one forward pass.
        assert in_dims[0] is not None
        assert all(dim is None for dim in in_dims[1:])
        del info
        batched = cotangent.movedim(in_dims[0], 0)
        return _pull_back(batched, query, key, value, mixed), (0, 0, 0)


def _pull_back(
    cotangent: Tensor, query: Tensor, key: Tensor, value: Tensor, mixed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pull (c, B, H, Q, D) back through attention; q, k, v and its output are (B, H, ·, D).

    With weights A = softmax(s q k') and cotangent g of A v:
    dv = A' g;  dS = A * (g v' - rowsum(g * A v));  dq = s dS k;  dk = s dS' q.
    """
    c, batch, heads, n_query, depth = cotangent.shape
    n_key = key.shape[2]
    wide = torch.promote_types(query.dtype, torch.float32)
    scale = depth**-0.5
    q, k, v, o = (t.reshape(batch * heads, -1, depth) for t in (query, key, value, mixed))
    g = cotangent.reshape(c, batch * heads, n_query, depth).transpose(0, 1)
    dq = g.new_empty(batch * heads, c, n_query, depth)
    dk, dv = (g.new_empty(batch * heads, c, n_key, depth) for _ in range(2))

    slab = _SLAB_CPU if query.device.type == "cpu" else _SLAB_GPU
    group = max(1, slab // (c * n_query * n_key))
    for start in range(0, batch * heads, group):
        part = slice(start, start + group)
        n = q[part].shape[0]
        scaled_q, scaled_k = q[part] * scale, k[part] * scale
        weights = torch.bmm(scaled_q, k[part].mT).softmax(-1, dtype=wide)
        gp = g[part].contiguous()
        rowsum = (gp.to(wide) * o[part, None].to(wide)).sum(-1, keepdim=True)
        ds = torch.bmm(gp.view(n, c * n_query, depth), v[part].mT).view(n, c, n_query, n_key)
        ds = ((ds.to(wide) - rowsum).mul_(weights[:, None])).to(q.dtype)
        dq[part] = torch.bmm(ds.view(n, c * n_query, n_key), scaled_k).view(n, c, n_query, depth)
        dk[part] = torch.matmul(ds.mT, scaled_q[:, None])
        dv[part] = torch.matmul(weights.to(q.dtype).mT[:, None], gp)
    return (
        dq.transpose(0, 1).reshape(c, batch, heads, n_query, depth),
        dk.transpose(0, 1).reshape(c, batch, heads, n_key, depth),
        dv.transpose(0, 1).reshape(c, batch, heads, n_key, depth),
    )
