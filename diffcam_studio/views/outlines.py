"""Lines around regions and thresholds, as polygons in image pixels (no Qt, any thread)."""

from __future__ import annotations

import contourpy
import cv2
import numpy as np

from diffcam_studio.views.props import BoolArray, FloatArray


def contours_of(
    values: FloatArray, level: float, image_size: tuple[int, int]
) -> tuple[FloatArray, ...]:
    """Return the lines where a map crosses a level.

    Parameters
    ----------
    values
        float32 (rows, cols) over the whole picture, any resolution; NaN is outside.
    level
        Threshold in the units of ``values``.
    image_size
        (width, height) of the picture in pixels.

    Returns
    -------
    tuple of float32 (n, 2) x, y in image pixels; empty where nothing crosses the level.
    """
    rows, cols = values.shape
    if rows < 2 or cols < 2:
        return ()
    width, height = image_size
    finite = np.nan_to_num(values, nan=-np.inf)
    x = (np.arange(cols) + 0.5) * (width / cols)
    y = (np.arange(rows) + 0.5) * (height / rows)
    lines = contourpy.contour_generator(x, y, finite).lines(level)
    return tuple(_thinned(np.asarray(line, np.float32), width / 2000) for line in lines)


def outline_of(mask: BoolArray) -> tuple[FloatArray, ...]:
    """Return closed outlines of a bool mask (H, W) in image pixels, holes included.

    The line runs along the edge between pixels inside and outside (within half a pixel).
    """
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    twice = cv2.resize(padded, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_L1)
    lines = []
    for line in found:
        if len(line) > 2:
            points = (line[:, 0, :].astype(np.float32) + 0.5) / 2.0 - 1.0
            closed = np.concatenate([points, points[:1]])
            lines.append(_thinned(closed, mask.shape[1] / 2000))
    return tuple(lines)


def _thinned(line: FloatArray, tolerance: float) -> FloatArray:
    """Leave out points within ``tolerance`` px of the line: a screen pixel shows no difference."""
    closed = len(line) > 3 and bool(np.array_equal(line[0], line[-1]))
    points = line[:-1] if closed else line
    kept = cv2.approxPolyDP(points.reshape(-1, 1, 2), tolerance, closed)[:, 0, :]
    if closed:
        kept = np.concatenate([kept, kept[:1]])
    return np.asarray(kept, np.float32)
