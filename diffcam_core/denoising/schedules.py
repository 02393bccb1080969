"""How many tokens each denoising step writes.

A schedule is a curve sigma(t), t in [0, 1], that says which share of a block should be
written; steps write its increments, *in reverse order* (as LaViDa's sampler does), so a
curve that starts steep writes few tokens early and many late.

The published counts come from float32 arithmetic, where a product that should be a whole
number may fall just under it and lose a token. The arithmetic here repeats those roundings
operation by operation in NumPy, so that the counts need no torch and are the same on every
machine; tests compare them with the published tables and with torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from diffcam_core.denoising.config import GenerationConfig

FloatArray = npt.NDArray[np.float32]

_ONE: Final = np.float32(1.0)
_HALF: Final = np.float32(0.5)


def tokens_per_step(config: GenerationConfig) -> tuple[tuple[int, ...], ...]:
    """Return how many tokens every step writes, one tuple for each block.

    Parameters
    ----------
    config : GenerationConfig

    Returns
    -------
    tuple of tuple of int
        ``n_blocks`` tuples of ``steps_per_block`` counts, each at least 1; every tuple sums
        to the block length. Uniform: equal shares, the remainder spread over the first
        steps. Else: the increments of `progress_curve`, at least 1 each.

    Notes
    -----
    Source: the LLaDA sampler of LaViDa (Apache-2.0), restated from its behaviour.
    """
    counts = block_counts(config.block, config.steps_per_block, config.schedule, config.shift)
    return (counts,) * config.n_blocks


def block_counts(n_tokens: int, n_steps: int, schedule: str, shift: float = 3.0) -> tuple[int, ...]:
    """Share `n_tokens` out over ``n_steps <= n_tokens`` steps; see `tokens_per_step`."""
    if schedule == "uniform":
        base, extra = divmod(n_tokens, n_steps)
        return tuple(base + (step < extra) for step in range(n_steps))
    written = (progress_curve(n_steps, schedule, shift) * np.float32(n_tokens)).astype(np.int64)
    counts = [max(1, int(increment)) for increment in np.diff(written)]
    surplus = sum(counts) - n_tokens
    step = 0
    while surplus > 0:
        if counts[step] > 1:
            counts[step] -= 1
            surplus -= 1
        step = (step + 1) % n_steps
    # A curve that ends at 0.9999999 in float32 loses a token; it belongs to the curve's end.
    counts[-1] -= surplus
    return tuple(reversed(counts))


def progress_curve(n_steps: int, schedule: str, shift: float = 3.0) -> FloatArray:
    """Return sigma at the times 0, 1/n, …, 1.

    Parameters
    ----------
    n_steps : int
        At least 1.
    schedule : {"shift", "cosine", "logit_normal", "uniform"}
        shift: ``s t / (1 + (s - 1) t)``; cosine: ``(1 - cos(pi t)) / 2``; logit_normal:
        the normal distribution function of ``log(t / (1 - t))``; uniform: ``t``.
    shift : float
        The s of "shift".

    Returns
    -------
    ndarray of float32, shape (n_steps + 1,)
        From 0 to 1, non-decreasing, with the roundings of the published code.
    """
    return _CURVES[schedule](_unit_grid(n_steps), shift)


def _unit_grid(n_steps: int) -> FloatArray:
    # torch.linspace counts up from 0 in the first half and down from 1 in the second, with a
    # float32 step and one rounding for each value: float64 holds the exact product.
    step = float(_ONE / np.float32(n_steps))
    index = np.arange(n_steps + 1)
    grid = np.where(index < (n_steps + 1) // 2, step * index, 1.0 - step * (n_steps - index))
    return grid.astype(np.float32)


def _uniform(t: FloatArray, _shift: float) -> FloatArray:
    return t


def _shift(t: FloatArray, shift: float) -> FloatArray:
    # shift - 1 is taken in double precision and then rounded, as a Python scalar would be.
    return (np.float32(shift) * t) / (_ONE + np.float32(shift - 1.0) * t)


def _cosine(t: FloatArray, _shift: float) -> FloatArray:
    angle = (np.float32(np.pi) * t).astype(np.float64)
    return _ONE - _HALF * (_ONE + np.cos(angle).astype(np.float32))


def _logit_normal(t: FloatArray, _shift: float) -> FloatArray:
    with np.errstate(divide="ignore"):  # the ends are -inf and +inf, which is what is meant
        logit = np.log((t / (_ONE - t)).astype(np.float64)).astype(np.float32)
    scaled = logit / np.sqrt(np.float32(2.0))
    erf = np.array([math.erf(value) for value in scaled.tolist()], dtype=np.float32)
    return _HALF * (_ONE + erf)


_CURVES: Final[dict[str, Callable[[FloatArray, float], FloatArray]]] = {
    "uniform": _uniform,
    "shift": _shift,
    "cosine": _cosine,
    "logit_normal": _logit_normal,
}
