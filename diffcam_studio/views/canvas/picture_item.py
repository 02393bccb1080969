# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The scene item that draws one layer, or two of them beside a wipe line."""

from __future__ import annotations

import math

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QImage, QPainter

from diffcam_studio.views.canvas.layers import Layer
from diffcam_studio.views.props import ByteArray

MAX_DEVICE_PIXELS = 3_000_000


class PictureItem(pg.GraphicsObject):
    """Scene item that draws one layer, or two of them split by a vertical line (wipe)."""

    def __init__(self) -> None:
        super().__init__()
        self._layer: Layer | None = None
        self._second: Layer | None = None
        self._split = 0.5
        self._key: tuple[float, ...] = ()
        self._pixels: ByteArray | None = None
        self._drawn: QImage | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in image pixels; (0, 0) while there is nothing."""
        return self._layer.size if self._layer is not None else (0, 0)

    def set_layers(self, layer: Layer | None, second: Layer | None = None) -> None:
        """Show other layers."""
        if layer is None or self._layer is None or layer.size != self._layer.size:
            self.prepareGeometryChange()
        self._layer, self._second = layer, second
        self._key = ()
        self.update()

    def set_split(self, share: float) -> None:
        """Move the wipe line; ``share`` of the picture's width belongs to the first layer."""
        self._split = share
        self._key = ()
        self.update()

    def boundingRect(self) -> QRectF:
        return QRectF(0, 0, *self.size)

    def paint(self, p: QPainter, *args: object) -> None:
        if self._layer is None:
            return
        world = p.worldTransform()
        device = p.device()
        ratio = device.devicePixelRatioF() if device is not None else 1.0
        view = self.getViewWidget()
        columns, rows = self.size
        box = world.mapRect(QRectF(0, 0, columns, rows))
        if view is not None:
            box = box.intersected(QRectF(view.viewport().rect()))
        if box.isEmpty():
            return
        left, top = math.floor(box.left() * ratio), math.floor(box.top() * ratio)
        width = math.ceil(box.right() * ratio - 1e-6) - left
        height = math.ceil(box.bottom() * ratio - 1e-6) - top
        if width <= 0 or height <= 0:
            return
        zoom = world.m11() * ratio
        coarse = max(1.0, math.sqrt(width * height / MAX_DEVICE_PIXELS))
        key = (zoom, left, top, width, height, world.dx(), world.dy(), ratio)
        if key != self._key or self._drawn is None:
            x = (left / ratio - world.dx()) / world.m11()
            y = (top / ratio - world.dy()) / world.m22()
            size = (max(1, round(width / coarse)), max(1, round(height / coarse)))
            pixels = self._layer.compose(zoom / coarse, x, y, *size)
            if self._second is not None:
                cut = round((self._split * columns - x) * zoom / coarse)
                cut = min(size[0], max(0, cut))
                if cut < size[0]:
                    part = self._second.compose(
                        zoom / coarse, x + cut * coarse / zoom, y, size[0] - cut, size[1]
                    )
                    pixels = np.concatenate([pixels[:, :cut], part], axis=1)
            self._pixels = np.ascontiguousarray(pixels)
            # The image shares the array's memory: it lives as long as self._pixels.
            self._drawn = QImage(
                self._pixels.data, size[0], size[1], 4 * size[0], QImage.Format.Format_RGB32
            )
            self._key = key
        p.save()
        p.resetTransform()
        p.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, coarse > 1.0)
        target = QRectF(left / ratio, top / ratio, width / ratio, height / ratio)
        p.drawImage(target, self._drawn)
        p.restore()
