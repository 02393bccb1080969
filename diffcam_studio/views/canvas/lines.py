"""Lines over a picture: the threshold contour and the outlines of regions."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPen, QPixmap, QPolygonF, QTransform

from diffcam_studio.theme import Theme
from diffcam_studio.views.props import FloatArray

LineKind = Literal["contour", "regions"]


class Lines:
    """Threshold contour and outlines of regions over a picture.

    They are drawn from pixmaps, so that a moved cross-hair or a new map costs no stroke.
    """

    def __init__(self) -> None:
        self._sources: dict[LineKind, tuple[FloatArray, ...]] = {"contour": (), "regions": ()}
        self._paths = {kind: QPainterPath() for kind in self._sources}
        self._drawn: dict[LineKind, tuple[tuple[object, ...], QPixmap]] = {}

    def set_lines(self, kind: LineKind, lines: tuple[FloatArray, ...]) -> bool:
        """Take other lines, in image pixels; returns whether they differ from those at hand."""
        before = self._sources[kind]
        if len(lines) == len(before) and all(a is b for a, b in zip(lines, before, strict=True)):
            return False
        self._sources[kind] = lines
        self._paths[kind] = _path(lines, close=kind == "regions")
        self._drawn.pop(kind, None)
        return True

    def draw(
        self, p: QPainter, to_view: QTransform, size: QSize, ratio: float, theme: Theme
    ) -> None:
        """Draw the lines where ``to_view`` puts them, in a view of ``size``."""
        key = (to_view.m11(), to_view.dx(), to_view.dy(), size, ratio, theme.name)
        for kind, path in self._paths.items():
            if path.isEmpty():
                continue
            drawn, pixmap = self._drawn.get(kind, ((), QPixmap()))
            if key != drawn:
                pixmap = QPixmap(size * ratio)
                pixmap.setDevicePixelRatio(ratio)
                pixmap.fill(Qt.GlobalColor.transparent)
                fresh = QPainter(pixmap)
                fresh.setRenderHint(QPainter.RenderHint.Antialiasing)
                fresh.setTransform(to_view)
                _stroke(fresh, path, kind, theme)
                fresh.end()
                self._drawn[kind] = (key, pixmap)
            p.drawPixmap(0, 0, pixmap)


def _stroke(p: QPainter, path: QPainterPath, kind: LineKind, theme: Theme) -> None:
    p.setBrush(Qt.BrushStyle.NoBrush)
    if kind == "contour":
        p.setPen(_cosmetic(theme.color("contour"), 1.25))
        p.drawPath(path)
        return
    p.setPen(_cosmetic(theme.color("casing"), 3))
    p.drawPath(path)
    pen = _cosmetic(theme.color("outline"), 1.25)
    pen.setDashPattern([4 / 1.25, 3 / 1.25])
    pen.setCapStyle(Qt.PenCapStyle.FlatCap)
    p.setPen(pen)
    p.drawPath(path)


def _cosmetic(color: QColor, width: float) -> QPen:
    pen = QPen(color, width)
    pen.setCosmetic(True)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    return pen


def _path(lines: tuple[FloatArray, ...], *, close: bool) -> QPainterPath:
    path = QPainterPath()
    for line in lines:
        polygon = QPolygonF([QPointF(float(x), float(y)) for x, y in line])
        path.addPolygon(polygon)
        if close:
            path.closeSubpath()
    return path
