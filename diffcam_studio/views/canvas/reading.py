"""What lies under the cross-hair: the value and the patch at a point of a panel."""

from __future__ import annotations

import math

import numpy as np

from diffcam_studio.views.props import PanelProps, PatchGrid, Readout


def read_at(props: PanelProps, size: tuple[int, int], across: float, down: float) -> Readout:
    """Return value and patch of a panel at a share of its picture of ``size`` (width, height)."""
    columns, rows = size
    x, y = across * columns, down * rows
    value: float | None = None
    if props.values is not None:
        height, width = props.values.shape
        row = min(height - 1, max(0, int(down * height)))
        col = min(width - 1, max(0, int(across * width)))
        found = float(props.values[row, col])
        value = found if math.isfinite(found) else None
    cell = patch_at(props.patches, x, y)
    return Readout(props.key, x, y, value, *(cell or (None, None)))


def patch_at(patches: PatchGrid | None, x: float, y: float) -> tuple[int, int] | None:
    """Return (row, col) of the cell that holds an image point, or None outside every cell."""
    if patches is None:
        return None
    box = patches.rectangles
    inside = (box[..., 0] <= x) & (x < box[..., 2]) & (box[..., 1] <= y) & (y < box[..., 3])
    flat = int(np.argmax(inside))
    if not inside.flat[flat]:
        return None
    return divmod(flat, patches.cols)
