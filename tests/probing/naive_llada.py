"""An independent LLaDA and an independent derivative: slow, one target and one layer at a time.

Written from the description of the model alone; shares no code with the package.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def _turn(x: Tensor, first: int, theta: float) -> Tensor:
    """Rotate pairs (i, i + half) of (heads, T, depth) by position times frequency."""
    _, length, depth = x.shape
    half = depth // 2
    frequency = 1.0 / theta ** (torch.arange(0, depth, 2, dtype=torch.float32) / depth)
    angle = torch.outer(torch.arange(first, first + length, dtype=torch.float32), frequency)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class NaiveLlada:
    def __init__(self, backbone) -> None:
        self.w = {name: tensor.detach() for name, tensor in backbone.state_dict().items()}
        self.c = backbone.config

    def block(self, i: int, x: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Output rows of block i for x (T, d); ``prefix`` (P, d) is the block's input before x."""
        w, c, p = self.w, self.c, f"blocks.{i}."
        seen = x if prefix is None else torch.cat((prefix, x))
        shift = 0 if prefix is None else len(prefix)

        def heads(rows: Tensor, name: str, n: int) -> Tensor:
            rows = _norm(rows, w[p + "attn_norm.weight"], c.rms_norm_eps)
            return (rows @ w[p + name + ".weight"].T).reshape(len(rows), n, -1).transpose(0, 1)

        q = _turn(heads(x, "q_proj", c.n_heads), shift, c.rope_theta)
        k = _turn(heads(seen, "k_proj", c.n_kv_heads), 0, c.rope_theta)
        v = heads(seen, "v_proj", c.n_kv_heads)
        mixed = []
        for h in range(c.n_heads):
            g = h * c.n_kv_heads // c.n_heads
            weights = torch.softmax(q[h] @ k[g].T / math.sqrt(q.shape[-1]), -1)
            mixed.append(weights @ v[g])
        x = x + torch.cat(mixed, -1) @ w[p + "attn_out.weight"].T
        y = _norm(x, w[p + "ff_norm.weight"], c.rms_norm_eps)
        gate = y @ w[p + "ff_proj.weight"].T
        up = y @ w[p + "up_proj.weight"].T
        return x + (gate * torch.sigmoid(gate) * up) @ w[p + "ff_out.weight"].T

    def logits(
        self,
        prompt: Tensor,
        ids: Tensor,
        cached: bool,
        layer: int | None = None,
        span: tuple[int, int] = (0, 0),
        change: Tensor | None = None,
    ) -> Tensor:
        """Logits (L, V) of the answer, after adding ``change`` to block ``layer`` on the span."""
        n = len(prompt)
        before, answer = prompt, self.w["wte.weight"][ids]
        for i in range(self.c.n_layers):
            if cached:
                after = self.block(i, before)
                answer = self.block(i, answer, before)
            else:
                both = self.block(i, torch.cat((before, answer)))
                after, answer = both[:n], both[n:]
            if i == layer and change is not None:
                shift = torch.zeros_like(after)
                shift[span[0] : span[1]] = 1
                padded = torch.zeros_like(after)
                padded = torch.index_copy(padded, 0, torch.arange(*span), change)
                after = after + padded * shift
            before = after
        final = _norm(answer, self.w["ln_f.weight"], self.c.rms_norm_eps)
        head = self.w["wte.weight"] if self.c.weight_tying else self.w["ff_out.weight"]
        return final @ head.T

    def score(self, logits: Tensor, target, mask_id: int, suppressed=()) -> Tensor:
        row = logits[target.position]
        own = row[target.token_id]
        if target.contrast == "none":
            return own
        if target.contrast == "log_probability":
            keep = [i for i in range(len(row)) if i not in suppressed]
            return own - torch.logsumexp(row[keep], 0)
        if target.contrast == "runner_up":
            rivals = [
                i for i in range(len(row)) if i not in {target.token_id, mask_id, *suppressed}
            ]
            return own - max((row[i] for i in rivals), key=lambda value: value.item())
        return own - row[target.contrast]

    def gradient(self, prompt, ids, cached, layer, span, target, mask_id, suppressed=()) -> Tensor:
        """Gradient (N, d) of one score at one layer, by recomputing everything."""
        width = prompt.shape[1]
        change = torch.zeros(span[1] - span[0], width, dtype=prompt.dtype, requires_grad=True)
        value = self.score(
            self.logits(prompt, ids, cached, layer, span, change), target, mask_id, suppressed
        )
        if not value.requires_grad:
            return torch.zeros_like(change)
        (found,) = torch.autograd.grad(value, change)
        return found
