"""Single-instance causal debiasing: subtract an estimate of interference by least squares.

Diffusion-CAM, arXiv 2604.11005. The interference of a map is a constant for repeated tokens of
the answer plus a constant on its own outlying peaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from diffcam_core.refinement.filters import per_map
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
class SICD(Parameters):
    """Parameters of single-instance causal debiasing.

    Interference I = ``repeat_weight`` x repeated share + ``peak_weight`` x [v > mean +
    ``peak_sigmas`` x standard deviation]; the map loses alpha I, alpha from least squares and at
    most ``alpha_max``. A map whose range would shrink by more than ``max_range_loss`` is left
    alone. Without the two limits least squares would remove the peaks themselves.
    """

    KIND: ClassVar[str] = "sicd"
    TITLE: ClassVar[str] = "Causal debiasing (SICD)"
    HELP: ClassVar[str] = "Subtracts a small interference estimate from repeats and outlying peaks."
    SOURCE: ClassVar[str] = "Diffusion-CAM, arXiv 2604.11005"

    repeat_weight: float = number(
        0.05, 0.0, 1.0, 0.01, "Repeat weight", "Interference per share of repeated tokens."
    )
    peak_weight: float = number(
        0.02, 0.0, 1.0, 0.01, "Peak weight", "Interference on outlying peaks."
    )
    peak_sigmas: float = number(
        2.0, 0.0, 6.0, 0.1, "Peak from", "Standard deviations above the mean that make a peak."
    )
    alpha_max: float = number(
        0.5, 0.0, 1.0, 0.05, "Largest strength", "Upper limit of the least-squares factor."
    )
    max_range_loss: float = number(
        0.1, 0.0, 1.0, 0.01, "Largest range loss", "Undo when the range shrinks by more than this."
    )
    counting: str = choice(
        "words",
        ("words", "ids"),
        "Count repeats of",
        "Words of the answer, or (as published) every id with its padding.",
    )

    def __call__(self, maps: DoubleArray, context: Context) -> DoubleArray:
        """Debias a checked (K, H, W) batch."""
        if self.counting == "ids":
            share = repeated_share(context.token_ids or ())
        else:
            share = repeated_share(answer_words(context))
        return _debias(maps, self, share)


def debias(
    maps: npt.ArrayLike,
    parameters: SICD | None = None,
    *,
    token_ids: Sequence[Hashable] | None = None,
    special_ids: Iterable[Hashable] = (),
    words: Sequence[str] | None = None,
) -> FloatArray:
    """Apply causal debiasing.

    Parameters
    ----------
    maps : array_like
        (H, W) or (K, H, W) in [0, 1].
    parameters : SICD, optional
    token_ids : sequence, optional
        Token ids of the whole answer.
    special_ids : iterable, optional
        Ids that are no words.
    words : sequence of str, optional
        Words of the answer, used instead of ids when words are counted.

    Returns
    -------
    ndarray of float32, same shape, in [0, 1]
    """
    context = Context(token_ids=token_ids, special_ids=frozenset(special_ids), words=words)
    return like_input((parameters or SICD())(as_batch(maps), context), maps)


def repeated_share(items: Sequence[Hashable]) -> float:
    """Number of different items that occur more than once, over the number of items."""
    if len(items) == 0:
        return 0.0
    return sum(count > 1 for count in Counter(items).values()) / len(items)


def answer_words(context: Context) -> list[Hashable]:
    """Items that the word rule counts: words in lower case, or ids without special ones.

    Punctuation is no word. When only ids are known, a run of one repeated id at the end of the
    answer is padding even if nobody said so: that is how the models fill their canvas.
    """
    if context.words is not None:
        return [word.strip().lower() for word in context.words if any(c.isalnum() for c in word)]
    ids = list(context.token_ids) if context.token_ids is not None else []
    if len(ids) > 1 and ids[-1] == ids[-2]:
        padding = ids[-1]
        while ids and ids[-1] == padding:
            ids.pop()
    return [item for item in ids if item not in context.special_ids]


def _debias(maps: DoubleArray, rule: SICD, share: float) -> DoubleArray:
    if len(maps) == 0:
        return maps
    mean, sigma = maps.mean(axis=(1, 2), keepdims=True), maps.std(axis=(1, 2), keepdims=True)
    interference = rule.repeat_weight * share + rule.peak_weight * (
        maps > mean + rule.peak_sigmas * sigma
    )
    energy = np.einsum("kij,kij->k", interference, interference)
    product = np.einsum("kij,kij->k", maps, interference)
    # The infimum over alpha >= 0 where there is no interference is 0: nothing to subtract.
    alpha = np.minimum(product / np.where(energy > 0, energy, 1.0), rule.alpha_max)
    result = np.maximum(maps - per_map(alpha) * interference, 0.0)
    shrunk = np.ptp(result, axis=(1, 2)) < (1 - rule.max_range_loss) * np.ptp(maps, axis=(1, 2))
    return np.where(per_map(shrunk), maps, result)
