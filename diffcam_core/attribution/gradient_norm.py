"""Gradient norm: how strongly each token could move the score, in whichever direction."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcam_core.attribution.method import (
    BOTH_REGIMES,
    ONE_BACKWARD_EACH,
    FloatArray,
    Method,
    check_span,
    from_gradients,
    on_grids,
    one_backward_each,
)
from diffcam_core.layout import ImageLayout


def gradient_norm(states: Tensor, gradients: Tensor, layout: ImageLayout) -> dict[str, FloatArray]:
    """Compute ``M_i = sqrt(sum_c G_ic^2)``.

    Parameters
    ----------
    states : Tensor
        (N, d); only its shape and dtype count.
    gradients : Tensor
        (K, N, d), gradient of each target score on the image span.
    layout : ImageLayout
        Its span has N positions.

    Returns
    -------
    dict of str to ndarray
        Grid name -> (K, rows, cols) float32, at least 0.

    Raises
    ------
    TargetError
        If the arrays do not cover the span.

    Notes
    -----
    Source: the saliency map of Simonyan et al., arXiv 1312.6034, section 3, which takes the largest
    absolute value over the colour channels; with hundreds of channels the Euclidean norm is the
    usual choice (Li et al., Visualizing and Understanding Neural Models in NLP, NAACL 2016, first
    derivative saliency, is its forerunner in text).
    """
    check_span(states, gradients, layout)
    wide = torch.promote_types(states.dtype, torch.float32)
    raw = states.new_empty(gradients.shape[:2], dtype=wide)
    for row, g in zip(raw, gradients, strict=True):
        row.copy_(torch.linalg.vector_norm(g, dim=-1, dtype=wide))
    return on_grids(raw, layout)


GRADIENT_NORM = Method(
    name="gradient-norm",
    title="Gradient norm",
    source="Simonyan et al., arXiv 1312.6034, sec. 3, with the Euclidean norm over channels",
    sign="positive",
    cost=ONE_BACKWARD_EACH,
    passes=one_backward_each,
    regimes=BOTH_REGIMES,
    stream=from_gradients(gradient_norm),
    reads="gradients alone",
    use="localising words in early layers, where it did best on the embedded model's trial",
    avoid="telling support from contradiction: the norm has no sign",
)
