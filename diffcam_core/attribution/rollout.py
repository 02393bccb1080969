"""Attention rollout: attention of all blocks together, from a target down to the image tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from diffcam_core.attribution.attention import refuse_input
from diffcam_core.attribution.from_states import StepEvidence, from_states
from diffcam_core.attribution.method import (
    BOTH_REGIMES,
    FloatArray,
    Method,
    Passes,
    Workload,
    on_grids,
)
from diffcam_core.models.llada import Backbone, attention_rows
from diffcam_core.probing import Prober
from diffcam_core.probing.forward import StepStates

_ENTRIES = 2**24
"""Attention weights (heads x rows x keys) that exist together."""


@torch.no_grad()
def rollout(
    backbone: Backbone, states: StepStates, positions: Sequence[int], lowest: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """Follow attention from answer positions downwards, block by block.

    With the head mean A of a block, ``A' = 0.5 A + 0.5 I`` stands for attention and residual
    stream, and the row of a target in ``A'_top ... A'_l`` says how much of it comes from each token
    that block l reads.

    Parameters
    ----------
    backbone : Backbone
    states : StepStates
        Of the step in question.
    positions : sequence of int
        K positions of the answer.
    lowest : int
        Last block to go through.

    Yields
    ------
    (int, Tensor)
        Block l from the top down, and (K, P + L) shares, float32 at least, that sum to 1.

    Notes
    -----
    Source: Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020, section 3
    (attention rollout). Theirs multiplies whole matrices; only the targets' rows are wanted here,
    so K row vectors go through each block and no (P + L) x (P + L) matrix is ever kept. With
    prefix cache the prompt's tokens attend to the prompt alone.
    """
    length, n_answer = len(states.prompt[0]), len(states.answer[0])
    wide = torch.promote_types(states.answer[0].dtype, torch.float32)
    flow = states.answer[0].new_zeros(len(positions), length + n_answer, dtype=wide)
    for row, position in zip(flow, positions, strict=True):
        row[length + position] = 1
    for block in reversed(range(lowest, backbone.n_layers)):
        prompt, answer = states.prompt[block], states.answer[block]
        if states.prompt_keys is None:
            mixed = _through(backbone, block, torch.cat((prompt, answer)), None, flow)
        else:
            mixed = _through(backbone, block, answer, states.prompt_keys[block], flow[:, length:])
            mixed[:, :length] += _through(backbone, block, prompt, None, flow[:, :length])
        flow = (flow + mixed) / 2
        yield block, flow


def _through(
    backbone: Backbone, block: int, x: Tensor, past_key: Tensor | None, flow: Tensor
) -> Tensor:
    """Send (K, T) shares of the rows of x through a block's attention: (K, S) shares of keys."""
    q, k = backbone.queries_and_keys(block, x[None], past_key)
    heads, n_rows = q.shape[1:3]
    # A row that nothing flows through needs no weights: at the top that is nearly all of them.
    needed = (flow != 0).any(0).nonzero()[:, 0]
    found = flow.new_zeros(len(flow), k.shape[2])
    size = max(1, _ENTRIES // (heads * k.shape[2]))
    for rows in torch.split(needed, min(size, n_rows)):
        found += flow[:, rows] @ attention_rows(q, k, rows)[0].mean(0).to(flow.dtype)
    return found


def _compute(prober: Prober, evidence: StepEvidence) -> dict[int, dict[str, FloatArray]]:
    refuse_input(prober.layers)
    layout = prober.trajectory.prompt.layout
    positions = [target.position for target in evidence.targets]
    found = {
        block: on_grids(flow[:, slice(*layout.span)], layout)
        for block, flow in rollout(
            prober.model.backbone, evidence.states, positions, min(prober.layers)
        )
        if block in prober.layers
    }
    return {layer: found[layer] for layer in prober.layers}


def _passes(work: Workload) -> Passes:
    # The states, then every block's attention again, which is less than a second pass.
    return Passes(forward=2 * work.steps, backward=0)


ROLLOUT = Method(
    name="rollout",
    title="Attention rollout",
    source="Abnar and Zuidema, ACL 2020, sec. 3 (attention rollout)",
    sign="positive",
    cost="two forward passes a step, for all targets and layers together",
    passes=_passes,
    regimes=BOTH_REGIMES,
    stream=from_states(_compute),
    reads="queries and keys of the blocks from the top down to block l; layer 0 has them all",
    use="the classic attention baseline over the whole depth",
    avoid="telling words apart: values, MLPs and the word itself do not enter",
    needs_gradient=False,
    first_layer=0,
    reads_score=False,
)
