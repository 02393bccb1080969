"""What an attribution method is, and what all of them need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffcam_core.errors import TargetError
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.layout import ImageLayout
from diffcam_core.probing import Prober, Target

FloatArray = npt.NDArray[np.float32]
Regime = Literal["prefix-cache", "full"]
Requests = Iterable[tuple[int, Sequence[Target]]]


@dataclass(frozen=True, eq=False)
class StepMaps:
    """Maps of some targets of one denoising step.

    Attributes
    ----------
    step : int
    targets : tuple of Target
        K of them.
    maps : mapping of int to dict of str to ndarray
        Layer -> grid name -> (K, rows, cols) float32, raw: not normalised, so that maps of
        different steps can be compared.
    probabilities : ndarray of float64, shape (K,)
        Probability of each target's token at this step, as the sampler sees it.
    """

    step: int
    targets: tuple[Target, ...]
    maps: Mapping[int, dict[str, FloatArray]]
    probabilities: npt.NDArray[np.float64]


Stream = Callable[[Prober, Requests], Iterator[StepMaps]]
"""(prober, (step, targets) pairs) -> maps, in the order asked for, some targets at a time."""


@dataclass(frozen=True)
class Passes:
    """Work in passes through the language model."""

    forward: int
    backward: int


@dataclass(frozen=True)
class Workload:
    """What is to be explained, in numbers.

    Attributes
    ----------
    steps : int
    targets : int
        Of all steps together.
    layers : int
    grids : tuple of (rows, cols)
        Token grids of the image.
    """

    steps: int
    targets: int
    layers: int
    grids: tuple[tuple[int, int], ...]


CountPasses = Callable[[Workload], Passes]
"""Passes that a method takes on top of writing the answer."""


@dataclass(frozen=True)
class Method:
    """An attribution method, as a table entry and as a function.

    Attributes
    ----------
    name, title : str
        For requests and files; for people.
    source : str
        Paper and section.
    sign : "positive" or "signed"
        Whether maps can hold negative values.
    cost : str
        What it takes on top of a forward pass, in words.
    passes : callable
        The same as numbers.
    regimes : tuple of "prefix-cache" and "full"
        Where it is defined.
    layered : bool
        False: one map for the whole model, which is stored under `INPUT_LAYER`.
    needs_gradient : bool
        True: maps exist only where a gradient path to the image span exists.
    first_layer : int
        Lowest layer that has a map.
    reads_score : bool
        False: it does not look at the target's score, so the contrast of a request is ignored.
    reads : str
        Which evidence it reads, in words.
    use, avoid : str
        When it is the right choice, and when it is not.
    stream : callable
        The method itself.
    """

    name: str
    title: str
    source: str
    sign: Literal["positive", "signed"]
    cost: str
    passes: CountPasses
    regimes: tuple[Regime, ...]
    stream: Stream
    reads: str
    use: str
    avoid: str
    layered: bool = True
    needs_gradient: bool = True
    first_layer: int = INPUT_LAYER
    reads_score: bool = True

    def has_map(self, layer: int, n_layers: int) -> bool:
        """Say whether the method has a map at a layer of a model with so many blocks.

        Nothing that the answer depends on reads the image rows of the last block's output, so no
        gradient reaches them.
        """
        return layer >= self.first_layer and not (self.needs_gradient and layer == n_layers - 1)


Compute = Callable[[Tensor, Tensor, ImageLayout], dict[str, FloatArray]]
"""(states (N, d), gradients (K, N, d), layout) of one layer -> {grid name: (K, rows, cols)}."""


def one_backward_each(work: Workload) -> Passes:
    """Cost of exact gradients: two forward passes a step, one backward a target, any layers."""
    return Passes(forward=2 * work.steps, backward=work.targets)


def one_forward_a_step(work: Workload) -> Passes:
    """Cost of reading states: one forward pass a step, any targets and layers."""
    return Passes(forward=work.steps, backward=0)


ONE_BACKWARD_EACH = "one activation-only backward pass for each target, shared by all layers"
BOTH_REGIMES: tuple[Regime, ...] = ("prefix-cache", "full")


def from_gradients(compute: Compute) -> Stream:
    """Make a method out of what it does with the states and gradients of one layer."""

    def stream(prober: Prober, requests: Requests) -> Iterator[StepMaps]:
        layout = prober.trajectory.prompt.layout
        for result in prober.stream(requests):
            maps = {
                layer: compute(result.states[layer], result.gradients[layer], layout)
                for layer in prober.layers
            }
            yield StepMaps(result.step, result.targets, maps, result.probabilities)

    return stream


def check_span(states: Tensor, gradients: Tensor, layout: ImageLayout) -> None:
    """Raise TargetError unless the arrays cover the image span of the layout exactly."""
    n = layout.span[1] - layout.span[0]
    if states.ndim != 2 or states.shape[0] != n or gradients.shape[1:] != states.shape:
        raise TargetError(
            f"states {tuple(states.shape)} and gradients {tuple(gradients.shape)} do not cover "
            f"the image span of {n} tokens",
            "Probe the same prompt that the layout belongs to.",
        )


def grid_rows(layout: ImageLayout, device: torch.device) -> Iterator[tuple[str, int, int, Tensor]]:
    """Yield name, rows, cols and the cells' rows within the image span (row-major) of each grid."""
    for grid in layout.grids:
        inside = torch.as_tensor(grid.indices - layout.span[0], device=device)
        yield grid.name, grid.rows, grid.cols, inside


def on_grids(values: Tensor, layout: ImageLayout) -> dict[str, FloatArray]:
    """Cut values at every position of the image span, (K, N), into maps on its grids."""
    return {
        name: as_maps(values[:, inside], rows, cols)
        for name, rows, cols, inside in grid_rows(layout, values.device)
    }


def as_maps(values: Tensor, rows: int, cols: int) -> FloatArray:
    """Shape (K, rows * cols) values as (K, rows, cols) float32 on the CPU."""
    maps: FloatArray = values.to(torch.float32).reshape(len(values), rows, cols).cpu().numpy()
    return maps
