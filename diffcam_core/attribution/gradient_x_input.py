"""Gradient x activation: the first-order share of each token in the score."""

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


def gradient_x_input(
    states: Tensor, gradients: Tensor, layout: ImageLayout
) -> dict[str, FloatArray]:
    """Compute ``M_i = sum_c G_ic A_ic``.

    Parameters
    ----------
    states : Tensor
        (N, d), output of one block on the image span.
    gradients : Tensor
        (K, N, d), gradient of each target score there.
    layout : ImageLayout
        Its span has N positions.

    Returns
    -------
    dict of str to ndarray
        Grid name -> (K, rows, cols) float32, signed: negative where a token speaks against the
        target.

    Raises
    ------
    TargetError
        If the arrays do not cover the span.

    Notes
    -----
    Source: gradient times input as discussed by Shrikumar et al., Not Just a Black Box, arXiv
    1605.01713; here at the states of any layer.
    """
    check_span(states, gradients, layout)
    wide = torch.promote_types(states.dtype, torch.float32)
    a = states.to(wide)
    raw = a.new_empty(gradients.shape[:2])
    for row, g in zip(raw, gradients, strict=True):
        row.copy_((g.to(wide) * a).sum(-1))
    return on_grids(raw, layout)


GRADIENT_X_INPUT = Method(
    name="gradient-x-input",
    title="Gradient x input",
    source="Shrikumar et al., arXiv 1605.01713",
    sign="signed",
    cost=ONE_BACKWARD_EACH,
    passes=one_backward_each,
    regimes=BOTH_REGIMES,
    stream=from_gradients(gradient_x_input),
    reads="states and gradients, token by token",
    use="support and contradiction of single tokens, at the price of Diffusion-CAM",
    avoid="layers where the score saturates: a local slope says little there",
)
