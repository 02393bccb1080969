"""The mask measures of one map in one pass.

An evaluation measures a few thousand maps an item. `diffcam_core.metrics.localization` checks,
resizes and copies for every measure anew; here that is done once a map. The numbers are the same
(tests hold them together); measures that are not written out here are taken from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from diffcam_core.metrics import localization
from diffcam_core.metrics.cells import Cells

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

FAST: Final = ("obj_iou", "contrast", "concentration", "f3", "pointing_game", "energy_in_mask")
_LEVELS: Final = 255


def unit_image(cells: Cells, values: FloatArray) -> FloatArray:
    """Interpolate a map to the pixels of its image and scale it to [0, 1] by its own range.

    Parameters
    ----------
    cells : Cells
    values : ndarray of float32, shape (rows, cols)

    Returns
    -------
    ndarray of float32, shape (H, W)
        Zeros for a constant map, which shows nothing.
    """
    image = cells.interpolate(values)
    low, high = image.min(), image.max()
    if not high > low:
        return np.zeros_like(image)
    image -= low
    image /= high - low
    return image


class MaskMeasures:
    """Measures maps against one mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
    names : iterable of str
        Measures of (map, mask) in `localization.METRICS`.
    labels : ndarray of int, shape (H, W), optional
        All masks of the image, for ``obj_iou_any_class``.
    """

    def __init__(
        self,
        mask: BoolArray,
        names: Iterable[str],
        labels: npt.NDArray[np.int32] | None = None,
    ) -> None:
        self._mask = np.ascontiguousarray(mask, np.bool_)
        self._inside = np.flatnonzero(self._mask)
        self._outside_count = self._mask.size - len(self._inside)
        self._names = tuple(names)
        self._labels = labels

    def __call__(self, image: FloatArray) -> dict[str, float]:
        """Measure a map in [0, 1] of the mask's size.

        Returns
        -------
        dict of str to float
            Without ``contrast`` and ``f3`` where the mask leaves nothing inside or outside.
        """
        flat = image.reshape(-1)
        within = flat[self._inside]
        inside, total = within.sum(dtype=np.float64), flat.sum(dtype=np.float64)
        found = {
            "obj_iou": self._iou(image),
            "concentration": float(inside / total) if total > 0 else 0.0,
        }
        found["energy_in_mask"] = found["concentration"]
        if len(self._inside) and self._outside_count:
            found["contrast"] = self._contrast(float(inside), float(total - inside))
            found["f3"] = localization.f3(
                found["obj_iou"], found["contrast"], found["concentration"]
            )
        top = flat.max()
        tops = np.count_nonzero(flat == top)
        found["pointing_game"] = np.count_nonzero(within == top) / tops
        return {
            name: found[name] if name in FAST else self._slow(name, image)
            for name in self._names
            if name in found or name not in FAST
        }

    def _iou(self, image: FloatArray) -> float:
        levels = (image * np.float32(_LEVELS)).astype(np.uint8)
        threshold, _ = cv2.threshold(levels.reshape(1, -1), 0, _LEVELS, cv2.THRESH_OTSU)
        foreground = levels > int(threshold)
        both = np.count_nonzero(foreground & self._mask)
        union = np.count_nonzero(foreground) + len(self._inside) - both
        return both / union if union else 0.0

    def _contrast(self, inside: float, outside: float) -> float:
        mean_in, mean_out = inside / len(self._inside), outside / self._outside_count
        if mean_in <= 0:
            return 0.0
        # The rest of a subtraction of sums stands for nothing where the map is zero outside.
        if mean_out <= mean_in * 1e-12:
            return localization.CONTRAST_LIMIT
        return min(mean_in / mean_out, localization.CONTRAST_LIMIT)

    def _slow(self, name: str, image: FloatArray) -> float:
        compute: Callable[[Any, Any], float] | None = localization.METRICS[name].compute
        assert compute is not None
        other = self._labels if name == "obj_iou_any_class" else self._mask
        return float(compute(image, other))


__all__ = ["FAST", "MaskMeasures", "unit_image"]
