"""Distribution-aware confidence gating: values above a percentile stay, the rest are smoothed.

Which percentile depends on the spread and the mean of the map (Diffusion-CAM, arXiv 2604.11005).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from diffcam_core.refinement.filters import blur, per_map, percentile, sorted_values
from diffcam_core.refinement.parameters import (
    Context,
    DoubleArray,
    FloatArray,
    Parameters,
    as_batch,
    choice,
    like_input,
    number,
)


@dataclass(frozen=True)
class DACG(Parameters):
    """Parameters of distribution-aware confidence gating.

    The percentile (of the non-zero values) is ``alpha_high_var`` when the standard deviation
    exceeds ``delta_sigma``; else ``alpha_high_mean`` when the mean exceeds ``delta_mu``; else
    ``alpha_low_mean`` when it is below ``delta_mu_prime``; else ``alpha_default``.
    """

    KIND: ClassVar[str] = "dacg"
    TITLE: ClassVar[str] = "Confidence gating (DACG)"
    HELP: ClassVar[str] = "Keeps the strong values sharp and smooths only the weak ones."
    SOURCE: ClassVar[str] = "Diffusion-CAM, arXiv 2604.11005"

    delta_sigma: float = number(
        0.22, 0.0, 0.5, 0.01, "High spread above", "Standard deviation that counts as high."
    )
    delta_mu: float = number(
        0.35, 0.0, 1.0, 0.01, "High mean above", "Mean value that counts as high."
    )
    delta_mu_prime: float = number(
        0.25, 0.0, 1.0, 0.01, "Low mean below", "Mean value that counts as low."
    )
    alpha_high_var: float = number(
        90.0, 0.0, 100.0, 1.0, "Percentile, high spread", "Values above it are kept."
    )
    alpha_high_mean: float = number(
        75.0, 0.0, 100.0, 1.0, "Percentile, high mean", "Values above it are kept."
    )
    alpha_low_mean: float = number(
        80.0, 0.0, 100.0, 1.0, "Percentile, low mean", "Values above it are kept."
    )
    alpha_default: float = number(
        85.0, 0.0, 100.0, 1.0, "Percentile, otherwise", "Values above it are kept."
    )
    sigma: float = number(
        0.3, 0.05, 3.0, 0.05, "Smoothing", "Sigma of the Gaussian for the weak values, in cells."
    )
    kernel: int = number(3, 1, 15, 2, "Smoothing window", "Width of that Gaussian in cells.")
    domain: str = choice(
        "plane",
        ("plane", "column"),
        "Smooth along",
        "The plane of the map, or (as published, without effect) a one-wide column of weak values.",
    )

    def __call__(self, maps: DoubleArray, context: Context) -> DoubleArray:  # noqa: ARG002
        """Gate a checked (K, H, W) batch."""
        if len(maps) == 0 or self.domain == "column":
            # The published code filters the weak values as an N x 1 image along its rows: each
            # row holds one value, so that the filter returns what it was given.
            return maps
        smooth = blur(maps, self.sigma, (self.kernel | 1) // 2)
        return np.where(maps > per_map(_thresholds(maps, self)), maps, smooth)


def gate(maps: npt.ArrayLike, parameters: DACG | None = None) -> FloatArray:
    """Apply confidence gating.

    Parameters
    ----------
    maps : array_like
        (H, W) or (K, H, W) in [0, 1].
    parameters : DACG, optional

    Returns
    -------
    ndarray of float32, same shape, in [0, 1]
    """
    return like_input((parameters or DACG())(as_batch(maps), Context()), maps)


def thresholds(maps: npt.ArrayLike, parameters: DACG | None = None) -> DoubleArray:
    """Value zeta of each map above which `gate` changes nothing, shape (K,)."""
    return _thresholds(as_batch(maps), parameters or DACG())


def _thresholds(maps: DoubleArray, rule: DACG) -> DoubleArray:
    sigma, mean = maps.std(axis=(1, 2)), maps.mean(axis=(1, 2))
    alpha = np.select(
        [sigma > rule.delta_sigma, mean > rule.delta_mu, mean < rule.delta_mu_prime],
        [rule.alpha_high_var, rule.alpha_high_mean, rule.alpha_low_mean],
        rule.alpha_default,
    )
    ordered = sorted_values(maps)
    return percentile(ordered, alpha, (ordered <= 0).sum(axis=1))
