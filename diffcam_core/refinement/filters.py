"""Small statistics and filters on batches of maps, without a loop over cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from diffcam_core.refinement.parameters import DoubleArray


def sorted_values(batch: DoubleArray) -> DoubleArray:
    """Return the values of each map in ascending order, shape (K, H * W)."""
    return np.sort(batch.reshape(len(batch), -1), axis=1)


def percentile(
    ordered: DoubleArray, q: npt.ArrayLike, skip: npt.NDArray[np.int64] | None = None
) -> DoubleArray:
    """Percentile of each row of sorted values by linear interpolation.

    Parameters
    ----------
    ordered : ndarray of shape (K, N)
        Ascending values.
    q : float or ndarray of shape (K,)
        Percentile, 0 to 100.
    skip : ndarray of int64, shape (K,), optional
        How many of the smallest values of each row to leave out; a row with nothing left
        gives its largest value.

    Returns
    -------
    ndarray of shape (K,)
    """
    size = ordered.shape[1]
    first = np.zeros(len(ordered), np.int64) if skip is None else np.minimum(skip, size - 1)
    position = np.asarray(q, np.float64) / 100 * (size - 1 - first) + first
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, size - 1)
    rows = np.arange(len(ordered))
    low, high = ordered[rows, below], ordered[rows, above]
    result: DoubleArray = low + (position - below) * (high - low)
    return result


def per_map(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give one value per map the shape (K, 1, 1), to combine it with a batch."""
    return values.reshape(-1, 1, 1)


def blur(maps: DoubleArray, sigma: float, radius: int) -> DoubleArray:
    """Gaussian over rows and columns of each map, borders reflected without repeating the edge."""
    if radius == 0 or len(maps) == 0:
        return maps
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-np.square(offsets) / (2 * sigma * sigma))
    weights /= weights.sum()
    for axis in (1, 2):
        reach = [(0, 0), (0, 0), (0, 0)]
        reach[axis] = (radius, radius)
        padded = np.pad(maps, reach, mode="reflect")
        size = maps.shape[axis]
        # A loop over the few taps: importing scipy.ndimage costs more than a session's blurs.
        maps = sum(
            (
                weight * padded.take(range(tap, tap + size), axis=axis)
                for tap, weight in enumerate(weights)
            ),
            start=np.zeros_like(maps),
        )
    return maps


def otsu_levels(ordered: DoubleArray) -> DoubleArray:
    """Exact Otsu level of each row of sorted values: the split of largest between-class variance.

    Parameters
    ----------
    ordered : ndarray of shape (K, N)
        Ascending values.

    Returns
    -------
    ndarray of shape (K,)
        Middle of the two values at the split; the value itself for a constant row.
    """
    size = ordered.shape[1]
    if size < 2:
        return ordered[:, 0].copy()
    below = np.cumsum(ordered, axis=1)
    count = np.arange(1, size)
    gap = below[:, :-1] / count - (below[:, -1:] - below[:, :-1]) / (size - count)
    split = np.argmax(count * (size - count) * np.square(gap), axis=1)
    rows = np.arange(len(ordered))
    middle: DoubleArray = (ordered[rows, split] + ordered[rows, split + 1]) / 2
    return middle
