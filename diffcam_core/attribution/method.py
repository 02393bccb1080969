"""What an attribution method is, and what all of them need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffcam_core.errors import TargetError
from diffcam_core.layout import ImageLayout

FloatArray = npt.NDArray[np.float32]
Regime = Literal["prefix-cache", "full"]
Compute = Callable[[Tensor, Tensor, ImageLayout], dict[str, FloatArray]]


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
        What it takes on top of a forward pass.
    regimes : tuple of "prefix-cache" and "full"
        Where its gradients exist.
    compute : callable
        (states (N, d), gradients (K, N, d), layout) of one layer -> {grid name: (K, rows, cols)}
        float32, raw: not normalised, so that maps of different steps can be compared.
    """

    name: str
    title: str
    source: str
    sign: Literal["positive", "signed"]
    cost: str
    regimes: tuple[Regime, ...]
    compute: Compute


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


def as_maps(values: Tensor, rows: int, cols: int) -> FloatArray:
    """Shape (K, rows * cols) values as (K, rows, cols) float32 on the CPU."""
    maps: FloatArray = values.to(torch.float32).reshape(len(values), rows, cols).cpu().numpy()
    return maps
