"""Photographs in the frame of the application: cut to a box, with round corners."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QImage, QPainter, QPainterPath, QPixmap

from diffcam_studio.theme import Theme

_FINER = 4
"""How many times finer than the box a picture is that is scaled for it."""


def to_pixmap(
    pixels: npt.NDArray[np.uint8], width: int, height: int, ratio: float = 2.0
) -> QPixmap:
    """Scale an RGB array to cover a box and cut what sticks out."""
    # Every n-th pixel of a photograph is still several times what the box shows, and scaling
    # it smoothly costs the same for a picture of any size.
    rows, columns = pixels.shape[:2]
    stride = int(min(rows / (height * ratio), columns / (width * ratio)) / _FINER)
    data = np.ascontiguousarray(pixels[:: max(1, stride), :: max(1, stride)])
    image = QImage(
        data.data, data.shape[1], data.shape[0], data.strides[0], QImage.Format.Format_RGB888
    )
    size = QSize(round(width * ratio), round(height * ratio))
    scaled = image.scaled(
        size,
        Qt.AspectRatioMode.KeepAspectRatioByExpanding,
        Qt.TransformationMode.SmoothTransformation,
    )
    x = (scaled.width() - size.width()) // 2
    y = (scaled.height() - size.height()) // 2
    pixmap = QPixmap.fromImage(scaled.copy(x, y, size.width(), size.height()))
    pixmap.setDevicePixelRatio(ratio)
    return pixmap


def draw_picture(
    p: QPainter, rect: QRectF, pixmap: QPixmap | None, theme: Theme, radius: float = 3
) -> None:
    """Draw a thumbnail with round corners, or an empty box where there is no picture."""
    p.save()
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    path = QPainterPath()
    path.addRoundedRect(rect, radius, radius)
    p.setClipPath(path)
    if pixmap is None or pixmap.isNull():
        p.fillRect(rect, theme.color("hover"))
    else:
        p.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        p.drawPixmap(rect, pixmap, QRectF(pixmap.rect()))
    p.restore()
