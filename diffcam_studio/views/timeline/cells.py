"""The lanes of what exists: at which steps a map is possible, and which are computed."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPen

from diffcam_studio.theme import Theme
from diffcam_studio.views.painting import (
    CENTRE,
    draw_hatch,
    draw_text,
    paint_cell,
    text_font,
    text_width,
)
from diffcam_studio.views.props import TimelineProps
from diffcam_studio.views.timeline.facts import validity_runs
from diffcam_studio.views.timeline.geometry import Geometry


def paint_valid(p: QPainter, geometry: Geometry, props: TimelineProps, theme: Theme) -> None:
    """Paint where a gradient path to the image exists, and why not where it does not."""
    scale = geometry.scale
    lane = geometry.lane_rect("valid")
    if lane.isEmpty():
        return
    t = theme
    middle = lane.center().y()
    for first, last, valid in validity_runs(props):
        left = round(scale.left) + first * scale.width + 2
        right = round(scale.left) + (last + 1) * scale.width - 2
        if valid:
            p.setRenderHint(QPainter.RenderHint.Antialiasing)
            p.setPen(Qt.PenStyle.NoPen)
            p.setBrush(t.color("valid"))
            p.drawRoundedRect(QRectF(left, middle - 1, right - left, 4), 2, 2)
        else:
            _paint_impossible(
                p, QRect(left, middle - 3, right - left, 8), props.invalid_reason, theme
            )


def _paint_impossible(p: QPainter, bar: QRect, reason: str, theme: Theme) -> None:
    t = theme
    p.save()
    clip = QPainterPath()
    clip.addRoundedRect(QRectF(bar), 3, 3)
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    p.setClipPath(clip, Qt.ClipOperation.IntersectClip)
    draw_hatch(p, bar, t)
    p.restore()
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    p.setPen(QPen(t.color("invalid"), 1))
    p.setBrush(Qt.BrushStyle.NoBrush)
    p.drawRoundedRect(QRectF(bar).adjusted(0.5, 0.5, -0.5, -0.5), 3, 3)
    font = text_font(11)
    width = text_width(reason, font) + 12
    if width <= bar.width() - 16:
        box = QRectF(bar.center().x() - width / 2, bar.y() - 4, width, 16)
        p.fillRect(box, t.color("panel"))
        draw_text(p, box, reason, font, t.color("text_2"), CENTRE)


def paint_cells(
    p: QPainter,
    geometry: Geometry,
    steps: Sequence[int],
    props: TimelineProps,
    theme: Theme,
    phase: int,
) -> None:
    """Paint how much is computed at each step; ``phase`` moves the stripes."""
    if "computed" not in geometry.lanes:
        return
    for step in steps:
        state = props.cells[step] if step < len(props.cells) else "not_computed"
        share = props.shares[step] if step < len(props.shares) else 1.0
        paint_cell(p, geometry.cell_rect(step), state, share, theme, phase)
