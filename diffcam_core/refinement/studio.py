"""Modules of the `studio` preset: what the four published ones aim at, by plainer means.

Each is monotone in its input or a subtraction, has few constants, and none is tuned to a map size:
levels are relative to statistics of the map, lengths are in cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.refinement.filters import blur, otsu_levels, per_map, percentile, sorted_values
from diffcam_core.refinement.parameters import (
    Context,
    DoubleArray,
    FloatArray,
    Parameters,
    as_batch,
    number,
)

_SIGMAS_IN_WINDOW = 3.0
_MAD_TO_SIGMA = 1.4826  # of a normal distribution
_MEDIAN = 50.0


@dataclass(frozen=True)
class Smooth(Parameters):
    """Gaussian blur of less than a cell or so: it joins what the grid tore apart."""

    KIND: ClassVar[str] = "smooth"
    TITLE: ClassVar[str] = "Light smoothing"
    HELP: ClassVar[str] = "A small Gaussian blur that joins neighbouring cells of one object."
    SOURCE: ClassVar[str] = "Diffusion-CAM Studio, docs/method"

    sigma: float = number(0.7, 0.0, 3.0, 0.05, "Sigma", "Width of the Gaussian in cells.")

    def __call__(self, maps: DoubleArray, context: Context) -> DoubleArray:  # noqa: ARG002
        """Smooth a checked (K, H, W) batch."""
        if self.sigma == 0:
            return maps
        return blur(maps, self.sigma, int(np.ceil(_SIGMAS_IN_WINDOW * self.sigma)))


@dataclass(frozen=True)
class Rivals(Parameters):
    """Subtract what the other words' maps explain.

    The mean C of the other words' maps of the same step and layer is fitted to the map by least
    squares and ``strength`` of the fit is subtracted. Without other maps nothing happens.
    """

    KIND: ClassVar[str] = "rivals"
    TITLE: ClassVar[str] = "Subtract other words"
    HELP: ClassVar[str] = "Removes what this word's map shares with the maps of the other words."
    SOURCE: ClassVar[str] = "Diffusion-CAM Studio; least squares as in TAM, ICCV 2025"

    strength: float = number(
        0.5, 0.0, 1.0, 0.05, "Strength", "Share of the fitted common map that is subtracted."
    )

    def __call__(self, maps: DoubleArray, context: Context) -> DoubleArray:
        """Subtract from a checked (K, H, W) batch."""
        others = _mean_of_others(maps, context)
        if others is None or len(maps) == 0:
            return maps
        energy = np.einsum("kij,kij->k", others, others)
        alpha = np.einsum("kij,kij->k", maps, others) / np.where(energy > 0, energy, 1.0)
        result = np.maximum(maps - self.strength * per_map(alpha) * others, 0.0)
        # A map that is a copy of the common one would vanish: keep it rather than show nothing.
        gone = result.max(axis=(1, 2)) <= np.finfo(np.float32).eps
        return np.where(per_map(gone), maps, result)


@dataclass(frozen=True)
class Background(Parameters):
    """Subtract a robust background level: median + ``spreads`` robust standard deviations.

    The level is at most ``limit`` of the peak, so that a large object is never taken for
    background as a whole.
    """

    KIND: ClassVar[str] = "background"
    TITLE: ClassVar[str] = "Robust background"
    HELP: ClassVar[str] = "Subtracts the level that most of the image shares."
    SOURCE: ClassVar[str] = "Diffusion-CAM Studio, docs/method"

    spreads: float = number(
        1.0,
        -2.0,
        6.0,
        0.1,
        "Spreads",
        "Robust standard deviations (from the median absolute deviation) above the median.",
    )
    limit: float = number(
        0.4, 0.0, 0.95, 0.05, "Limit", "Largest level, as a share of the peak of the map."
    )

    def __call__(self, maps: DoubleArray, context: Context) -> DoubleArray:  # noqa: ARG002
        """Subtract from a checked (K, H, W) batch."""
        if len(maps) == 0:
            return maps
        ordered = sorted_values(maps)
        median = percentile(ordered, _MEDIAN)
        distance = np.sort(np.abs(ordered - median[:, None]), axis=1)
        level = median + self.spreads * _MAD_TO_SIGMA * percentile(distance, _MEDIAN)
        level = np.clip(level, 0.0, self.limit * ordered[:, -1])
        flat = ordered[:, -1] == ordered[:, 0]  # no peak to speak of: nothing is background
        result: DoubleArray = np.maximum(maps - per_map(np.where(flat, 0.0, level)), 0.0)
        return result


@dataclass(frozen=True)
class Focus(Parameters):
    """Contrast-preserving gate: weak values fade out smoothly, the order of values stays.

    v becomes v^gamma times a factor that rises smoothly from ``floor`` to 1 around ``cut`` x
    the Otsu level of the map. gamma below 1 evens out the inside of an object, which a gradient
    map marks only at its most telling spots.
    """

    KIND: ClassVar[str] = "focus"
    TITLE: ClassVar[str] = "Focus gate"
    HELP: ClassVar[str] = "Evens out the strong values and lets the weak ones fade."
    SOURCE: ClassVar[str] = "Diffusion-CAM Studio, docs/method"

    cut: float = number(
        0.8, 0.0, 3.0, 0.05, "Cut", "Centre of the fade, as a multiple of the Otsu level."
    )
    softness: float = number(
        0.6, 0.0, 2.0, 0.05, "Softness", "Width of the fade, as a multiple of its centre."
    )
    gamma: float = number(
        0.7, 0.1, 3.0, 0.05, "Gamma", "Below 1 evens out strong values, above 1 sharpens peaks."
    )
    floor: float = number(
        0.02, 0.0, 1.0, 0.01, "Floor", "Share of their value that the weakest values keep."
    )

    def __call__(self, maps: DoubleArray, context: Context) -> DoubleArray:  # noqa: ARG002
        """Gate a checked (K, H, W) batch."""
        if len(maps) == 0:
            return maps
        peak = maps.max(axis=(1, 2), keepdims=True)
        scaled = maps / np.where(peak > 0, peak, 1.0)  # gamma must not change the peak
        # A cut beyond the peak would blank the map.
        centre = np.minimum(self.cut * per_map(otsu_levels(sorted_values(scaled))), 1.0)
        width = np.maximum(self.softness * centre, np.finfo(np.float32).eps)
        rise = np.clip((scaled - centre) / width + 0.5, 0.0, 1.0)
        smooth = rise * rise * (3 - 2 * rise)
        # A constant map has no weak values.
        flat = np.ptp(maps, axis=(1, 2), keepdims=True) == 0
        factor = np.where(flat, 1.0, self.floor + (1 - self.floor) * smooth)
        result: DoubleArray = peak * scaled**self.gamma * factor
        return result


def _mean_of_others(maps: DoubleArray, context: Context) -> DoubleArray | None:
    """Return the mean map of the other words, (K, H, W) or (1, H, W), or None without any."""
    others = context.context_maps
    if others is None:
        return None
    if others.ndim not in (3, 4) or others.shape[-2:] != maps.shape[-2:]:
        raise InputError(
            f"context_maps have shape {others.shape} for maps of {maps.shape[-2:]} cells",
            "Give (C, H, W), or (K, C, H, W) with own ones for each map",
        )
    if others.ndim == 4 and others.shape[0] != len(maps):
        raise InputError(
            f"context_maps are given for {others.shape[0]} maps, not for {len(maps)}",
            "Give (C, H, W), or (K, C, H, W) with own ones for each map",
        )
    if others.shape[-3] == 0:
        return None
    checked = as_batch(others.reshape(-1, *others.shape[-2:])).reshape(others.shape)
    mean: DoubleArray = checked.mean(axis=-3)
    return np.broadcast_to(mean, maps.shape)


def others_of(maps: npt.ArrayLike) -> FloatArray:
    """Make `context_maps` for a batch whose maps are each other's rivals.

    Parameters
    ----------
    maps : array_like
        (K, H, W) in [0, 1], the maps of all words at one step and layer.

    Returns
    -------
    ndarray of float32, shape (K, 1, H, W), or (K, 0, H, W) for a single map
        Mean of the K - 1 other maps for each map.
    """
    batch = as_batch(maps)
    count = len(batch)
    if count < 2:
        return np.zeros((count, 0, *batch.shape[1:]), np.float32)
    mean = (batch.sum(axis=0) - batch) / (count - 1)
    result: FloatArray = np.clip(mean, 0.0, 1.0)[:, None].astype(np.float32)
    return result
