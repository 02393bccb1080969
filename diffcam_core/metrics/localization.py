"""How well a map covers the object that its word names: pure functions of arrays.

A map is an (H, W) array in [0, 1] (or uint8, 0 to 255). A mask is an (H', W') array, true on the
object. Where the two sizes differ the map is resized to the mask, bilinearly between cell
centres; maps whose grid does not cover the whole image must come from ``HeatMap.on_image()``.

Sources: TAM (ICCV 2025, xmed-lab/TAM) for Obj-IoU, Func-IoU and F1-IoU; Diffusion-CAM (arXiv
2604.11005) for Contrast, Concentration and F3; Zhang et al., IJCV 2018 for the pointing game;
Wang et al., CVPR-W 2020 for the energy in the mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.metrics.info import MetricInfo, by_name

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

CONTRAST_LIMIT: Final = 1000.0
"""Largest contrast reported: outside the mask a refined map may be exactly zero."""

CONTRAST_FULL_SCORE: Final = 20.0
"""Contrast from which F3 counts it as perfect."""

_LEVELS = 255
_RANGE_SLACK = 1e-5


@dataclass(frozen=True)
class Overlap:
    """Overlap of a binary map with a mask; ``label`` is the class in question, if any."""

    iou: float
    precision: float
    recall: float
    label: int | None = None

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return harmonic_mean(self.precision, self.recall)


def fit_to(map_: npt.NDArray[Any], shape: tuple[int, int]) -> FloatArray:
    """Return a map as float32 in [0, 1] at a size, resized bilinearly between cell centres.

    Raises
    ------
    InputError
        When the map is not two-dimensional, not finite, or outside [0, 1].
    """
    _checked_plane(map_)
    values = _checked_map(map_)
    if values.shape != shape:
        values = np.asarray(
            cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
        ).reshape(shape)
    return values


def as_levels(map_: npt.NDArray[Any]) -> ByteArray:
    """Return a map as the integers 0 to 255 that Otsu's threshold works on (cut, not rounded)."""
    if map_.dtype == np.uint8:
        return map_
    levels: ByteArray = (_checked_map(map_) * _LEVELS).astype(np.uint8)
    return levels


def otsu_threshold(map_: npt.NDArray[Any]) -> int:
    """Otsu's threshold of a map on the scale 0 to 255.

    Parameters
    ----------
    map_ : ndarray
        uint8, or float in [0, 1]; any shape of at least one value.

    Returns
    -------
    int
        Levels above it are foreground. 0 for a map of a single level.
    """
    levels = as_levels(map_)
    if levels.size == 0:
        raise InputError("The map has no values", "Give a map of at least one cell")
    value, _ = cv2.threshold(levels.reshape(1, -1), 0, _LEVELS, cv2.THRESH_OTSU)
    return int(value)


def binarise(map_: npt.NDArray[Any]) -> BoolArray:
    """Foreground of a map: the levels above Otsu's threshold."""
    levels = as_levels(map_)
    foreground: BoolArray = levels > otsu_threshold(levels)
    return foreground


def overlap(foreground: BoolArray, mask: npt.NDArray[Any], label: int | None = None) -> Overlap:
    """Intersection over union, precision and recall of a binary map; 0 where undefined."""
    truth = np.asarray(mask, dtype=np.bool_)
    both = int(np.count_nonzero(foreground & truth))
    found, wanted = int(np.count_nonzero(foreground)), int(np.count_nonzero(truth))
    return Overlap(
        iou=_ratio(both, found + wanted - both),
        precision=_ratio(both, found),
        recall=_ratio(both, wanted),
        label=label,
    )


def obj_overlap(map_: npt.NDArray[Any], mask: npt.NDArray[Any]) -> Overlap:
    """Overlap of the Otsu foreground of a map, at the mask's size, with the mask."""
    truth = _checked_mask(mask)
    return overlap(binarise(fit_levels(map_, truth.shape)), truth)


def obj_iou(map_: npt.NDArray[Any], mask: npt.NDArray[Any]) -> float:
    """Obj-IoU: IoU of the Otsu foreground with the mask of the object that the word names.

    For a word of several sub-tokens take `best_obj_iou`.
    """
    return obj_overlap(map_, mask).iou


def best_obj_iou(
    maps: Sequence[npt.NDArray[Any]] | npt.NDArray[Any], mask: npt.NDArray[Any]
) -> float:
    """Obj-IoU of a word: the best of the maps of its sub-tokens."""
    if len(maps) == 0:
        raise InputError("The word has no maps", "Give the map of at least one sub-token")
    return max(obj_iou(map_, mask) for map_ in maps)


