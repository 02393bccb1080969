"""The lane of small maps, one for each step or every second or fourth."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRect, QRectF, QSize, Qt
from PySide6.QtGui import QImage, QPainter, QPainterPath, QPen

from diffcam_studio.theme import Theme
from diffcam_studio.views import colormaps
from diffcam_studio.views.props import ColourScale, FloatArray, TimelineProps
from diffcam_studio.views.timeline.geometry import Geometry


def thumbnail_rect(geometry: Geometry, aspect: float, step: int) -> QRect:
    """Return the box of a step's map; empty where the lane leaves the step out."""
    lane = geometry.lane_rect("maps")
    if lane.isEmpty():
        return QRect()
    scale = geometry.scale
    every = _map_every(scale.width)
    if step % every:
        return QRect()
    cell = scale.cell(step)
    aspect = min(4.0, max(0.25, aspect))
    room = every * scale.width - 4
    width = min(room, round(27 * aspect), 54)
    height = min(27, max(8, round(width / aspect)))
    left = cell.x() + ((room - width) // 2 if every == 1 else 0)
    return QRect(left, lane.y() + 3 + (27 - height) // 2, width, height)


def _map_every(width: int) -> int:
    if width >= 24:
        return 1
    return 2 if width >= 16 else 4


class Thumbnails:
    """The lane of small maps; each is coloured once for a size and a colour scale."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[FloatArray, ColourScale, QSize, QImage]] = {}

    def forget_from(self, n_steps: int) -> None:
        """Drop the maps of steps that are no more."""
        self._kept = {step: kept for step, kept in self._kept.items() if step < n_steps}

    def paint(
        self,
        p: QPainter,
        geometry: Geometry,
        steps: Sequence[int],
        props: TimelineProps,
        theme: Theme,
        ratio: float,
    ) -> None:
        """Paint the maps of some steps, an empty box where there is none."""
        if "maps" not in geometry.lanes:
            return
        t = theme
        for step in steps:
            box = thumbnail_rect(geometry, props.map_aspect, step)
            if box.isEmpty():
                continue
            values = props.maps[step] if step < len(props.maps) else None
            if values is None:
                p.setRenderHint(QPainter.RenderHint.Antialiasing)
                p.setPen(QPen(t.color("line"), 1))
                fill = t.color("canvas")
                fill.setAlphaF(0.4)
                p.setBrush(fill)
                p.drawRoundedRect(QRectF(box).adjusted(0.5, 0.5, -0.5, -0.5), 3, 3)
                continue
            image = self._image(step, values, props.scale, box.size() * ratio)
            p.save()
            clip = QPainterPath()
            clip.addRoundedRect(QRectF(box), 3, 3)
            p.setRenderHint(QPainter.RenderHint.Antialiasing)
            p.setClipPath(clip, Qt.ClipOperation.IntersectClip)
            p.drawImage(QRectF(box), image)
            p.restore()

    def _image(self, step: int, values: FloatArray, scale: ColourScale, size: QSize) -> QImage:
        kept = self._kept.get(step)
        if kept is not None and kept[0] is values and kept[1:3] == (scale, size):
            return kept[3]
        image = colormaps.thumbnail(values, scale, size.width(), size.height())
        self._kept[step] = (values, scale, size, image)
        return image
