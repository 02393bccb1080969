"""LLaVA-CAM: Grad-CAM on a language model's image states with positive gradients only.

What could be established, and from where:

- Paper: Zhang et al., From Redundancy to Relevance: Information Flow in LVLMs Across Reasoning
  Tasks, arXiv 2406.06579 (NAACL 2025). It calls the map a gradient-weighted sum of a decoder
  layer's image features with a ReLU after the sum, and takes from Smooth Grad-CAM++ the averaging
  over copies of the image with Gaussian noise. Read in abstract and summaries only; the size and
  number of the noise draws could not be found in them.
- Program: github.com/zhangbaijin/From-Redundancy-to-Relevance, ``demo_grad.py`` (commit 0da3a66)
  and ``demo_smooth_grad_threshold.py`` (commit 11dc65f), read. The score is the sum of the logits
  of all generated tokens; features and gradients are those of the norm before a decoder layer's
  MLP; the gradient is clipped at 0, then averaged over the image positions to weigh the channels;
  the mean over channels is clipped at 0 and divided by its maximum. The noisy variant defaults to
  50 draws of deviation 0.1 on pixels from 0 to 1, but the program never calls it. The second file
  also sets what is below half the maximum to 0, for display.

So ``llava-cam`` is what the program runs and ``llava-cam-smooth`` what the paper names. Departures,
so that both can be compared with every other method here: the score is one token's, not the sum of
all; the states are the block's output, not the normed input of its MLP; maps stay raw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffcam_core.attribution.method import (
    BOTH_REGIMES,
    ONE_BACKWARD_EACH,
    FloatArray,
    Method,
    Passes,
    Requests,
    StepMaps,
    Stream,
    Workload,
    as_maps,
    check_span,
    from_gradients,
    grid_rows,
    one_backward_each,
)
from diffcam_core.layout import ImageLayout
from diffcam_core.probing import Prober

SAMPLES = 10
"""Noisy images; the program's default is 50, at five times the cost."""

NOISE = 0.1
"""Standard deviation of the noise, on pixels from 0 to 1: the program's default."""

_SEED = 0


def llava_cam(states: Tensor, gradients: Tensor, layout: ImageLayout) -> dict[str, FloatArray]:
    """Compute ``M_i = ReLU(mean_c w_c A_ic)`` with ``w_c = mean_i ReLU(G_ic)``, each view alone.

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
    Sources: see the head of this module. The ReLU stands after the sum over channels, unlike in
    the released Diffusion-CAM, which is otherwise the same.
    """
    check_span(states, gradients, layout)
    wide = torch.promote_types(states.dtype, torch.float32)
    maps: dict[str, FloatArray] = {}
    for name, rows, cols, inside in grid_rows(layout, states.device):
        cells = states[inside].to(wide)
        raw = cells.new_empty(gradients.shape[0], rows * cols)
        for row, g in zip(raw, gradients, strict=True):
            weights = g.index_select(0, inside).to(wide).relu().mean(0)
            row.copy_(torch.relu(cells @ weights / cells.shape[1]))
        maps[name] = as_maps(raw, rows, cols)
    return maps


_plain = from_gradients(llava_cam)


def smooth(samples: int = SAMPLES, noise: float = NOISE, seed: int = _SEED) -> Stream:
    """Make the method that averages LLaVA-CAM over images with Gaussian noise.

    Parameters
    ----------
    samples : int
        Noisy images.
    noise : float
        Standard deviation on pixels from 0 to 1.
    seed : int
        Of the noise; the same for every step, target and layer.
    """

    def stream(prober: Prober, requests: Requests) -> Iterator[StepMaps]:
        wanted = [(step, tuple(targets)) for step, targets in requests]
        # One noisy image serves all steps, so its prompt is embedded and run once.
        total: list[dict[int, dict[str, FloatArray]]] = [{} for _ in wanted]
        for image in noisy_images(prober.trajectory.prompt.image, samples, noise, seed):
            prober.check_cancel()
            prompt = prober.model.prepare(Image.fromarray(image), prober.trajectory.prompt.text)
            other = Prober(
                prober.model,
                replace(prober.trajectory, prompt=prompt),
                prober.layers,
                cancel=prober.cancel,
            )
            for sums, request in zip(total, wanted, strict=True):
                _add(sums, list(_plain(other, [request])))
        for (step, targets), sums in zip(wanted, total, strict=True):
            forward = prober.forward
            probabilities = forward.score(forward.states(step), step, targets).probabilities
            yield StepMaps(
                step,
                targets,
                {
                    layer: {name: maps / np.float32(samples) for name, maps in grids.items()}
                    for layer, grids in sums.items()
                },
                np.asarray(probabilities.cpu().numpy(), np.float64),
            )

    return stream


def noisy_images(
    image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], samples: int, noise: float, seed: int
) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Yield copies of an (H, W, 3) uint8 image with Gaussian noise, always the same ones."""
    draw = np.random.default_rng(seed)
    for _ in range(samples):
        changed = image + 255 * noise * draw.standard_normal(image.shape)
        yield np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _add(sums: dict[int, dict[str, FloatArray]], parts: list[StepMaps]) -> None:
    """Add the maps of one request, which come in parts, to what there is."""
    for layer in parts[0].maps:
        grids = sums.setdefault(layer, {})
        for name in parts[0].maps[layer]:
            whole = np.concatenate([part.maps[layer][name] for part in parts])
            grids[name] = grids[name] + whole if name in grids else whole


def _smooth_passes(work: Workload) -> Passes:
    once = one_backward_each(work)
    return Passes(forward=SAMPLES * once.forward + work.steps, backward=SAMPLES * once.backward)


LLAVA_CAM = Method(
    name="llava-cam",
    title="LLaVA-CAM",
    source="Zhang et al., arXiv 2406.06579 (NAACL 2025), as the released program computes it",
    sign="positive",
    cost=ONE_BACKWARD_EACH,
    passes=one_backward_each,
    regimes=BOTH_REGIMES,
    stream=from_gradients(llava_cam),
    reads="states and the positive part of the gradients, each view alone",
    use="comparison with published numbers of LLaVA-CAM",
    avoid="as evidence by itself: dropping negative gradients mixes all words",
)

LLAVA_CAM_SMOOTH = Method(
    name="llava-cam-smooth",
    title="LLaVA-CAM, smoothed",
    source="Zhang et al., arXiv 2406.06579 (NAACL 2025), mean over noisy images",
    sign="positive",
    cost=f"{SAMPLES} noisy images, each with one backward pass for each target",
    passes=_smooth_passes,
    regimes=BOTH_REGIMES,
    stream=smooth(),
    reads="states and the positive part of the gradients, on images with Gaussian noise",
    use="LLaVA-CAM with less grain, where time is no concern",
    avoid="small models trained without noise: they read other words in noisy images",
)
