"""Grad-CAM on token grids: each view of the image is one feature map."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcam_core.attribution.method import (
    BOTH_REGIMES,
    ONE_BACKWARD_EACH,
    FloatArray,
    Method,
    as_maps,
    check_span,
    from_gradients,
    grid_rows,
    one_backward_each,
)
from diffcam_core.layout import ImageLayout


def grad_cam(states: Tensor, gradients: Tensor, layout: ImageLayout) -> dict[str, FloatArray]:
    """Compute ``M_i = ReLU(sum_c w_c A_ic)``, ``w_c`` the mean of ``G_ic`` over the view of i.

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
        Grid name -> (K, rows, cols) float32, at least 0.

    Raises
    ------
    TargetError
        If the arrays do not cover the span.

    Notes
    -----
    Source: Selvaraju et al., Grad-CAM, ICCV 2017, section 3, equations 1 and 2. A network has one
    spatial feature map there; a model that sees base view and tiles has two, of different scale,
    and each gets its own weights. On a model with a single view this is the base map of
    Diffusion-CAM as its paper states it; the two differ only where there are several views.
    """
    check_span(states, gradients, layout)
    wide = torch.promote_types(states.dtype, torch.float32)
    maps: dict[str, FloatArray] = {}
    for name, rows, cols, inside in grid_rows(layout, states.device):
        cells = states[inside].to(wide)
        raw = cells.new_empty(gradients.shape[0], rows * cols)
        # One target at a time keeps the widened copy of the gradients small.
        for row, g in zip(raw, gradients, strict=True):
            row.copy_(torch.relu(cells @ g.index_select(0, inside).to(wide).mean(0)))
        maps[name] = as_maps(raw, rows, cols)
    return maps


GRAD_CAM = Method(
    name="grad-cam",
    title="Grad-CAM",
    source="Selvaraju et al., Grad-CAM, ICCV 2017, eq. 1 and 2",
    sign="positive",
    cost=ONE_BACKWARD_EACH,
    passes=one_backward_each,
    regimes=BOTH_REGIMES,
    stream=from_gradients(grad_cam),
    reads="states and gradients; channels weighed by their mean gradient, each view alone",
    use="the classic baseline; the same as Diffusion-CAM on a model with one view",
    avoid="comparing strength between base view and tiles: each has its own weights",
)
