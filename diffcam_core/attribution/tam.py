"""Token activation map: the logit lens at the last layer, cleaned of what other words explain.

Carried over from models that write left to right. There a token's context is everything before it;
in a diffusion model it is everything that its step could read as text: the question (the prompt's
text behind the image) and the tokens that were already written at that step, to the left and to the
right. Special tokens (turn marks, end tokens, masks) are no words and take no part. And where such
a model's output at position i predicts token i + 1, here it predicts token i; the relevance of a
context token is read at its own position in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffcam_core.attribution.from_states import StepEvidence, from_states
from diffcam_core.attribution.method import (
    BOTH_REGIMES,
    FloatArray,
    Method,
    one_forward_a_step,
)
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.layout import ImageLayout
from diffcam_core.models.base import IMAGE_ID
from diffcam_core.probing import Prober, Target
from diffcam_core.probing.forward import StepStates
from diffcam_core.rank_filter import rank_filter

DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

KERNEL = 3
"""Side of the rank Gaussian filter's window, as published."""

_TINY = 1e-8  # the published guard of the weights' sum


def interference(maps: DoubleArray, relevance: DoubleArray) -> DoubleArray:
    """Mean of context maps (M, N) weighed by the tokens' relevance (M,): (N,)."""
    weights = relevance / (relevance.sum() + _TINY)
    mean: DoubleArray = weights @ maps
    return mean


def least_squares(a: DoubleArray, b: DoubleArray) -> float:
    """Return the x that makes ``sum (a - x b)^2`` least; 0 if b is nothing."""
    power = float(b @ b)
    return float(a @ b) / power if power > 0 else 0.0


def without_context(
    raw: DoubleArray, context: DoubleArray, relevance: DoubleArray
) -> tuple[DoubleArray, float]:
    """Take from a map what the context explains (estimated causal inference).

    Parameters
    ----------
    raw : ndarray, shape (N,)
        Clipped class scores of the target at the image tokens.
    context : ndarray, shape (M, N)
        The same for each context token's own class.
    relevance : ndarray, shape (M,)
        Clipped class score of the TARGET at each context token.

    Returns
    -------
    ndarray of shape (N,), at least 0, and the factor that was found by least squares.
    """
    shared = interference(context, relevance)
    factor = least_squares(raw, shared)
    return np.clip(raw - factor * shared, 0.0, None), factor


def normalised(values: DoubleArray, relevance: DoubleArray) -> DoubleArray:
    """Scale to [0, 1] by the least and largest of image and text scores together."""
    low = min(values.min(initial=np.inf), relevance.min(initial=np.inf))
    high = max(values.max(initial=-np.inf), relevance.max(initial=-np.inf))
    scaled: DoubleArray = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return scaled


def filtered(values: DoubleArray, shapes: list[tuple[int, int]]) -> list[DoubleArray]:
    """Cut (N,) values into grids of (rows, cols) and filter each."""
    ends = np.cumsum([rows * cols for rows, cols in shapes])
    return [
        rank_filter(part.reshape(1, *shape), KERNEL)[0]
        for part, shape in zip(np.split(values, ends[:-1]), shapes, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Context:
    """Text that a step could read.

    Attributes
    ----------
    ids : ndarray of int64, shape (M,)
    states : Tensor
        (M, d), last block's output there.
    positions : ndarray of int64, shape (M,)
        Position in the answer, -1 for the prompt.
    """

    ids: IntArray
    states: Tensor
    positions: IntArray


def _context(prober: Prober, step: int, states: StepStates) -> _Context:
    trajectory = prober.trajectory
    special = np.array(
        [IMAGE_ID, trajectory.mask_id, *prober.model.eos_ids, *prober.model.tokenizer.special_ids]
    )
    ids = np.asarray(trajectory.prompt.ids)
    behind = np.arange(len(ids)) >= trajectory.prompt.layout.span[1]
    asked = np.flatnonzero(behind & ~np.isin(ids, special))
    canvas = trajectory.canvases[step]
    written = np.flatnonzero(~np.isin(canvas, special))
    device = states.answer[-1].device
    return _Context(
        np.concatenate((ids[asked], canvas[written])),
        torch.cat(
            (
                states.prompt[-1][torch.as_tensor(asked, device=device)],
                states.answer[-1][torch.as_tensor(written, device=device)],
            )
        ),
        np.concatenate((np.full(len(asked), -1), written)),
    )


def _compute(prober: Prober, evidence: StepEvidence) -> dict[int, dict[str, FloatArray]]:
    layout, backbone = prober.trajectory.prompt.layout, prober.model.backbone
    context = _context(prober, evidence.step, evidence.states)
    own = np.array([target.token_id for target in evidence.targets], np.int64)
    classes, where = np.unique(np.concatenate((own, context.ids)), return_inverse=True)
    places = np.concatenate([grid.indices for grid in layout.grids])
    final = evidence.states.prompt[-1]
    device = final.device
    with torch.no_grad():
        on_image = backbone.head_for(
            final[torch.as_tensor(places, device=device)],
            torch.as_tensor(classes, device=device),
        )
        on_text = backbone.head_for(context.states, torch.as_tensor(own, device=device))
    scores = _clipped(on_image).T[where]
    relevance = _clipped(on_text).T
    shapes = [(grid.rows, grid.cols) for grid in layout.grids]
    found = [
        filtered(_one(target, scores[k], scores[len(own) :], relevance[k], context), shapes)
        for k, target in enumerate(evidence.targets)
    ]
    return {INPUT_LAYER: _stacked(found, layout)}


def _one(
    target: Target, raw: DoubleArray, maps: DoubleArray, relevance: DoubleArray, context: _Context
) -> DoubleArray:
    """Map of one target at all image tokens, before the filter."""
    present = context.positions != target.position
    # A word cannot interfere with itself.
    others = present & (context.ids != target.token_id)
    clean, _ = without_context(raw, maps[others], relevance[others])
    return normalised(clean, relevance[present])


def _clipped(logits: Tensor) -> DoubleArray:
    # Widened on the CPU: not every accelerator knows float64.
    return logits.clamp(min=0).cpu().numpy().astype(np.float64)


def _stacked(found: list[list[DoubleArray]], layout: ImageLayout) -> dict[str, FloatArray]:
    return {
        grid.name: np.array([maps[index] for maps in found], np.float32).reshape(
            len(found), grid.rows, grid.cols
        )
        for index, grid in enumerate(layout.grids)
    }


TAM = Method(
    name="tam",
    title="TAM",
    source="Li et al., Token Activation Map to Visually Explain Multimodal LLMs, ICCV 2025",
    sign="positive",
    cost="one forward pass a step, for all targets together",
    passes=one_forward_a_step,
    regimes=BOTH_REGIMES,
    stream=from_states(_compute),
    reads="states of the last layer: the logit lens, less what the words around explain",
    use="comparison with published TAM numbers; a clean look without gradients",
    avoid="strength between words: each map is scaled by its own image and text scores",
    layered=False,
    needs_gradient=False,
    reads_score=False,
)
