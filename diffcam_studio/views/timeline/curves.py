"""The lane of curves over the steps."""

from __future__ import annotations

import math

import numpy as np
from PySide6.QtCore import QPointF, QRect, QSize, Qt
from PySide6.QtGui import QPainter, QPen, QPixmap, QPolygonF

from diffcam_studio.theme import Theme
from diffcam_studio.views.painting import with_alpha
from diffcam_studio.views.props import Curve, TimelineProps
from diffcam_studio.views.timeline.facts import same_curve, value_at
from diffcam_studio.views.timeline.geometry import LABELS, TAIL, Geometry, Scale


class CurveLane:
    """The lane of curves, drawn once for as long as curves and scale stay the same."""

    def __init__(self) -> None:
        self._pixmap = QPixmap()
        self._key: tuple[object, ...] = ()
        self._curves: tuple[Curve | None, ...] = ()

    def paint(
        self, p: QPainter, geometry: Geometry, props: TimelineProps, theme: Theme, ratio: float
    ) -> None:
        """Paint the curves and a dot at the present step."""
        scale = geometry.scale
        lane = geometry.lane_rect("curve")
        if lane.isEmpty():
            return
        t = theme
        curves = (props.curve, props.second_curve)
        key = (scale, geometry.width, lane, ratio, t.name)
        # Props come anew with each step; curves that say the same are drawn already.
        known = all(map(same_curve, self._curves, curves))
        if key != self._key or not known:
            self._key, self._curves = key, curves
            self._pixmap = QPixmap(QSize(geometry.width, lane.height()) * ratio)
            self._pixmap.setDevicePixelRatio(ratio)
            self._pixmap.fill(Qt.GlobalColor.transparent)
            fresh = QPainter(self._pixmap)
            _draw_curves(fresh, scale, QRect(0, 0, geometry.width, lane.height()), props, theme)
            fresh.end()
        p.drawPixmap(lane.topLeft(), self._pixmap)
        value = value_at(props.curve, props.step)
        if value is not None:
            y = lane.bottom() - 1.0 - (lane.height() - 5.0) * value / _ceiling(props.curve)
            p.setRenderHint(QPainter.RenderHint.Antialiasing)
            p.setPen(QPen(t.color("panel"), 1.5))
            p.setBrush(t.color("accent_line"))
            p.drawEllipse(QPointF(scale.centre(props.step), y), 3.5, 3.5)


def _draw_curves(
    p: QPainter, scale: Scale, lane: QRect, props: TimelineProps, theme: Theme
) -> None:
    t = theme
    base = QRect(LABELS, lane.bottom(), lane.width() - LABELS - TAIL + 8, 1)
    p.fillRect(base, t.color("line"))
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    low, high = lane.bottom() - 1.0, lane.top() + 3.0
    if props.second_curve is not None:
        pen = QPen(t.color("strong"), 1.25)
        pen.setDashPattern([3, 2])
        p.setPen(pen)
        for piece in _pieces(props.second_curve, props.n_steps, scale, low, high):
            p.drawPolyline(QPolygonF(piece))
    if props.curve is None:
        return
    for piece in _pieces(props.curve, props.n_steps, scale, low, high):
        area = [QPointF(piece[0].x(), low + 1), *piece, QPointF(piece[-1].x(), low + 1)]
        p.setPen(Qt.PenStyle.NoPen)
        p.setBrush(with_alpha(t.color("accent_line"), 0.12))
        p.drawPolygon(QPolygonF(area))
        p.setPen(QPen(t.color("accent_line"), 1.5))
        p.setBrush(Qt.BrushStyle.NoBrush)
        p.drawPolyline(QPolygonF(piece))


def _pieces(
    curve: Curve, n_steps: int, scale: Scale, low: float, high: float
) -> list[list[QPointF]]:
    """Return the points of a curve, cut where it has no value."""
    pieces: list[list[QPointF]] = []
    open_ = False
    top = _ceiling(curve)
    for step, value in enumerate(curve.values[:n_steps].tolist()):
        if not math.isfinite(value):
            open_ = False
            continue
        if not open_:
            pieces.append([])
            open_ = True
        pieces[-1].append(QPointF(scale.centre(step), low - (low - high) * value / top))
    return pieces


def _ceiling(curve: Curve | None) -> float:
    """Return the top of a curve's axis: the next of 1, 2, 5 times a power of ten."""
    if curve is None or not len(curve.values):
        return 1.0
    peak = float(np.nanmax(curve.values, initial=0.0))
    if peak <= 0.0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(peak) + 1e-9)
    return next(power * step for step in (1.0, 2.0, 5.0, 10.0) if power * step >= peak * 0.999)
