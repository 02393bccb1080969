"""Logit lens: what the model's own head reads in every image token."""

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
from diffcam_core.models.llada import Backbone
from diffcam_core.probing import Prober, Target

_ROWS = 256
"""Rows whose logits over the whole vocabulary exist together."""


@torch.no_grad()
def logit_lens(
    backbone: Backbone,
    states: Tensor,
    targets: Sequence[Target],
    distractors: Tensor,
    suppressed: Sequence[int] = (),
) -> Tensor:
    """Score every image token as if it stood at the target's position.

    Parameters
    ----------
    backbone : Backbone
    states : Tensor
        (N, d), output of one block on the image span.
    targets : sequence of Target
        K of them.
    distractors : Tensor
        (K,) int64, token subtracted from each target, -1 where there is none.
    suppressed : sequence of int
        Ids that cannot be predicted; they do not count in a log-probability.

    Returns
    -------
    Tensor
        (K, N), float32 at least: final norm and head at each token, the logit of the target's
        token, less its contrast at the same token.

    Notes
    -----
    Source: nostalgebraist, interpreting GPT: the logit lens, 2020; read at image tokens, it is the
    first step of TAM (ICCV 2025) before anything is clipped.
    """
    own = torch.tensor([t.token_id for t in targets], dtype=torch.long, device=states.device)
    values = backbone.head_for(states, own).T
    rivals = distractors.to(states.device)
    with_rival = (rivals >= 0)[:, None]
    values = values - torch.where(
        with_rival, backbone.head_for(states, rivals.clamp(min=0)).T, torch.zeros_like(values)
    )
    relative = [k for k, target in enumerate(targets) if target.contrast == "log_probability"]
    if relative:
        values[relative] -= _log_total(backbone, states, suppressed).to(values.dtype)
    return values


def _log_total(backbone: Backbone, states: Tensor, suppressed: Sequence[int]) -> Tensor:
    """Log of the sum of exponentials over all tokens that may be predicted, (N,)."""
    parts = []
    forbidden = torch.tensor(sorted(suppressed), dtype=torch.long, device=states.device)
    for rows in torch.split(states, _ROWS):
        logits = backbone.head(rows)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        parts.append(wide.index_fill(1, forbidden, -torch.inf).logsumexp(-1))
    return torch.cat(parts)


def _compute(prober: Prober, evidence: StepEvidence) -> dict[int, dict[str, FloatArray]]:
    layout = prober.trajectory.prompt.layout
    span = slice(*layout.span)
    return {
        layer: on_grids(
            logit_lens(
                prober.model.backbone,
                evidence.states.prompt[layer + 1][span],
                evidence.targets,
                evidence.scores.distractors,
                prober.model.suppressed_ids,
            ),
            layout,
        )
        for layer in prober.layers
    }


LOGIT_LENS = Method(
    name="logit-lens",
    title="Logit lens",
    source="nostalgebraist, interpreting GPT: the logit lens (2020), at the image tokens",
    sign="signed",
    cost="one forward pass a step, and the head at every image token of every layer",
    passes=one_forward_a_step,
    regimes=BOTH_REGIMES,
    stream=from_states(_compute),
    reads="states alone: final norm and head at each image token",
    use="a fast look at all words and layers, the last one included",
    avoid="how the answer came about: it shows what a token says, not who read it",
    needs_gradient=False,
)