def any_class_overlap(map_: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Overlap:
    """Overlap with whichever class of a label mask fits best, whatever the word.

    The variant of the published Diffusion-CAM code; its `label` is None when the mask is empty.
    """
    classes = _checked_labels(labels)
    foreground = binarise(fit_levels(map_, classes.shape))
    best = Overlap(0.0, 0.0, 0.0)
    for label in np.unique(classes):
        if label == 0:
            continue
        found = overlap(foreground, classes == label, int(label))
        if best.label is None or found.iou > best.iou:
            best = found
    return best


def obj_iou_any_class(map_: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    """Obj-IoU with whichever class of a label mask fits best; not comparable with `obj_iou`."""
    return any_class_overlap(map_, labels).iou


def iou_above(map_: npt.NDArray[Any], mask: npt.NDArray[Any], threshold: float) -> float:
    """IoU of the cells above a fixed value with the mask."""
    truth = _checked_mask(mask)
    return overlap(fit_to(map_, truth.shape) > threshold, truth).iou


def mean_noun_threshold(noun_maps: Sequence[npt.NDArray[Any]]) -> float:
    """Mean Otsu threshold (0 to 255) of the noun maps of an answer, one map for each noun."""
    if len(noun_maps) == 0:
        raise InputError("There is no noun map", "Func-IoU needs at least one noun in the answer")
    return float(np.mean([otsu_threshold(map_) for map_ in noun_maps]))


def func_iou(map_: npt.NDArray[Any], threshold: float | None = None) -> float:
    """Func-IoU: share of the map of a function word that lies below the mean noun threshold.

    Parameters
    ----------
    map_ : ndarray
        Map of a function word, which should point nowhere.
    threshold : float, optional
        From `mean_noun_threshold`, 0 to 255; without it the map's own Otsu threshold.
    """
    levels = as_levels(map_)
    limit = otsu_threshold(levels) if threshold is None else threshold
    return float(np.mean(levels < limit))


def f1_iou(obj: float, func: float) -> float:
    """F1-IoU: harmonic mean of Obj-IoU and Func-IoU."""
    return harmonic_mean(obj, func)


def contrast(map_: npt.NDArray[Any], mask: npt.NDArray[Any]) -> float:
    """Contrast: mean of the map inside the mask over its mean outside, at most CONTRAST_LIMIT.

    0 where the map is zero everywhere or inside; CONTRAST_LIMIT where it is zero outside only.

    Raises
    ------
    InputError
        When the mask is empty or covers everything.
    """
    truth = _two_sided_mask(mask)
    values = fit_to(map_, truth.shape).astype(np.float64)
    inside, outside = float(values[truth].mean()), float(values[~truth].mean())
    if inside == 0:
        return 0.0
    return min(inside / outside, CONTRAST_LIMIT) if outside > 0 else CONTRAST_LIMIT


def concentration(map_: npt.NDArray[Any], mask: npt.NDArray[Any]) -> float:
    """Concentration: share of the sum of the map that lies inside the mask; 0 for a zero map."""
    truth = _checked_mask(mask)
    values = fit_to(map_, truth.shape).astype(np.float64)
    return _ratio(float(values[truth].sum()), float(values.sum()))


def energy_in_mask(map_: npt.NDArray[Any], mask: npt.NDArray[Any]) -> float:
    """Energy-based pointing game: the same quantity as `concentration`, under its older name."""
    return concentration(map_, mask)


def contrast_score(value: float) -> float:
    """Contrast on the scale 0 to 1, as F3 counts it."""
    return min(max(value, 0.0) / CONTRAST_FULL_SCORE, 1.0)


def f3(obj: float, contrast_value: float, concentration_value: float) -> float:
    """F3: harmonic mean of Obj-IoU, min(Contrast / 20, 1) and Concentration.

    >>> round(f3(0.301, 2.58, 0.514), 4)
    0.2304
    """
    return harmonic_mean(obj, contrast_score(contrast_value), concentration_value)


def f3_of(map_: npt.NDArray[Any], mask: npt.NDArray[Any]) -> float:
    """F3 of one map; tables should rather take `f3` of the mean Obj-IoU, Contrast, Concentration.

    The published tables do the latter, and the mean of harmonic means is smaller.
    """
    return f3(obj_iou(map_, mask), contrast(map_, mask), concentration(map_, mask))


def pointing_game(map_: npt.NDArray[Any], mask: npt.NDArray[Any]) -> float:
    """Pointing game: 1 when the largest value lies in the mask, else 0.

    Several equal maxima share the vote, so that a constant map scores like a blind guess.
    """
    truth = _checked_mask(mask)
    values = fit_to(map_, truth.shape)
    return float(truth[values == values.max()].mean())


def harmonic_mean(*values: float) -> float:
    """Harmonic mean of non-negative numbers; 0 as soon as one of them is 0."""
    if not values or min(values) <= 0:
        return 0.0
    return len(values) / math.fsum(1 / value for value in values)


_TAM = "Token Activation Map, ICCV 2025 (xmed-lab/TAM)"
_DCAM = "Diffusion-CAM, arXiv 2604.11005"
_NOUN = "words that name an object with a mask"

METRICS: Final[Mapping[str, MetricInfo]] = by_name(
    (
        MetricInfo(
            "obj_iou",
            "Obj-IoU",
            "higher",
            (0.0, 1.0),
            f"{_NOUN}; the best sub-token of a word counts",
            _TAM,
            obj_iou,
        ),
        MetricInfo(
            "obj_iou_any_class",
            "Obj-IoU, any class",
            "higher",
            (0.0, 1.0),
            "label masks; ignores which class the word names, for comparison with the "
            "released code only",
            f"{_DCAM}, released code",
            obj_iou_any_class,
        ),
        MetricInfo(
            "func_iou",
            "Func-IoU",
            "higher",
            (0.0, 1.0),
            "function words, in answers with at least one noun",
            _TAM,
            needs="answer",
        ),
        MetricInfo(
            "f1_iou",
            "F1-IoU",
            "higher",
            (0.0, 1.0),
            "answers with masked nouns and function words",
            _TAM,
            needs="answer",
        ),
        MetricInfo(
            "contrast",
            "Contrast",
            "higher",
            (0.0, CONTRAST_LIMIT),
            f"{_NOUN}, with some image left outside",
            _DCAM,
            contrast,
        ),
        MetricInfo(
            "concentration",
            "Concentration",
            "higher",
            (0.0, 1.0),
            f"{_NOUN}; chance is the share of the image that the mask covers",
            _DCAM,
            concentration,
        ),
        MetricInfo(
            "f3",
            "F3",
            "higher",
            (0.0, 1.0),
            f"{_NOUN}; in tables from the mean of its three parts",
            _DCAM,
            f3_of,
        ),
        MetricInfo(
            "pointing_game",
            "Pointing game",
            "higher",
            (0.0, 1.0),
            f"{_NOUN}; chance is the share of the image that the mask covers",
            "Zhang et al., Top-down neural attention by excitation backprop, IJCV 2018",
            pointing_game,
        ),
        MetricInfo(
            "energy_in_mask",
            "Energy in mask",
            "higher",
            (0.0, 1.0),
            f"{_NOUN}; equals Concentration",
            "Wang et al., Score-CAM, CVPR workshops 2020",
            energy_in_mask,
        ),
    )
)
"""Localisation measures by name."""


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _checked_map(map_: npt.NDArray[Any]) -> FloatArray:
    array = np.asarray(map_)
    if array.dtype == np.uint8:
        array = array.astype(np.float32) / _LEVELS
    values: FloatArray = array.astype(np.float32)
    if values.size and not (
        np.isfinite(values).all()
        and float(values.min()) >= -_RANGE_SLACK
        and float(values.max()) <= 1 + _RANGE_SLACK
    ):
        raise InputError(
            "The map holds values outside [0, 1]", "Measure maps that are normalised and finite"
        )
    return np.clip(values, 0.0, 1.0)


def fit_levels(map_: npt.NDArray[Any], shape: tuple[int, int]) -> ByteArray:
    """Levels of a map at a size; integer maps are interpolated as integers, as TAM does."""
    _checked_plane(map_)
    if map_.dtype == np.uint8 and map_.shape != shape:
        resized: ByteArray = np.asarray(
            cv2.resize(map_, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
        ).reshape(shape)
        return resized
    return map_ if map_.dtype == np.uint8 else as_levels(fit_to(map_, shape))


def _checked_plane(map_: npt.NDArray[Any]) -> None:
    if map_.ndim != 2 or map_.size == 0:
        raise InputError(
            f"The map has shape {map_.shape}", "Give one map of at least one row and column"
        )


def _checked_labels(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    classes = np.asarray(labels)
    if classes.ndim != 2 or classes.size == 0:
        raise InputError(
            f"The mask has shape {classes.shape}", "Give a mask of at least one row and column"
        )
    return classes


def _checked_mask(mask: npt.NDArray[Any]) -> BoolArray:
    return _checked_labels(mask).astype(np.bool_)


def _two_sided_mask(mask: npt.NDArray[Any]) -> BoolArray:
    truth = _checked_mask(mask)
    if truth.all() or not truth.any():
        raise InputError(
            "The mask is empty or covers the whole image",
            "Contrast needs pixels on both sides; leave this word out",
        )
    return truth
