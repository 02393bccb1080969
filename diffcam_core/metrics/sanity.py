"""Does a map change when what it should explain is destroyed? Comparison of two maps.

Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018: randomise the parameters layer by
layer, from the output down, or the input, and compare the map before with the map after. A map
that stays the same does not depend on what the model has learned, however good it looks. So LOW
similarity is good. What changes models lives in `diffcam_core.evaluation.sanity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter
from scipy.stats import rankdata

from diffcam_core.errors import InputError
from diffcam_core.metrics.info import MetricInfo, by_name

FineArray = npt.NDArray[np.float64]

SSIM_WINDOW: Final = 7
"""Side of SSIM's window in cells; smaller, and odd, on maps that are smaller."""

_K1, _K2 = 0.01, 0.03


@dataclass(frozen=True)
class Similarity:
    """How alike two maps are.

    Attributes
    ----------
    rank : float
        Spearman's rank correlation, -1 to 1.
    absolute_rank : float
        The same of the absolute values, for signed maps; equal to `rank` for maps from 0 up.
    ssim : float
        Structural similarity of the maps, each scaled to [0, 1], -1 to 1.
    """

    rank: float
    absolute_rank: float
    ssim: float


def similarity(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> Similarity:
    """Compare two maps of one grid.

    Parameters
    ----------
    before, after : ndarray, shape (rows, cols)

    Raises
    ------
    InputError
        If the shapes differ or a map is not finite.
    """
    first, second = _pair(before, after)
    return Similarity(
        rank=rank_correlation(first, second),
        absolute_rank=rank_correlation(np.abs(first), np.abs(second)),
        ssim=ssim(_scaled(first), _scaled(second)),
    )


def rank_correlation(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> float:
    """Spearman's rank correlation; equal values share their mean rank.

    0 where one of the maps is constant: it has no order that the other could share.
    """
    first, second = (rankdata(map_.ravel()) for map_ in _pair(before, after))
    first, second = first - first.mean(), second - second.mean()
    length = float(np.sqrt(np.sum(first**2) * np.sum(second**2)))
    return float(np.sum(first * second)) / length if length > 0 else 0.0


def ssim(
    before: npt.NDArray[Any], after: npt.NDArray[Any], window: int = SSIM_WINDOW, span: float = 1.0
) -> float:
    """Structural similarity of two maps.

    Parameters
    ----------
    before, after : ndarray, shape (rows, cols)
        In a range of width `span`.
    window : int
        Side of the uniform window; cut to the largest odd number that fits.
    span : float
        Width of the range, on which the two constants depend.

    Returns
    -------
    float
        Mean over all windows that lie in the map, -1 to 1; 1 for equal maps.

    Notes
    -----
    Source: Wang et al., Image quality assessment, IEEE TIP 2004, equation 13, with a uniform
    window, K1 = 0.01, K2 = 0.03 and sample covariances.
    """
    x, y = _pair(before, after)
    side = min(window, *x.shape)
    side -= 1 - side % 2
    if side < 2:
        raise InputError(
            f"a map of {x.shape[0]} x {x.shape[1]} cells has no window", "Use 3 x 3 cells or more."
        )
    count = side * side

    def local(values: FineArray) -> FineArray:
        reach = side // 2
        return np.asarray(uniform_filter(values, side)[reach:-reach, reach:-reach])

    mean_x, mean_y = local(x), local(y)
    sample = count / (count - 1)
    variance_x = sample * (local(x * x) - mean_x**2)
    variance_y = sample * (local(y * y) - mean_y**2)
    covariance = sample * (local(x * y) - mean_x * mean_y)
    c1, c2 = (_K1 * span) ** 2, (_K2 * span) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float(np.mean(top / bottom))


def mean_similarity(found: Sequence[Similarity]) -> Similarity:
    """Mean of each number, for a table."""
    if not found:
        raise InputError("there is no comparison to average", "Compare at least one pair of maps.")
    table = np.asarray([(s.rank, s.absolute_rank, s.ssim) for s in found])
    return Similarity(*(float(value) for value in table.mean(0)))


def _pair(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> tuple[FineArray, FineArray]:
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if first.shape != second.shape or first.ndim != 2 or first.size == 0:
        raise InputError(
            f"maps of shapes {first.shape} and {second.shape} cannot be compared",
            "Compare two maps of one grid.",
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError("a map is not finite", "Leave out steps and layers without a map.")
    return first, second


def _scaled(values: FineArray) -> FineArray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


_ADEBAYO = "Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018"
_CHECK = "any method and token; a check of the method, not of one map: read the mean of many"

METRICS: Final[Mapping[str, MetricInfo]] = by_name(
    MetricInfo(
        f"{check}_{part}",
        f"{title}, {name}",
        "lower",
        (-1.0, 1.0),
        f"{_CHECK}; {detail}",
        source,
        needs="models",
    )
    for check, title, detail in (
        (
            "parameter_randomisation",
            "Parameter randomisation",
            "mean over the cascade from the output down",
        ),
        ("input_randomisation", "Input randomisation", "the same target with a meaningless image"),
    )
    for part, name, source in (
        ("rank", "rank correlation", f"{_ADEBAYO}; Spearman"),
        ("ssim", "SSIM", f"{_ADEBAYO}; Wang et al., IEEE TIP 2004"),
    )
)
"""Sanity checks by name."""
