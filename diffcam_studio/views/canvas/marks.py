"""What is drawn over a picture beside its lines: corners, wipe line, cross-hair and readout."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPen

from diffcam_studio.theme import Theme
from diffcam_studio.views.painting import (
    MEDIUM,
    draw_icon,
    draw_text,
    rounded,
    text_font,
    text_width,
)


def round_corners(p: QPainter, frame: QRectF, theme: Theme) -> None:
    """Paint the ground over the corners of a picture that fills ``frame``."""
    path = QPainterPath()
    path.setFillRule(Qt.FillRule.OddEvenFill)
    path.addRect(frame.adjusted(-1, -1, 1, 1))
    path.addRoundedRect(frame, 3, 3)
    p.fillPath(path, theme.color("canvas"))


def draw_wipe_line(p: QPainter, frame: QRectF, share: float, height: int, theme: Theme) -> None:
    """Draw the wipe line at a share of the picture, in a view of ``height``."""
    t = theme
    x = frame.left() + share * frame.width()
    top, bottom = max(0.0, frame.top()), min(float(height), frame.bottom())
    p.setPen(QPen(t.color("casing"), 3))
    p.drawLine(QPointF(x, top), QPointF(x, bottom))
    p.setPen(QPen(t.color("outline"), 1))
    p.drawLine(QPointF(x, top), QPointF(x, bottom))
    centre = QPointF(x, (top + bottom) / 2)
    p.setPen(QPen(t.color("readout_edge"), 1))
    p.setBrush(t.color("readout"))
    p.drawEllipse(centre, 12, 12)
    draw_icon(p, t, "wipe", "readout_rest", centre.x() - 8, centre.y() - 8)


def draw_crosshair(
    p: QPainter,
    frame: QRectF,
    at: QPointF,
    readout: tuple[str, str],
    bounds: QRectF,
    theme: Theme,
) -> None:
    """Draw the cross-hair at a share of the picture, its readout kept inside ``bounds``."""
    t = theme
    x = frame.left() + at.x() * frame.width()
    y = frame.top() + at.y() * frame.height()
    if not bounds.contains(x, y):
        return
    p.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    p.setPen(QPen(t.color("crosshair"), 1))
    p.drawLine(QPointF(x, frame.top()), QPointF(x, frame.bottom() - 1))
    p.drawLine(QPointF(frame.left(), y), QPointF(frame.right() - 1, y))
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    value, rest = readout
    if not value:
        return
    strong, plain = text_font(11, MEDIUM), text_font(11)
    wide = text_width(value, strong)
    tail = text_width(rest, plain) + 8 if rest else 0.0
    tag = QRectF(x + 10, y + 10, wide + tail + 14, 20)
    limit = frame.intersected(bounds)
    if tag.right() > limit.right():
        tag.moveRight(x - 10)
    if tag.bottom() > limit.bottom():
        tag.moveBottom(y - 10)
    rounded(p, tag, 4, t.color("readout"), t.color("readout_edge"))
    draw_text(p, tag.adjusted(7, 0, 0, 0), value, strong, t.color("readout_value"))
    if rest:
        box = tag.adjusted(7 + wide + 8, 0, 0, 0)
        draw_text(p, box, rest, plain, t.color("readout_rest"))
