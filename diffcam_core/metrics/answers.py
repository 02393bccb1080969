"""Obj-IoU, Func-IoU and F1-IoU of a whole answer, by TAM's rules.

Rules (Token Activation Map, ICCV 2025, section 4.1, and its published evaluation):

1. A noun that names a masked object scores with its best sub-token. Neighbouring words that name
   the same object ("tabby cat") count once, with the better of them.
2. Every noun, masked or not, gives one threshold: the largest Otsu threshold of its sub-tokens,
   taken at the size of the mask.
3. A function word scores with the share of its map (on its own grid) that lies below the mean of
   those thresholds, averaged over its sub-tokens. Without a noun there is no Func-IoU.

Which words are nouns, and which object they name, is decided elsewhere (`diffcam_core.words`,
`diffcam_core.categories`): here are only arrays.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.metrics.localization import (
    Overlap,
    f1_iou,
    fit_levels,
    func_iou,
    obj_overlap,
    otsu_threshold,
)

Role = Literal["noun", "function", "other"]


@dataclass(frozen=True, eq=False)
class AnswerWord:
    """One word of an answer as the measures see it.

    Parameters
    ----------
    role : {"noun", "function", "other"}
    maps : sequence of (H, W) arrays
        One for each sub-token, uint8 or float in [0, 1].
    mask : (H', W') array, optional
        The object that a noun names; None, or empty, where nothing is masked.
    label : hashable, optional
        Which object it is. Neighbouring nouns of the same label count once.
    """

    role: Role
    maps: Sequence[npt.NDArray[Any]]
    mask: npt.NDArray[Any] | None = None
    label: Hashable = None


@dataclass(frozen=True)
class AnswerScores:
    """Scores of the words of one answer.

    Attributes
    ----------
    objects : tuple of Overlap
        One for each masked object in a row of words, in the order of the answer.
    functions : tuple of float
        Func-IoU of each function word; empty where the answer has no noun.
    """

    objects: tuple[Overlap, ...]
    functions: tuple[float, ...]

    @property
    def obj_iou(self) -> float | None:
        """Mean Obj-IoU; None without a masked noun."""
        return float(np.mean([o.iou for o in self.objects])) if self.objects else None

    @property
    def func_iou(self) -> float | None:
        """Mean Func-IoU; None without a function word or a noun."""
        return float(np.mean(self.functions)) if self.functions else None

    @property
    def f1_iou(self) -> float | None:
        """Harmonic mean of the two; None where one of them is."""
        obj, func = self.obj_iou, self.func_iou
        return None if obj is None or func is None else f1_iou(obj, func)


def score_answer(words: Sequence[AnswerWord], size: tuple[int, int]) -> AnswerScores:
    """Score the words of one answer.

    Parameters
    ----------
    words : sequence of AnswerWord
        In the order of the answer.
    size : (int, int)
        Rows and columns of the masks, at which nouns are thresholded.

    Raises
    ------
    InputError
        If a noun or function word has no map, or a map cannot be measured.
    """
    objects: list[Overlap] = []
    thresholds: list[float] = []
    previous: AnswerWord | None = None
    for word in words:
        if word.role != "other" and len(word.maps) == 0:
            raise InputError("a word has no maps", "Give the map of at least one sub-token")
        if word.role == "noun":
            levels = [fit_levels(map_, size) for map_ in word.maps]
            thresholds.append(max(otsu_threshold(plane) for plane in levels))
            found = _best(word)
            if found is not None:
                if _same_object(previous, word):
                    objects[-1] = max(objects[-1], found, key=lambda o: o.iou)
                else:
                    objects.append(found)
        previous = word
    if not thresholds:
        return AnswerScores(tuple(objects), ())
    limit = float(np.mean(thresholds))
    functions = tuple(
        float(np.mean([func_iou(map_, limit) for map_ in word.maps]))
        for word in words
        if word.role == "function"
    )
    return AnswerScores(tuple(objects), functions)


def _best(word: AnswerWord) -> Overlap | None:
    """Overlap of the best sub-token; None where the word has no mask."""
    if word.mask is None or not np.any(word.mask):
        return None
    return max((obj_overlap(map_, word.mask) for map_ in word.maps), key=lambda o: o.iou)


def _same_object(previous: AnswerWord | None, word: AnswerWord) -> bool:
    return (
        previous is not None
        and previous.role == "noun"
        and word.label is not None
        and previous.label == word.label
        and _best_exists(previous)
    )


def _best_exists(word: AnswerWord) -> bool:
    return word.mask is not None and bool(np.any(word.mask))
