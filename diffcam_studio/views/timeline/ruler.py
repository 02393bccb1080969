"""The ruler above the lanes and the flag of the playhead."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPen

from diffcam_studio.theme import Theme
from diffcam_studio.views.painting import (
    CENTRE,
    SEMIBOLD,
    draw_icon,
    draw_text,
    text_font,
    text_width,
)
from diffcam_studio.views.props import TimelineProps
from diffcam_studio.views.timeline.geometry import RULER, Scale


def paint_ruler(
    p: QPainter, scale: Scale, steps: Sequence[int], props: TimelineProps, theme: Theme
) -> None:
    """Paint ticks, numbers, the loop's bar and the markers."""
    t = theme
    every = _every(scale.width)
    font = text_font(11)
    p.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    if props.loop is not None:
        first, last = props.loop
        left = round(scale.left) + first * scale.width
        box = QRectF(left, RULER - 5, (last - first + 1) * scale.width, 3)
        p.fillRect(box, t.color("accent_line" if props.looping else "strong"))
    for step in steps:
        x = scale.centre(step)
        long = step % every == 0
        p.setPen(QPen(t.color("strong" if long else "border"), 1))
        p.drawLine(QPointF(x, RULER - (9 if long else 5)), QPointF(x, RULER))
        hidden = abs(x - scale.centre(props.step)) < 24
        if long and not hidden:
            box = QRectF(x - 20, 0, 40, 15)
            draw_text(p, box, str(step), font, t.color("text_3"), CENTRE)
    for marker in props.markers:
        if marker != props.step:
            draw_icon(p, t, "flag", "accent_text", scale.centre(marker) + 5, 3, 12)


def _every(width: float) -> int:
    for every in (1, 2, 4, 8, 16, 32):
        if every * width >= 32:
            return every if every > 2 else 4
    return 64


def paint_flag(p: QPainter, x: float, y: float, step: int, theme: Theme) -> None:
    """Paint the playhead's flag, 18 px high, in the middle of ``x`` and below ``y``."""
    text = str(step)
    width = max(28.0, text_width(text, text_font(11, SEMIBOLD)) + 12)
    flag = QRectF(x - width / 2, y, width, 18)
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    p.setPen(Qt.PenStyle.NoPen)
    p.setBrush(theme.color("accent"))
    p.drawRoundedRect(flag, 4, 4)
    draw_text(p, flag, text, text_font(11, SEMIBOLD), theme.color("on_accent"), CENTRE)
