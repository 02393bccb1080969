"""A median-like filter: each window's values are averaged with weights by rank.

The rank Gaussian filter of TAM (Li et al., Token Activation Map, ICCV 2025), which AKD of
Diffusion-CAM builds on. Arrays in, arrays out; used by refinement and by attribution alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]

_CHUNK_VALUES = 1 << 18  # half a megabyte of windows at a time stays in the cache
_FARTHEST = 80.0


def rank_filter(maps: npt.NDArray[Any], kernel: int) -> DoubleArray:
    """Filter maps with windows of ``kernel`` x ``kernel`` cells weighted by rank.

    With s = standard deviation / mean of a window, the value r ranks away from its median weighs
    exp(-r^2 / (2 s^2)). Borders are reflected without repeating the edge. A constant window
    keeps its value; a window whose mean is not positive gives 0.

    Parameters
    ----------
    maps : ndarray, shape (K, H, W)
        float32 or float64; the weights are computed in this precision.
    kernel : int
        Odd, at least 1.

    Returns
    -------
    ndarray of float64, shape (K, H, W)
    """
    if kernel == 1 or len(maps) == 0:
        kept: DoubleArray = np.maximum(maps, 0.0).astype(np.float64)
        return kept
    half = kernel // 2
    padded = np.pad(maps, ((0, 0), (half, half), (half, half)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    count, cells = len(maps), maps.shape[1] * maps.shape[2]
    mean = _box_mean(padded.astype(np.float64), kernel).reshape(count, cells)
    square = _box_mean(np.square(padded, dtype=np.float64), kernel).reshape(count, cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        # (mean / standard deviation)^2 / 2. A constant window has the variance 0, or what rounding
        # makes of it: either way only its median counts.
        rate = np.square(mean) / (2 * np.maximum(square - np.square(mean), 0.0))
    rate = np.where(mean > 0, np.minimum(rate, _FARTHEST), 0.0).astype(maps.dtype)
    result = np.empty((count, cells))
    chunk = max(1, _CHUNK_VALUES // (cells * kernel * kernel))
    for start in range(0, count, chunk):
        part = slice(start, start + chunk)
        values = windows[part].copy().reshape(-1, kernel * kernel)
        result[part] = _rank_average(values, rate[part].reshape(-1)).reshape(-1, cells)
    return np.where(mean > 0, result, 0.0).reshape(maps.shape)


def _box_mean(padded: DoubleArray, kernel: int) -> DoubleArray:
    """Mean of every window; double precision, so that the variance does not cancel away."""
    rows, cols = padded.shape[1] - kernel + 1, padded.shape[2] - kernel + 1
    down = padded[:, :rows].copy()
    for shift in range(1, kernel):
        down += padded[:, shift : shift + rows]
    total = down[:, :, :cols].copy()
    for shift in range(1, kernel):
        total += down[:, :, shift : shift + cols]
    return total / (kernel * kernel)


def _rank_average(windows: npt.NDArray[Any], rate: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Average of each row, rank r from its median weighing exp(-rate r^2); sorts `windows`."""
    windows.sort(axis=1)
    middle = windows.shape[1] // 2
    squares = np.square(np.arange(1, middle + 1)).astype(windows.dtype)
    weights = rate[:, None] * squares
    # Weights below exp(-80) cannot show beside the median's weight of 1, and would be denormal.
    np.minimum(weights, _FARTHEST, out=weights)
    np.negative(weights, out=weights)
    np.exp(weights, out=weights)
    pairs = windows[:, middle - 1 :: -1] + windows[:, middle + 1 :]
    total = windows[:, middle] + np.einsum("ij,ij->i", weights, pairs)
    average: npt.NDArray[Any] = total / (1 + 2 * weights.sum(axis=1))
    return average
