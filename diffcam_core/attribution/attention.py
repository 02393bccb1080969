"""Raw attention: where a target's query looks in one block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffcam_core.attribution.from_states import StepEvidence, from_states
from diffcam_core.attribution.method import (
    BOTH_REGIMES,
    FloatArray,
    Method,
    on_grids,
    one_forward_a_step,
)
from diffcam_core.errors import TargetError
from diffcam_core.models.llada import Backbone
from diffcam_core.probing import Prober
from diffcam_core.probing.forward import StepStates


@torch.no_grad()
def target_attention(
    backbone: Backbone, states: StepStates, block: int, positions: Sequence[int]
) -> Tensor:
    """Attention of answer positions over prompt and answer, averaged over heads.

    Parameters
    ----------
    backbone : Backbone
    states : StepStates
        Of the step in question.
    block : int
        Whose queries and keys are compared.
    positions : sequence of int
        K positions of the answer.

    Returns
    -------
    Tensor
        (K, P + L), float32 at least; rows sum to 1.

    Notes
    -----
    Computed from q and k of these rows, since no kernel in use hands out its weights.
    """
    answer, prompt = states.answer[block], states.prompt[block]
    rows = torch.tensor(list(positions), dtype=torch.long, device=answer.device)
    if states.prompt_keys is not None:
        past = states.prompt_keys[block]
        weights = backbone.attention_weights(block, answer[None], rows, past)
    else:
        whole = torch.cat((prompt, answer))
        weights = backbone.attention_weights(block, whole[None], rows + len(prompt))
    return weights[0].mean(0)


def refuse_input(layers: Sequence[int]) -> None:
    """Raise TargetError if a layer has no block, and so no attention."""
    if min(layers) < 0:
        raise TargetError(
            "the input of the model has no attention", "Choose layers from 0 upwards."
        )


def _compute(prober: Prober, evidence: StepEvidence) -> dict[int, dict[str, FloatArray]]:
    refuse_input(prober.layers)
    layout = prober.trajectory.prompt.layout
    positions = [target.position for target in evidence.targets]
    return {
        layer: on_grids(
            target_attention(prober.model.backbone, evidence.states, layer, positions)[
                :, slice(*layout.span)
            ],
            layout,
        )
        for layer in prober.layers
    }


ATTENTION = Method(
    name="attention",
    title="Attention",
    source="Vaswani et al., arXiv 1706.03762, sec. 3.2.1; head mean, as commonly shown",
    sign="positive",
    cost="one forward pass a step, and one row of weights for each target and layer",
    passes=one_forward_a_step,
    regimes=BOTH_REGIMES,
    stream=from_states(_compute),
    reads="queries and keys: weights of block l from the target's position, which reads layer l-1",
    use="which image tokens one block looks at, sinks included",
    avoid="as evidence of use: a token can be looked at and change nothing",
    needs_gradient=False,
    first_layer=0,
    reads_score=False,
)
