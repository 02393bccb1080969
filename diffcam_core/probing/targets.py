"""Target scores: which number is differentiated, and how it follows from the logits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffcam_core.errors import TargetError

Contrast = Literal["none", "runner_up", "log_probability"] | int
"""What a logit is compared with: nothing, the best other token, a chosen token id, or all."""

_NAMED: tuple[str, ...] = ("none", "runner_up", "log_probability")


@dataclass(frozen=True)
class Target:
    """One score: a token at an answer position, and what it is set against.

    Attributes
    ----------
    position : int
        Position in the answer canvas, from 0.
    token_id : int
        The token whose logit is differentiated (for an explanation, the final one there).
    contrast : "none", "runner_up", "log_probability" or int
        "none": the logit alone. "runner_up": minus the logit of the best other token at the same
        position, among those that the sampler may write. An int: minus the logit of that token
        id. "log_probability": minus the log-sum-exp over all tokens that may be predicted.
    """

    position: int
    token_id: int
    contrast: Contrast | str = "none"


def check_targets(
    targets: Sequence[Target], n_positions: int, vocab_size: int, suppressed: Collection[int]
) -> None:
    """Raise TargetError, naming the first target that cannot be scored."""
    for target in targets:
        where = f"position {target.position}"
        if not 0 <= target.position < n_positions:
            raise TargetError(
                f"the answer has no {where}", f"Choose a position from 0 to {n_positions - 1}."
            )
        if not 0 <= target.token_id < vocab_size:
            raise TargetError(
                f"token id {target.token_id} at {where} is not in the vocabulary",
                f"Token ids go from 0 to {vocab_size - 1}.",
            )
        contrast = target.contrast
        if isinstance(contrast, str):
            if contrast not in _NAMED:
                raise TargetError(
                    f"there is no contrast {contrast!r}",
                    f"Choose one of {', '.join(_NAMED)}, or a token id.",
                )
            if contrast == "log_probability" and target.token_id in suppressed:
                raise TargetError(
                    f"token id {target.token_id} at {where} can never be written, so it has no "
                    "log-probability",
                    "Use another contrast for it.",
                )
        elif not 0 <= contrast < vocab_size or contrast == target.token_id:
            raise TargetError(
                f"token id {contrast} cannot be the distractor at {where}",
                "Choose another token of the vocabulary than the target itself.",
            )


def score(
    logits: Tensor,
    targets: Sequence[Target],
    *,
    mask_id: int,
    suppressed: Collection[int] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """Turn logits at the targets' positions into scores.

    Parameters
    ----------
    logits : Tensor
        (K, V), row k at the position of target k. Scores are computed in float32 at least.
    targets : sequence of Target
        K of them.
    mask_id : int
        Never a runner-up, since it cannot be written; it counts in the softmax, as it does for
        the sampler's confidence.
    suppressed : collection of int
        Ids of probability 0.

    Returns
    -------
    scores : Tensor
        (K,), differentiable.
    probabilities : Tensor
        (K,) float64, detached: probability of each target's token, as the sampler sees it.
    distractors : Tensor
        (K,) int64: the token id that was subtracted, -1 where there is none.
    """
    rows = torch.arange(len(targets), device=logits.device)
    ids = [target.token_id for target in targets]
    own = torch.tensor(ids, dtype=torch.long, device=logits.device)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    allowed = wide
    if suppressed:
        forbidden = torch.tensor(sorted(suppressed), device=logits.device)
        allowed = wide.index_fill(1, forbidden, -torch.inf)
    with torch.no_grad():
        others = allowed.detach().clone()
        others[rows, own] = -torch.inf
        if 0 <= mask_id < others.shape[1]:
            others[:, mask_id] = -torch.inf
        runner_up = others.argmax(-1)
        probabilities = allowed.detach().to(torch.float64).softmax(-1)[rows, own]

    scores = wide[rows, own]
    distractors = torch.full_like(own, -1)
    for k, target in enumerate(targets):
        if target.contrast == "runner_up":
            distractors[k] = runner_up[k]
        elif not isinstance(target.contrast, str):
            distractors[k] = target.contrast
    contrasted = distractors >= 0
    if bool(contrasted.any()):
        rival = wide[rows, distractors.clamp(min=0)]
        scores = scores - torch.where(contrasted, rival, torch.zeros_like(rival))
    relative = [k for k, target in enumerate(targets) if target.contrast == "log_probability"]
    if relative:
        total = torch.zeros_like(scores)
        total[relative] = allowed[relative].logsumexp(-1)
        scores = scores - total
    return scores, probabilities, distractors
