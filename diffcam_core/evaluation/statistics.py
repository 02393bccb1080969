"""Means with intervals, and paired tests, when the words of one item belong together.

Items are the clusters: the words of one picture are right or wrong together, so pictures are
resampled, not words. Everything here is deterministic.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from diffcam_core.metrics.localization import CONTRAST_FULL_SCORE, f3

RESAMPLES: Final = 2000
F3_PARTS: Final = ("obj_iou", "contrast", "concentration")

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A mean over words with its 95 % interval over resampled items."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """Difference to a baseline on the items that both have.

    Attributes
    ----------
    items : int
        How many those are.
    difference, low, high : float
        Of the means, with its 95 % interval from resampling items, the same for both.
    p_bootstrap : float
        Two-sided, from the same resamples; no smaller than their number allows.
    p_wilcoxon : float
        Wilcoxon signed-rank on the items' means.
    p_holm : float
        The latter, corrected for the number of tests in the table; set by `holm`.
    """

    items: int
    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_wilcoxon: float
    p_holm: float = float("nan")


@dataclass(frozen=True, eq=False)
class Clustered:
    """Values of a measure, summed by item.

    Attributes
    ----------
    items : tuple of str
        Ascending.
    sums, counts : ndarray of float64, shape (items,)
    """

    items: tuple[str, ...]
    sums: FloatArray
    counts: FloatArray

    @classmethod
    def of(cls, items: Sequence[str], values: Sequence[float]) -> Clustered:
        """Sum values by item; a value that is not finite does not count."""
        array = np.asarray(values, np.float64)
        kept = np.isfinite(array)
        names, at = np.unique(np.asarray(items, dtype=np.str_)[kept], return_inverse=True)
        return cls(
            tuple(str(name) for name in names),
            np.bincount(at, weights=array[kept], minlength=len(names)).astype(np.float64),
            np.bincount(at, minlength=len(names)).astype(np.float64),
        )

    @property
    def words(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    @property
    def means(self) -> FloatArray:
        """Mean of each item."""
        return np.asarray(self.sums / self.counts, np.float64)

    def only(self, items: Sequence[str]) -> Clustered:
        """Restrict to some items, all of which must be there."""
        at = [self.items.index(item) for item in items] if items else []
        return Clustered(tuple(items), self.sums[at], self.counts[at])

    def mean(self) -> float:
        """Mean over all values."""
        return float(self.sums.sum() / self.counts.sum())

    def resampled(self, resamples: int = RESAMPLES) -> FloatArray:
        """Means of resampled items."""
        weights = _weights(len(self.items), resamples)
        return np.asarray((weights @ self.sums) / (weights @ self.counts), np.float64)


@functools.lru_cache(maxsize=8)
def _weights(count: int, resamples: int) -> FloatArray:
    """(resamples, count): how often each item is drawn; the same for every measure and method."""
    draws = np.random.default_rng(0).integers(count, size=(resamples, count))
    flat = draws + count * np.arange(resamples)[:, None]
    weights = np.bincount(flat.ravel(), minlength=resamples * count)
    return weights.reshape(resamples, count).astype(np.float64)


def interval(resampled: FloatArray) -> tuple[float, float]:
    """95 % percentile interval."""
    low, high = np.percentile(resampled, (2.5, 97.5))
    return float(low), float(high)


def estimate(values: Clustered) -> Estimate | None:
    """Mean and interval; None without values."""
    if not values.items:
        return None
    return Estimate(values.mean(), *interval(values.resampled()))


def estimate_f3(parts: Mapping[str, Clustered]) -> Estimate | None:
    """F3 of the mean Obj-IoU, Contrast and Concentration, as the published tables take it."""
    found = _f3_parts(parts)
    if found is None:
        return None
    value = f3(*(part.mean() for part in found))
    return Estimate(value, *interval(_f3_of(*(part.resampled() for part in found))))


def paired_test(ours: Clustered, baseline: Clustered) -> PairedTest | None:
    """Compare two methods on the items that both have; None if there is none."""
    a, b = _common(ours, baseline)
    if not a.items:
        return None
    return _tested(
        len(a.items),
        a.mean() - b.mean(),
        a.resampled() - b.resampled(),
        a.means - b.means,
    )


def paired_test_f3(
    ours: Mapping[str, Clustered], baseline: Mapping[str, Clustered]
) -> PairedTest | None:
    """Compare F3 from means; the ranks are those of the items' own F3."""
    a, b = _f3_parts(ours), _f3_parts(baseline)
    if a is None or b is None:
        return None
    shared = sorted(set.intersection(*(set(part.items) for part in (*a, *b))))
    if not shared:
        return None
    a, b = [part.only(shared) for part in a], [part.only(shared) for part in b]
    return _tested(
        len(shared),
        f3(*(part.mean() for part in a)) - f3(*(part.mean() for part in b)),
        _f3_of(*(part.resampled() for part in a)) - _f3_of(*(part.resampled() for part in b)),
        _f3_of(*(part.means for part in a)) - _f3_of(*(part.means for part in b)),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; the family-wise error of all tests together is kept.

    Parameters
    ----------
    p_values : sequence of float

    Returns
    -------
    list of float
        In the same order, at most 1.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _common(ours: Clustered, baseline: Clustered) -> tuple[Clustered, Clustered]:
    shared = sorted(set(ours.items) & set(baseline.items))
    return ours.only(shared), baseline.only(shared)


def _f3_parts(parts: Mapping[str, Clustered]) -> list[Clustered] | None:
    if any(name not in parts or not parts[name].items for name in F3_PARTS):
        return None
    shared = sorted(set.intersection(*(set(parts[name].items) for name in F3_PARTS)))
    return [parts[name].only(shared) for name in F3_PARTS] if shared else None


def _f3_of(obj: FloatArray, contrast: FloatArray, concentration: FloatArray) -> FloatArray:
    """F3 of many triples at once: 0 where a part is 0."""
    score = np.clip(contrast / CONTRAST_FULL_SCORE, 0.0, 1.0)
    parts = np.stack((obj, score, concentration))
    positive = (parts > 0).all(axis=0)
    safe = np.where(positive, parts, 1.0)
    return np.where(positive, len(parts) / (1 / safe).sum(axis=0), 0.0)


def _tested(
    items: int, difference: float, resampled: FloatArray, by_item: FloatArray
) -> PairedTest:
    low, high = interval(resampled)
    tail = min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))
    p = min(1.0, 2 * (int(tail) + 1) / (len(resampled) + 1))
    # Differences at the level of rounding are ties, not ranks.
    moved = np.where(np.abs(by_item) < 1e-9, 0.0, by_item)
    rank = 1.0 if not moved.any() else float(stats.wilcoxon(moved).pvalue)
    return PairedTest(items, float(difference), low, high, p, rank)


__all__ = [
    "F3_PARTS",
    "RESAMPLES",
    "Clustered",
    "Estimate",
    "PairedTest",
    "estimate",
    "estimate_f3",
    "holm",
    "interval",
    "paired_test",
    "paired_test_f3",
]
