"""How sure the model is of each masked position: the order in which tokens are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

_LOG_FLOOR: Final = 1e-10  # keeps the log of a vanishing probability finite, as published


def certainty(
    rule: str, probabilities: Tensor, candidates: Tensor, generator: torch.Generator
) -> Tensor:
    """Score every position; the highest are written first.

    Parameters
    ----------
    rule : {"low_confidence", "entropy", "margin", "random"}
        Probability of the candidate; negative entropy of the distribution; the largest
        probability minus the second; a random number.
    probabilities : Tensor, float64, shape (B, L, V)
        Distributions without sampling noise.
    candidates : Tensor, int64, shape (B, L)
        The token that would be written at each position.
    generator : torch.Generator
        Source of "random", on the device of `probabilities`; else untouched.

    Returns
    -------
    Tensor, float64, shape (B, L)

    Notes
    -----
    Source: the remasking strategies of LLaDA and LaViDa (Apache-2.0), restated.
    """
    return _RULES[rule](probabilities, candidates, generator)


def _low_confidence(p: Tensor, candidates: Tensor, _generator: torch.Generator) -> Tensor:
    return p.gather(-1, candidates[..., None])[..., 0]


def _entropy(p: Tensor, _candidates: Tensor, _generator: torch.Generator) -> Tensor:
    return (p * torch.log(p + _LOG_FLOOR)).sum(-1)


def _margin(p: Tensor, _candidates: Tensor, _generator: torch.Generator) -> Tensor:
    if p.shape[-1] == 1:
        return p[..., 0]
    best = p.topk(2, dim=-1).values
    return best[..., 0] - best[..., 1]


def _random(p: Tensor, _candidates: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(p.shape[:-1], generator=generator, dtype=torch.float64, device=p.device)


_RULES: Final[dict[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]]] = {
    "low_confidence": _low_confidence,
    "entropy": _entropy,
    "margin": _margin,
    "random": _random,
}
