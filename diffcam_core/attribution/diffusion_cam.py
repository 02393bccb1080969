"""The base map of Diffusion-CAM: as its paper states it, and as its released code computes it.

Both weigh the channels of the states A by the gradient G averaged over image positions. They
differ in where the ReLU stands, and on a trained model that is the difference between a map and
noise: see docs and the evaluation.
"""

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


def diffusion_cam(states: Tensor, gradients: Tensor, layout: ImageLayout) -> dict[str, FloatArray]:
    """Compute ``M_i = ReLU(sum_c w_c A_ic)`` with ``w_c = mean_i G_ic``.

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
    Source: Diffusion-CAM, arXiv 2604.11005 (ACL 2026), base map. The mean is taken over all
    patches of all views together, so that their maps share one scale; newline tokens, which stand
    for no place in the image, take no part.
    """
    check_span(states, gradients, layout)
    wide = torch.promote_types(states.dtype, torch.float32)
    a = states.to(wide)
    grids = tuple(grid_rows(layout, states.device))
    patches = torch.cat([inside for *_, inside in grids])
    # One target at a time keeps the widened copy of the gradients small.
    weights = a.new_empty(gradients.shape[0], a.shape[1])
    for row, g in zip(weights, gradients, strict=True):
        row.copy_(g.index_select(0, patches).to(wide).mean(0))
    raw = torch.relu(weights @ a.T)
    return {name: as_maps(raw[:, inside], rows, cols) for name, rows, cols, inside in grids}


def diffusion_cam_released(
    states: Tensor, gradients: Tensor, layout: ImageLayout
) -> dict[str, FloatArray]:
    """Compute ``M_i = mean_c ReLU(w_c A_ic)`` with ``w_c = mean_i ReLU(G_ic)``, each grid alone.

    Parameters, result and errors as in :func:`diffusion_cam`. What the released code calls
    target minus distractor is the target's contrast here.

    Notes
    -----
    Source: the program released with Diffusion-CAM (commit 6423d37), restated. It looks at one
    view at a time.
    """
    check_span(states, gradients, layout)
    wide = torch.promote_types(states.dtype, torch.float32)
    a = states.to(wide)
    maps: dict[str, FloatArray] = {}
    for name, rows, cols, inside in grid_rows(layout, states.device):
        cells = a[inside]
        raw = a.new_empty(gradients.shape[0], rows * cols)
        for row, g in zip(raw, gradients, strict=True):
            weights = g.index_select(0, inside).to(wide).relu().mean(0)
            row.copy_(torch.relu(weights * cells).mean(-1))
        maps[name] = as_maps(raw, rows, cols)
    return maps


DIFFUSION_CAM = Method(
    name="diffusion-cam",
    title="Diffusion-CAM",
    source="Diffusion-CAM (arXiv 2604.11005, ACL 2026), base map as stated",
    sign="positive",
    cost=ONE_BACKWARD_EACH,
    passes=one_backward_each,
    regimes=BOTH_REGIMES,
    stream=from_gradients(diffusion_cam),
    reads="states and gradients; channels weighed by their mean gradient over all views",
    use="the reference: the published map, at every step and layer",
    avoid="a quick look at many tokens, which a method without gradients gives",
)

DIFFUSION_CAM_RELEASED = Method(
    name="diffusion-cam-released",
    title="Diffusion-CAM as released",
    source="Diffusion-CAM (arXiv 2604.11005, ACL 2026), base map of the released program",
    sign="positive",
    cost=ONE_BACKWARD_EACH,
    passes=one_backward_each,
    regimes=BOTH_REGIMES,
    stream=from_gradients(diffusion_cam_released),
    reads="states and gradients; only channels whose gradient and product are positive",
    use="to reproduce maps of the published program",
    avoid="as evidence on another model: it can fall below chance (docs/method.md, section 3)",
)
