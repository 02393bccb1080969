"""Which panels a mode shows, and where the tiles lie: plain functions of the props."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from PySide6.QtCore import QRect

from diffcam_studio.views import colormaps
from diffcam_studio.views.painting import MINUS
from diffcam_studio.views.props import (
    CanvasMode,
    CanvasProps,
    ColourScale,
    FloatArray,
    PanelMessage,
    PanelProps,
    Peek,
)

GUTTER = 8


def default_columns(count: int) -> int:
    """Return how many columns ``count`` tiles get: 1, 2, 3 or 4."""
    return {0: 1, 1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}.get(count, 4)


def difference_of(
    first: PanelProps, second: PanelProps, colour_map: str = colormaps.DEFAULT_DIVERGING
) -> PanelProps:
    """Return a panel that shows the second map minus the first on a symmetric scale.

    Without two maps of one shape the panel says so instead.
    """
    title = f"{second.badge} {MINUS} {first.badge}"
    base = replace(
        second,
        key=f"{second.key}-{first.key}",
        badge="",
        title="Difference",
        subtitle=title,
        metric="",
        tag="",
        contour=(),
    )
    a, b = first.values, second.values
    if a is None or b is None or a.shape != b.shape:
        message = PanelMessage("difference", "No difference", "Both panels need a map of one size.")
        return replace(base, state="no_path", message=message, values=None)
    values = np.subtract(b, a)
    return replace(base, values=values, scale=difference_scale(values, title, colour_map))


def difference_scale(values: FloatArray, title: str, colour_map: str) -> ColourScale:
    """Return the symmetric scale that all of a difference fits into."""
    peak = float(np.nanmax(np.abs(values), initial=0.0))
    limit = math.ceil(peak * 10 - 1e-6) / 10 if peak > 0.1 else 0.1
    scope = f"Difference {title}: {colormaps.DIVERGING_WORDS[colour_map]}"
    return ColourScale(colour_map, -limit, limit, scope, True, 2)


def compared_pair(props: CanvasProps) -> tuple[PanelProps, PanelProps] | None:
    """Return the two panels that are compared; None with fewer than two panels."""
    panels = props.panels
    if len(panels) < 2:
        return None
    a, b = props.pair
    a, b = min(a, len(panels) - 1), min(b, len(panels) - 1)
    if a == b:
        b = (a + 1) % len(panels)
    return panels[a], panels[b]


def shown_panels(
    props: CanvasProps, peek: Peek, *, blink_second: bool
) -> tuple[list[PanelProps], PanelProps | None]:
    """Return the panels to draw and the second layer of a wipe.

    Parameters
    ----------
    props
        What the canvas holds.
    peek
        The peek that is held.
    blink_second
        Whether the second panel of the pair has its turn while blinking.
    """
    panels = list(props.panels)
    if not panels:
        return [PanelProps("", badge="", state="empty")], None
    active = min(props.active, len(panels) - 1)
    pair = compared_pair(props)
    mode: CanvasMode = props.mode
    if pair is None and mode in ("wipe", "blink", "difference"):
        mode = "single"
    if peek == "difference" and pair is not None:
        if mode != "tile":
            return [difference_of(*pair, props.difference_map)], None
        others = [
            p if p is pair[0] else difference_of(pair[0], p, props.difference_map) for p in panels
        ]
        return others, None
    if peek == "blink" and pair is not None:
        if mode == "tile":
            return [replace(pair[0], key=p.key, badge=p.badge) for p in panels], None
        if mode in ("single", "difference"):
            shown = panels[active]
            return [pair[1] if shown is pair[0] else pair[0]], None
        self_second = not blink_second
        return [pair[1] if self_second else pair[0]], None
    if mode == "tile":
        return panels, None
    if mode == "single" or pair is None:
        return [panels[active]], None
    if mode == "wipe":
        first, second = pair
        other = f"{second.badge} {second.title}"
        if second.subtitle != first.subtitle:
            other += f" {second.subtitle}"
        both = f"{first.subtitle} | {other}" if first.subtitle else f"| {other}"
        tag = f"{first.tag} | {second.tag}" if second.tag != first.tag else first.tag
        return [replace(first, subtitle=both, tag=tag)], second
    if mode == "blink":
        return [pair[1] if blink_second else pair[0]], None
    return [difference_of(*pair, props.difference_map)], None


def tile_boxes(count: int, columns: int, width: int, height: int) -> list[QRect]:
    """Return where ``count`` tiles lie in reading order, with gutters around them."""
    columns = max(1, min(columns or default_columns(count), 6))
    rows = math.ceil(count / columns)
    cell_w = (width - GUTTER * (columns + 1)) / columns
    cell_h = (height - GUTTER * (rows + 1)) / rows
    boxes = []
    for i in range(count):
        row, col = divmod(i, columns)
        left = round(GUTTER + col * (cell_w + GUTTER))
        top = round(GUTTER + row * (cell_h + GUTTER))
        right = round(GUTTER + col * (cell_w + GUTTER) + cell_w)
        bottom = round(GUTTER + row * (cell_h + GUTTER) + cell_h)
        boxes.append(QRect(left, top, right - left, bottom - top))
    return boxes
