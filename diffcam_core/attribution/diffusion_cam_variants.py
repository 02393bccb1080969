"""Variants of Diffusion-CAM's base map: signed, and set against the runner-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffcam_core.attribution.diffusion_cam import diffusion_cam
from diffcam_core.attribution.method import (
    BOTH_REGIMES,
    ONE_BACKWARD_EACH,
    FloatArray,
    Method,
    Passes,
    Requests,
    StepMaps,
    Workload,
    check_span,
    from_gradients,
    grid_rows,
    on_grids,
    one_backward_each,
)
from diffcam_core.layout import ImageLayout
from diffcam_core.probing import Prober, Target


def diffusion_cam_signed(
    states: Tensor, gradients: Tensor, layout: ImageLayout
) -> dict[str, FloatArray]:
    """Compute ``M_i = sum_c w_c A_ic`` with ``w_c = mean_i G_ic``: the base map before its ReLU.

    Parameters, result and errors as in :func:`diffusion_cam`, but signed.

    Notes
    -----
    Source: Diffusion-CAM, arXiv 2604.11005, base map, without the ReLU. Since the map is linear in
    the gradient, the map of a score with a distractor is the difference of two maps.
    """
    check_span(states, gradients, layout)
    wide = torch.promote_types(states.dtype, torch.float32)
    a = states.to(wide)
    patches = torch.cat([inside for *_, inside in grid_rows(layout, states.device)])
    raw = a.new_empty(gradients.shape[:2])
    for row, g in zip(raw, gradients, strict=True):
        row.copy_(a @ g.index_select(0, patches).to(wide).mean(0))
    return on_grids(raw, layout)


def contrastive(prober: Prober, requests: Requests) -> Iterator[StepMaps]:
    """Stream, for each layer, the target's base map minus that of its rival.

    The rival is the runner-up at the target's position and step, or the distractor that the
    request names; both maps are those of plain logits, each after its ReLU, so the difference
    shows what speaks for the one and what for the other.

    Notes
    -----
    Source: ours, from the base map of Diffusion-CAM (arXiv 2604.11005). The idea of subtracting the
    map of a competing class is close to Grad-CAM's counterfactual explanations, which negate the
    gradient of one class instead.
    """
    layout = prober.trajectory.prompt.layout
    for step, targets in requests:
        wanted = tuple(targets)
        rivals, probabilities = _rivals(prober, step, wanted)
        plain = [
            replace(target, contrast="none")
            for pair in zip(wanted, rivals, strict=True)
            for target in pair
        ]
        parts: dict[int, dict[str, list[FloatArray]]] = {
            layer: {grid.name: [] for grid in layout.grids} for layer in prober.layers
        }
        for result in prober.stream([(step, plain)]):
            for layer, grids in parts.items():
                maps = diffusion_cam(result.states[layer], result.gradients[layer], layout)
                for name, found in maps.items():
                    grids[name].append(found)
        yield StepMaps(
            step,
            wanted,
            {
                layer: {name: _difference(found) for name, found in grids.items()}
                for layer, grids in parts.items()
            },
            probabilities,
        )


def _difference(found: Sequence[FloatArray]) -> FloatArray:
    """Maps of targets and rivals in turn, in pieces -> (K, rows, cols) differences."""
    whole = np.concatenate(found)
    difference: FloatArray = whole[0::2] - whole[1::2]
    return difference


def _rivals(
    prober: Prober, step: int, targets: tuple[Target, ...]
) -> tuple[list[Target], npt.NDArray[np.float64]]:
    """Return the rival of each target, and the targets' own probabilities."""
    asked = [
        target if not isinstance(target.contrast, str) else replace(target, contrast="runner_up")
        for target in targets
    ]
    scores = prober.forward.score(prober.forward.states(step), step, asked)
    rivals = [
        replace(target, token_id=int(rival))
        for target, rival in zip(targets, scores.distractors.tolist(), strict=True)
    ]
    return rivals, np.asarray(scores.probabilities.cpu().numpy(), np.float64)


def _two_backwards_each(work: Workload) -> Passes:
    return Passes(forward=3 * work.steps, backward=2 * work.targets)


DIFFUSION_CAM_SIGNED = Method(
    name="diffusion-cam-signed",
    title="Diffusion-CAM, signed",
    source="Diffusion-CAM (arXiv 2604.11005), base map without its ReLU",
    sign="signed",
    cost=ONE_BACKWARD_EACH,
    passes=one_backward_each,
    regimes=BOTH_REGIMES,
    stream=from_gradients(diffusion_cam_signed),
    reads="states and gradients; channels weighed by their mean gradient over all views",
    use="seeing what speaks against a word, and how much the ReLU hides",
    avoid="the published refinement, which expects maps of one sign",
)

DIFFUSION_CAM_CONTRASTIVE = Method(
    name="diffusion-cam-contrastive",
    title="Diffusion-CAM, contrastive",
    source="ours: Diffusion-CAM (arXiv 2604.11005), base map minus that of the runner-up",
    sign="signed",
    cost="two activation-only backward passes for each target, shared by all layers",
    passes=_two_backwards_each,
    regimes=BOTH_REGIMES,
    stream=contrastive,
    reads="states and gradients, for the target and for the best other token",
    use="why this word and not the next best one",
    avoid="words without a serious rival: the runner-up's map is then an accident",
)
