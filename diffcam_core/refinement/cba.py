"""Contextual background attenuation: values below a threshold of several scales are weakened.

Diffusion-CAM, arXiv 2604.11005. The published code weakens the lowest values once more, before
the same lower limit of the factor, so that the second weakening never shows; it is left out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from diffcam_core.refinement.filters import per_map, percentile, sorted_values
from diffcam_core.refinement.parameters import (
    Context,
    DoubleArray,
    FloatArray,
    Parameters,
    as_batch,
    like_input,
    number,
)

_MEDIAN = 50.0
_UPPER = 60.0


@dataclass(frozen=True)
class CBA(Parameters):
    """Parameters of contextual background attenuation.

    The threshold is ``weight_median`` x median of the non-zero values + ``weight_upper`` x
    60th percentile of all values + ``weight_mean`` x mean of the non-zero values +
    ``weight_max`` x maximum. Values v below it are multiplied by v / threshold, at least
    ``floor``.
    """

    KIND: ClassVar[str] = "cba"
    TITLE: ClassVar[str] = "Background attenuation (CBA)"
    HELP: ClassVar[str] = "Weakens values below a threshold made from several statistics."
    SOURCE: ClassVar[str] = "Diffusion-CAM, arXiv 2604.11005"

    weight_median: float = number(
        0.15, 0.0, 2.0, 0.01, "Median share", "Weight of the median of the non-zero values."
    )
    weight_upper: float = number(
        0.15, 0.0, 2.0, 0.01, "Upper share", "Weight of the 60th percentile of all values."
    )
    weight_mean: float = number(
        0.2, 0.0, 2.0, 0.01, "Mean share", "Weight of the mean of the non-zero values."
    )
    weight_max: float = number(0.015, 0.0, 1.0, 0.005, "Peak share", "Weight of the largest value.")
    floor: float = number(
        0.5, 0.0, 1.0, 0.05, "Smallest factor", "Background keeps at least this share of its value."
    )

    def __call__(self, maps: DoubleArray, context: Context) -> DoubleArray:  # noqa: ARG002
        """Attenuate a checked (K, H, W) batch."""
        if len(maps) == 0:
            return maps
        delta = per_map(_thresholds(maps, self))
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.clip(maps / delta, self.floor, 1.0)
        return np.where(maps < delta, maps * factor, maps)


def attenuate(maps: npt.ArrayLike, parameters: CBA | None = None) -> FloatArray:
    """Apply background attenuation.

    Parameters
    ----------
    maps : array_like
        (H, W) or (K, H, W) in [0, 1].
    parameters : CBA, optional

    Returns
    -------
    ndarray of float32, same shape, in [0, 1]
    """
    return like_input((parameters or CBA())(as_batch(maps), Context()), maps)


def thresholds(maps: npt.ArrayLike, parameters: CBA | None = None) -> DoubleArray:
    """Value delta of each map below which `attenuate` acts, shape (K,)."""
    return _thresholds(as_batch(maps), parameters or CBA())


def _thresholds(maps: DoubleArray, rule: CBA) -> DoubleArray:
    ordered = sorted_values(maps)
    zeros = (ordered <= 0).sum(axis=1)
    positive = ordered.shape[1] - zeros
    mean = ordered.sum(axis=1) / np.maximum(positive, 1)
    result: DoubleArray = (
        rule.weight_median * percentile(ordered, _MEDIAN, zeros)
        + rule.weight_upper * percentile(ordered, _UPPER)
        + rule.weight_mean * mean
        + rule.weight_max * ordered[:, -1]
    )
    return result
