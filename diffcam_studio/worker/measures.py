"""What is measured of a map: its mass, and how well it fits a region."""

from __future__ import annotations

import numpy as np

from diffcam_core.events import GridSpec
from diffcam_studio.state.source import BoolArray, FloatArray

MASS, F3 = "Mass", "F3"
REGION_METRICS = ("Obj-IoU", "Contrast", "Concentration", "F3")


def measure(values: FloatArray, mask: BoolArray | None) -> tuple[tuple[str, float], ...]:
    """Measures of one map over the picture; those of the region only where there is one."""
    found: list[tuple[str, float]] = []
    if mask is not None:
        from diffcam_core.metrics import localization as metrics

        peak = float(values.max())
        scaled = np.clip(values / peak, 0.0, 1.0) if peak > 0 else np.zeros_like(values)
        small = _fit_mask(mask, values.shape)
        iou = metrics.obj_iou(scaled, small)
        ratio = metrics.contrast(scaled, small)
        share = metrics.concentration(scaled, small)
        found = [
            ("Obj-IoU", iou),
            ("Contrast", ratio),
            ("Concentration", share),
            ("F3", metrics.f3(iou, ratio, share)),
        ]
    return (*found, (MASS, float(values.mean())))


def cell_shares(mask: BoolArray, spec: GridSpec) -> FloatArray:
    """Share of each cell's pixels that lie in a mask, float32 (rows, cols)."""
    table = np.pad(mask.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = mask.shape
    boxes = np.asarray(spec.rectangles, np.float64)
    x = np.clip(np.rint(boxes[..., [0, 2]]), 0, width).astype(int)
    y = np.clip(np.rint(boxes[..., [1, 3]]), 0, height).astype(int)
    inside = (
        table[y[..., 1], x[..., 1]]
        - table[y[..., 0], x[..., 1]]
        - table[y[..., 1], x[..., 0]]
        + table[y[..., 0], x[..., 0]]
    )
    area = np.maximum(1, (x[..., 1] - x[..., 0]) * (y[..., 1] - y[..., 0]))
    return (inside / area).astype(np.float32)


def _fit_mask(mask: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    if mask.shape == shape:
        return mask
    import cv2

    resized = cv2.resize(
        mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_AREA
    )
    return np.asarray(resized > 0.5)
