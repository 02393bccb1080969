# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The canvas: pictures under their maps in one to eight linked panels.

The map is enlarged to device pixels first and coloured afterwards, on every
change of camera, so that colours are never interpolated at any zoom.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QFont,
    QHideEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPixmap,
    QPolygonF,
    QResizeEvent,
    QShowEvent,
    QTransform,
    QWheelEvent,
)
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views import colormaps
from diffcam_studio.views.colour_bar import OVERHANG, VERTICAL_WIDTH, ColourBar, short_range
from diffcam_studio.views.controls import (
    Choice,
    IconButton,
    Label,
    Tag,
    TextButton,
    ThemedWidget,
    came_by_keyboard,
)
from diffcam_studio.views.painting import (
    CENTRE,
    LEFT,
    MEDIUM,
    MINUS,
    REGULAR,
    SEMIBOLD,
    draw_focus,
    draw_icon,
    draw_text,
    number,
    rounded,
    text_font,
    text_width,
)
from diffcam_studio.views.props import (
    ByteArray,
    Camera,
    CanvasMode,
    CanvasProps,
    ColourScale,
    FloatArray,
    PanelMessage,
    PanelProps,
    PatchGrid,
    Peek,
    Readout,
)

HEADER = 32
TILE_HEADER = 28
MARGIN = 17  # 16 and the hairline under the header
BAR_GAP = 20
GUTTER = 8
MAX_ZOOM = 32.0
SLOW_LOAD_MS = 250
MAX_BLINK_HZ = 3.0
MAX_DEVICE_PIXELS = 3_000_000


def default_columns(count: int) -> int:
    """Return how many columns ``count`` tiles get: 1, 2, 3 or 4."""
    return {0: 1, 1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}.get(count, 4)


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


def difference_of(first: PanelProps, second: PanelProps) -> PanelProps:
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
    peak = float(np.nanmax(np.abs(values), initial=0.0))
    limit = math.ceil(peak * 10 - 1e-6) / 10 if peak > 0.1 else 0.1
    scope = f"Difference {title}: blue is less, red is more, black is no change"
    scale = ColourScale(colormaps.DEFAULT_DIVERGING, -limit, limit, scope, True, 2)
    return replace(base, values=values, scale=scale)


class _Ground:
    """A picture as RGB32 pixels, with halves for far views and the last window drawn."""

    def __init__(self, image: ByteArray, *, grey: bool) -> None:
        self.source = image
        self.grey = grey
        if grey:
            one = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
            self.pixels = np.asarray(cv2.cvtColor(one, cv2.COLOR_GRAY2BGRA), np.uint8)
        else:
            pixels = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGRA)
            self.pixels = np.asarray(pixels, np.uint8)
        self._halves: list[ByteArray] = []
        self._key: tuple[float, ...] = ()
        self._window = self.pixels

    def window(self, zoom: float, x: float, y: float, width: int, height: int) -> ByteArray:
        """Return uint8 (height, width, 4); the same window twice costs nothing."""
        key = (zoom, x, y, width, height)
        if key != self._key:
            source, level = self._level(zoom)
            self._window = _window(source, zoom / level, x * level, y * level, width, height)
            self._key = key
        return self._window

    def _level(self, zoom: float) -> tuple[ByteArray, float]:
        # Far reduced pictures are halved by area first: a plain resample would alias.
        source, level, depth = self.pixels, 1.0, 0
        while zoom / level <= 0.5 and min(source.shape[:2]) > 2:
            if depth == len(self._halves):
                half = cv2.resize(
                    source,
                    (max(1, source.shape[1] // 2), max(1, source.shape[0] // 2)),
                    interpolation=cv2.INTER_AREA,
                )
                self._halves.append(np.asarray(half, np.uint8))
            source = self._halves[depth]
            level = source.shape[1] / self.pixels.shape[1]
            depth += 1
        return source, level


class _Layer:
    """A picture and its map, ready to be drawn at any zoom."""

    def __init__(self, props: PanelProps, ground: _Ground | None, *, overlay: bool) -> None:
        self.ground = ground
        self.values = props.values if overlay or ground is None else None
        self.scale = props.scale
        self.opacity = props.opacity
        self.alpha_by_value = props.alpha_by_value

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture in image pixels."""
        source = self.ground.pixels if self.ground is not None else self.values
        assert source is not None
        return source.shape[1], source.shape[0]

    def compose(self, zoom: float, x: float, y: float, width: int, height: int) -> ByteArray:
        """Return uint8 (height, width, 4): device pixel (0, 0) starts at image point (x, y).

        ``zoom`` is device pixels for each image pixel.
        """
        ground = None
        if self.ground is not None:
            ground = self.ground.window(zoom, x, y, width, height)
        if self.values is None:
            assert ground is not None
            return ground
        columns, rows = self.size
        across = self.values.shape[1] / columns
        down = self.values.shape[0] / rows
        fine = _window(self.values, zoom / across, x * across, y * down, width, height, zoom / down)
        if ground is None:
            return colormaps.colour_pixels(fine, self.scale)
        return colormaps.blend_pixels(
            ground, fine, self.scale, self.opacity, alpha_by_value=self.alpha_by_value
        )


def _window(
    source: npt.NDArray[Any],
    zoom: float,
    x: float,
    y: float,
    width: int,
    height: int,
    zoom_y: float | None = None,
) -> npt.NDArray[Any]:
    """Resample a window of an array bilinearly; the border repeats its last row and column."""
    zoom_y = zoom if zoom_y is None else zoom_y
    rows, columns = source.shape[:2]
    if (
        abs(x * zoom) < 1
        and abs(y * zoom_y) < 1
        and abs(columns * zoom - width) < 1
        and abs(rows * zoom_y - height) < 1
    ):  # the whole array to within a pixel: the faster way
        return cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR)
    matrix = np.array(
        [[1 / zoom, 0.0, x + 0.5 / zoom - 0.5], [0.0, 1 / zoom_y, y + 0.5 / zoom_y - 0.5]]
    )
    return cv2.warpAffine(
        source,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


class PictureItem(pg.GraphicsObject):
    """Scene item that draws one layer, or two of them split by a vertical line (wipe)."""

    def __init__(self) -> None:
        super().__init__()
        self._layer: _Layer | None = None
        self._second: _Layer | None = None
        self._split = 0.5
        self._key: tuple[float, ...] = ()
        self._pixels: ByteArray | None = None
        self._drawn: QImage | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in image pixels; (0, 0) while there is nothing."""
        return self._layer.size if self._layer is not None else (0, 0)

    def set_layers(self, layer: _Layer | None, second: _Layer | None = None) -> None:
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


class MapView(pg.GraphicsView):
    """Scene with camera: picture, outlines, contour, cross-hair and readout of one panel."""

    camera_changed = Signal(object)  # Camera
    hovered = Signal(object)  # QPointF in shares of the picture, or None
    pressed = Signal()
    split_moved = Signal(float)
    fit_requested = Signal()

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setMouseTracking(True)
        self.viewport().setMouseTracking(True)
        self.setAntialiasing(True)
        self.box = pg.ViewBox(
            lockAspect=False, invertY=True, enableMouse=False, enableMenu=False, defaultPadding=0
        )
        self.box.disableAutoRange()
        self.setCentralItem(self.box)
        self.picture = PictureItem()
        self.box.addItem(self.picture, ignoreBounds=True)
        self.setBackground(theme.color("canvas"))
        self._camera = Camera()
        self._fit = QRectF()
        self._regions = QPainterPath()
        self._contour = QPainterPath()
        self._line_sources: list[tuple[FloatArray, ...]] = [(), ()]
        self._lines = [QPixmap(), QPixmap()]
        self._lines_keys: list[tuple[object, ...]] = [(), ()]
        self._cursor: QPointF | None = None
        self._readout: tuple[str, str] = ("", "")
        self._split: float | None = None
        self._drag: tuple[str, QPointF, Camera] | None = None
        self.focused = False

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        self.setBackground(theme.color("canvas"))
        self.viewport().update()

    def set_layers(self, layer: _Layer | None, second: _Layer | None = None) -> None:
        """Show other pictures."""
        before = self.picture.size
        self.picture.set_layers(layer, second)
        if self.picture.size != before:
            self._look()
        self.viewport().update()

    def set_outlines(
        self, regions: tuple[FloatArray, ...], contour: tuple[FloatArray, ...]
    ) -> None:
        """Show other lines, in image pixels."""
        if not _same_arrays(contour, self._line_sources[0]):
            self._line_sources[0] = contour
            self._contour = _path(contour, close=False)
            self._lines_keys[0] = ()
            self.viewport().update()
        if not _same_arrays(regions, self._line_sources[1]):
            self._line_sources[1] = regions
            self._regions = _path(regions, close=True)
            self._lines_keys[1] = ()
            self.viewport().update()

    def set_cursor_at(self, at: QPointF | None, value: str = "", rest: str = "") -> None:
        """Put the cross-hair at a share of the picture, with its readout; None takes it away."""
        if at == self._cursor and (value, rest) == self._readout:
            return
        self._cursor, self._readout = at, (value, rest)
        self.viewport().update()

    @property
    def cursor_at(self) -> QPointF | None:
        """Where the cross-hair is, in shares of the picture."""
        return self._cursor

    @property
    def readout(self) -> tuple[str, str]:
        """Texts of the readout tag: value and rest."""
        return self._readout

    def set_split(self, share: float | None) -> None:
        """Show the wipe line at a share of the picture's width, or none."""
        self._split = share
        if share is not None:
            self.picture.set_split(share)
        self.viewport().update()

    def set_camera(self, camera: Camera) -> None:
        """Look elsewhere; nothing is emitted."""
        if camera != self._camera:
            self._camera = camera
            self._look()

    @property
    def camera(self) -> Camera:
        """Where the view looks."""
        return self._camera

    def set_fit(self, box: QRectF) -> None:
        """Set the rectangle (px of this view) that the whole picture fits at zoom 1."""
        self._fit = box
        self._look()

    @property
    def zoom(self) -> float:
        """Logical pixels for each image pixel."""
        columns, rows = self.picture.size
        if not columns or not rows or self._fit.isEmpty():
            return 1.0
        fit = min(self._fit.width() / columns, self._fit.height() / rows)
        return float(fit * self._camera.zoom)

    def image_to_view(self) -> QTransform:
        """Return the map from image pixels to pixels of this view."""
        columns, rows = self.picture.size
        zoom = self.zoom
        centre = self._fit.center()
        x = centre.x() - zoom * self._camera.x * columns
        y = centre.y() - zoom * self._camera.y * rows
        if self._camera.zoom == 1.0:  # whole pixels keep the fitted picture's edge sharp
            x, y = round(x), round(y)
        return QTransform(zoom, 0, 0, zoom, x, y)

    def image_rect(self) -> QRectF:
        """Return where the whole picture lies in this view."""
        return self.image_to_view().mapRect(QRectF(0, 0, *self.picture.size))

    def _look(self) -> None:
        if not self.picture.size[0] or self._fit.isEmpty():
            return
        back, _ = self.image_to_view().inverted()
        seen = back.mapRect(QRectF(0, 0, self.width(), self.height()))
        self.box.setRange(
            xRange=(seen.left(), seen.right()),
            yRange=(seen.top(), seen.bottom()),
            padding=0,
            disableAutoRange=True,
        )
        self.viewport().update()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        if hasattr(self, "_fit"):  # pyqtgraph resizes once inside its own constructor
            self._look()

    def drawForeground(self, p: QPainter, rect: QRectF) -> None:
        t = self.theme
        p.save()
        p.resetTransform()
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        columns, rows = self.picture.size
        if columns and rows:
            to_view = self.image_to_view()
            frame = to_view.mapRect(QRectF(0, 0, columns, rows))
            self._round_corners(p, frame)
            self._draw_lines(p, to_view)
            if self._split is not None:
                self._draw_split(p, frame)
            if self._cursor is not None:
                self._draw_cursor(p, frame)
        if self.focused:
            draw_focus(p, QRectF(self.viewport().rect()), t, 0)
        p.restore()

    def _round_corners(self, p: QPainter, frame: QRectF) -> None:
        if self._camera.zoom != 1.0:
            return
        path = QPainterPath()
        path.setFillRule(Qt.FillRule.OddEvenFill)
        path.addRect(frame.adjusted(-1, -1, 1, 1))
        path.addRoundedRect(frame, 3, 3)
        p.fillPath(path, self.theme.color("canvas"))

    def _draw_lines(self, p: QPainter, to_view: QTransform) -> None:
        """Draw contour and outlines, from pixmaps while only the cross-hair or the map changes."""
        ratio = self.devicePixelRatioF()
        size = self.viewport().size()
        key = (to_view.m11(), to_view.dx(), to_view.dy(), size, ratio, self.theme.name)
        for which, path in enumerate((self._contour, self._regions)):
            if path.isEmpty():
                continue
            if key != self._lines_keys[which]:
                self._lines_keys[which] = key
                pixmap = QPixmap(size * ratio)
                pixmap.setDevicePixelRatio(ratio)
                pixmap.fill(Qt.GlobalColor.transparent)
                fresh = QPainter(pixmap)
                fresh.setRenderHint(QPainter.RenderHint.Antialiasing)
                fresh.setTransform(to_view)
                self._stroke_lines(fresh, path, region=path is self._regions)
                fresh.end()
                self._lines[which] = pixmap
            p.drawPixmap(0, 0, self._lines[which])

    def _stroke_lines(self, p: QPainter, path: QPainterPath, *, region: bool) -> None:
        t = self.theme
        p.setBrush(Qt.BrushStyle.NoBrush)
        if not region:
            p.setPen(_cosmetic(t.color("contour"), 1.25))
            p.drawPath(path)
            return
        p.setPen(_cosmetic(t.color("casing"), 3))
        p.drawPath(path)
        pen = _cosmetic(t.color("outline"), 1.25)
        pen.setDashPattern([4 / 1.25, 3 / 1.25])
        pen.setCapStyle(Qt.PenCapStyle.FlatCap)
        p.setPen(pen)
        p.drawPath(path)

    def _draw_split(self, p: QPainter, frame: QRectF) -> None:
        t = self.theme
        x = frame.left() + (self._split or 0.0) * frame.width()
        top, bottom = max(0.0, frame.top()), min(float(self.height()), frame.bottom())
        p.setPen(QPen(t.color("casing"), 3))
        p.drawLine(QPointF(x, top), QPointF(x, bottom))
        p.setPen(QPen(t.color("outline"), 1))
        p.drawLine(QPointF(x, top), QPointF(x, bottom))
        centre = QPointF(x, (top + bottom) / 2)
        p.setPen(QPen(t.color("readout_edge"), 1))
        p.setBrush(t.color("readout"))
        p.drawEllipse(centre, 12, 12)
        draw_icon(p, t, "wipe", "readout_rest", centre.x() - 8, centre.y() - 8)

    def _draw_cursor(self, p: QPainter, frame: QRectF) -> None:
        assert self._cursor is not None
        t = self.theme
        x = frame.left() + self._cursor.x() * frame.width()
        y = frame.top() + self._cursor.y() * frame.height()
        if not QRectF(self.viewport().rect()).contains(x, y):
            return
        p.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        p.setPen(QPen(t.color("crosshair"), 1))
        p.drawLine(QPointF(x, frame.top()), QPointF(x, frame.bottom() - 1))
        p.drawLine(QPointF(frame.left(), y), QPointF(frame.right() - 1, y))
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        value, rest = self._readout
        if not value:
            return
        strong, plain = text_font(11, MEDIUM), text_font(11)
        wide = text_width(value, strong)
        tail = text_width(rest, plain) + 8 if rest else 0.0
        tag = QRectF(x + 10, y + 10, wide + tail + 14, 20)
        limit = frame.intersected(QRectF(self.viewport().rect()))
        if tag.right() > limit.right():
            tag.moveRight(x - 10)
        if tag.bottom() > limit.bottom():
            tag.moveBottom(y - 10)
        rounded(p, tag, 4, t.color("readout"), t.color("readout_edge"))
        draw_text(p, tag.adjusted(7, 0, 0, 0), value, strong, t.color("readout_value"))
        if rest:
            box = tag.adjusted(7 + wide + 8, 0, 0, 0)
            draw_text(p, box, rest, plain, t.color("readout_rest"))

    # Mouse: wheel zooms about the cursor, drag pans, the wipe line is dragged.

    def _share_at(self, at: QPointF) -> QPointF | None:
        frame = self.image_rect()
        if frame.isEmpty() or not frame.contains(at):
            return None
        return QPointF(
            (at.x() - frame.left()) / frame.width(), (at.y() - frame.top()) / frame.height()
        )

    def wheelEvent(self, event: QWheelEvent) -> None:
        if not self.picture.size[0]:
            event.ignore()
            return
        turn = event.angleDelta().y() or event.angleDelta().x()
        self.zoom_about(event.position(), 1.0015**turn)
        event.accept()

    def zoom_about(self, at: QPointF, factor: float) -> None:
        """Zoom so that the image point under ``at`` (px of this view) stays where it is."""
        columns, rows = self.picture.size
        zoom = min(MAX_ZOOM, max(1.0, self._camera.zoom * factor))
        if zoom == 1.0:
            self._steer(Camera())
            return
        back, _ = self.image_to_view().inverted()
        point = back.map(at)
        scale = self.zoom * zoom / self._camera.zoom
        centre = self._fit.center()
        x = (point.x() - (at.x() - centre.x()) / scale) / columns
        y = (point.y() - (at.y() - centre.y()) / scale) / rows
        self._steer(Camera(zoom, min(1.0, max(0.0, x)), min(1.0, max(0.0, y))))

    def _steer(self, camera: Camera) -> None:
        if camera != self._camera:
            self.set_camera(camera)
            self.camera_changed.emit(camera)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.pressed.emit()
        button = event.button()
        alt = bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)
        left = button == Qt.MouseButton.LeftButton
        if left and not alt and self._split is not None and self._near_split(event.position()):
            self._drag = ("split", event.position(), self._camera)
        elif button == Qt.MouseButton.MiddleButton or (left and (alt or self._camera.zoom > 1.0)):
            self._drag = ("pan", event.position(), self._camera)
            self.viewport().setCursor(Qt.CursorShape.ClosedHandCursor)
        event.accept()

    def _near_split(self, at: QPointF) -> bool:
        frame = self.image_rect()
        return abs(at.x() - frame.left() - (self._split or 0.0) * frame.width()) <= 12

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        at = event.position()
        if self._drag is None:
            if self._split is not None:
                near = self._near_split(at)
                shape = Qt.CursorShape.SplitHCursor if near else Qt.CursorShape.CrossCursor
                self.viewport().setCursor(shape)
            self.hovered.emit(self._share_at(at))
            return
        kind, start, camera = self._drag
        frame = self.image_rect()
        if kind == "split":
            share = (at.x() - frame.left()) / max(1.0, frame.width())
            self.split_moved.emit(min(1.0, max(0.0, share)))
        elif not frame.isEmpty():
            x = camera.x - (at.x() - start.x()) / frame.width()
            y = camera.y - (at.y() - start.y()) / frame.height()
            self._steer(Camera(camera.zoom, min(1.0, max(0.0, x)), min(1.0, max(0.0, y))))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._drag = None
        self.viewport().setCursor(Qt.CursorShape.CrossCursor)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.fit_requested.emit()

    def leaveEvent(self, event: QEvent) -> None:
        self.hovered.emit(None)
        super().leaveEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        event.ignore()

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        event.ignore()


def _cosmetic(color: QColor, width: float) -> QPen:
    pen = QPen(color, width)
    pen.setCosmetic(True)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    return pen


def _same_arrays(a: tuple[FloatArray, ...], b: tuple[FloatArray, ...]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _path(lines: tuple[FloatArray, ...], *, close: bool) -> QPainterPath:
    path = QPainterPath()
    for line in lines:
        polygon = QPolygonF([QPointF(float(x), float(y)) for x, y in line])
        path.addPolygon(polygon)
        if close:
            path.closeSubpath()
    return path


class PanelHeader(ThemedWidget):
    """Badge, word, step and layer, tags; at the right the metric and the buttons (8.3)."""

    toggled = Signal(str, bool)  # "contour" | "regions" | "pin" | "link"
    asked = Signal(str)  # "split" | "more"

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setObjectName("PanelHeader")
        self._props = PanelProps("")
        self._active = False
        self._tile = False
        self._stale = False
        self._all_zero = False
        self._title: tuple[object, ...] = ()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 8, 1)
        row.setSpacing(8)
        row.addStretch(1)
        self.metric_tag = Tag(theme)
        row.addWidget(self.metric_tag)
        row.addSpacing(4)
        self.contour = IconButton(theme, "contour", "Threshold contour", checkable=True)
        self.regions = IconButton(theme, "region-outline", "Region outline", checkable=True)
        self.pin = IconButton(theme, "pin", "Pin step, layer and word", "P", checkable=True)
        self.link = IconButton(theme, "link", "Linked with the other panels", "L", checkable=True)
        self.split = IconButton(theme, "split", "Split panel", "Ctrl+\\")
        self.more = IconButton(theme, "more", "More")
        self._divider = _Divider(theme)
        self._buttons: tuple[QWidget, ...] = (
            self.contour,
            self.regions,
            self._divider,
            self.pin,
            self.link,
            self.split,
            self.more,
        )
        for widget in self._buttons:
            row.addWidget(widget)
        self.contour.clicked.connect(lambda on: self.toggled.emit("contour", on))
        self.regions.clicked.connect(lambda on: self.toggled.emit("regions", on))
        self.pin.clicked.connect(lambda on: self.toggled.emit("pin", on))
        self.link.clicked.connect(lambda on: self.toggled.emit("link", on))
        self.split.clicked.connect(lambda: self.asked.emit("split"))
        self.more.clicked.connect(lambda: self.asked.emit("more"))

    def set_props(
        self, props: PanelProps, *, active: bool, tile: bool, several: bool, all_zero: bool
    ) -> None:
        """Show one panel's title; tiles have no buttons."""
        title = (*_title_key(props), active, tile, all_zero)
        changed = title != self._title
        self._title = title
        self._props, self._active, self._tile = props, active, tile
        self._all_zero = all_zero
        self.setFixedHeight(TILE_HEADER if tile else HEADER)
        self.metric_tag.set_text(props.metric)
        for widget in self._buttons:
            widget.setVisible(not tile)
        self.contour.setChecked(props.show_contour and bool(props.contour))
        self.contour.setEnabled(bool(props.contour))
        self.regions.setChecked(props.show_regions and bool(props.regions))
        self.regions.setEnabled(bool(props.regions))
        self.pin.setChecked(props.pinned)
        # A lone panel has nothing to be linked with: the button stays at rest.
        self.link.setChecked(several and props.linked)
        if changed:
            self.update()

    def set_stale(self, stale: bool) -> None:
        """Grey the step label: the frame shown is older than the title."""
        if stale != self._stale:
            self._stale = stale
            self.update()

    @property
    def stale(self) -> bool:
        """Whether the step label is grey."""
        return self._stale

    def title_parts(self) -> list[str]:
        """Return what the header says, from left to right."""
        props = self._props
        parts = [props.badge, props.title, props.subtitle, *props.pins]
        parts += ["Live"] if props.live else []
        parts += [props.tag, "all zero" if self._all_zero else ""]
        return [part for part in parts if part]

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        props = self._props
        height = self.height()
        p.fillRect(self.rect(), t.color("panel"))
        p.fillRect(0, height - 1, self.width(), 1, t.color("line"))
        x = 6.0 if self._tile else 12.0
        middle = (height - 1) / 2
        if props.badge:
            badge = QRectF(x, middle - 9, 18, 18)
            rounded(p, badge, 4, t.color("accent" if self._active else "pressed"), None)
            ink = t.color("on_accent" if self._active else "text_2")
            draw_text(p, badge, props.badge, text_font(11, SEMIBOLD), ink, CENTRE)
            x += 26
        end = self._text_end()
        x = self._word(p, props.title, x, 13 if not self._tile else 12, SEMIBOLD, "text_1", end)
        ink = "text_3" if self._stale else "text_2"
        size = 12 if self._tile else 13
        x = self._word(p, props.subtitle, x, size, REGULAR, ink, end)
        for pin in props.pins:
            x = self._tag(p, pin, x, end, fill="selected", ink="accent_text", icon="pin")
        if props.live:
            x = self._tag(p, "Live", x, end, fill="hover", ink="computing_text", dot="computing")
        if props.tag and not self._tile:
            x = self._tag(p, props.tag, x, end, fill="selected", ink="accent_text")
        if self._all_zero:
            x = self._tag(p, "all zero", x, end, fill="hover", ink="text_2")
        if self._tile and props.scale.diverging:
            self._small_bar(p, props.scale)
        p.end()

    def _text_end(self) -> float:
        if self.metric_tag.isVisible():
            return self.metric_tag.x() - 8.0
        first = self._buttons[0]
        if first.isVisible():
            return first.x() - 8.0
        return self.width() - (130.0 if self._props.scale.diverging else 8.0)

    def _word(
        self,
        p: QPainter,
        text: str,
        x: float,
        pixels: int,
        weight: QFont.Weight,
        token: str,
        end: float,
    ) -> float:
        if not text or x >= end:
            return x
        font = text_font(pixels, weight)
        width = min(text_width(text, font) + 1, end - x)
        box = QRectF(x, 0, width, self.height() - 1)
        draw_text(p, box, text, font, self.theme.color(token), elide=True)
        return x + width + 8

    def _tag(
        self,
        p: QPainter,
        text: str,
        x: float,
        end: float,
        *,
        fill: str,
        ink: str,
        icon: str = "",
        dot: str = "",
    ) -> float:
        font = text_font(11, MEDIUM)
        width = text_width(text, font) + 12 + (16 if icon else 10 if dot else 0)
        if x + width > end:
            return x
        t = self.theme
        box = QRectF(x, (self.height() - 1) / 2 - 10, width, 20)
        rounded(p, box, 4, t.color(fill), None)
        left = x + 6
        if icon:
            draw_icon(p, t, icon, ink, left - 1, box.y() + 3, 14)
            left += 16
        if dot:
            p.setPen(Qt.PenStyle.NoPen)
            p.setBrush(t.color(dot))
            p.drawEllipse(QPointF(left + 3, box.center().y()), 3, 3)
            left += 10
        draw_text(p, QRectF(left, box.y(), width, 20), text, font, t.color(ink))
        return x + width + 8

    def _small_bar(self, p: QPainter, scale: ColourScale) -> None:
        t = self.theme
        low, high = short_range(scale)
        font = text_font(11)
        right = self.width() - 8.0
        wide = text_width(high, font)
        y = (self.height() - 1) / 2
        draw_text(p, QRectF(right - wide, y - 8, wide + 2, 16), high, font, t.color("text_2"))
        strip = QRectF(right - wide - 8 - 88, y - 4, 88, 8)
        p.drawImage(strip, colormaps.ramp(scale.cmap, 88))
        wide = text_width(low, font)
        box = QRectF(strip.left() - 8 - wide, y - 8, wide + 2, 16)
        draw_text(p, box, low, font, t.color("text_2"))


def _title_key(props: PanelProps) -> tuple[object, ...]:
    return (
        props.badge,
        props.title,
        props.subtitle,
        props.pins,
        props.live,
        props.tag,
        props.scale,
        props.metric,
    )


class _Divider(ThemedWidget):
    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setFixedSize(9, 16)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.fillRect(4, 0, 1, 16, self.theme.color("border"))
        p.end()


class MessageView(ThemedWidget):
    """What stands in place of a map: icon, one line, one line, one button (8.9)."""

    action_requested = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._message = PanelMessage("info", "")
        self._failed = False
        self.button = TextButton(theme, "", parent=self)
        self.button.clicked.connect(lambda: self.action_requested.emit(self._message.action_key))
        self.hide()

    @property
    def message(self) -> PanelMessage:
        """What is said."""
        return self._message

    def set_message(self, message: PanelMessage, *, failed: bool) -> None:
        """Say something else; ``failed`` inks the icon."""
        self._message, self._failed = message, failed
        self.button.setVisible(bool(message.action))
        if message.action:
            self.button.set_text(message.action, message.action_icon)
        self.setAccessibleName(f"{message.title}. {message.detail}")
        self._place()
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._place()

    def _top(self) -> float:
        total = 20 + 8 + 16 + 4 + 16 + (12 + 28 if self._message.action else 0)
        return max(4.0, (self.height() - total) / 2)

    def _place(self) -> None:
        hint = self.button.sizeHint()
        self.button.resize(hint)
        self.button.move(round((self.width() - hint.width()) / 2), round(self._top() + 76))

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        p.fillRect(self.rect(), t.color("canvas"))
        top = self._top()
        ink = "failed_text" if self._failed else "text_2"
        draw_icon(p, t, self._message.icon, ink, self.width() / 2 - 10, top, 20)
        width = self.width() - 24
        box = QRectF(12, top + 28, width, 16)
        medium = text_font(12, MEDIUM)
        draw_text(p, box, self._message.title, medium, t.color("text_1"), CENTRE, elide=True)
        box = QRectF(12, top + 48, width, 16)
        small = text_font(11)
        draw_text(p, box, self._message.detail, small, t.color("text_3"), CENTRE, elide=True)
        p.end()


class _ProgressLine(ThemedWidget):
    """2 px under the header: share done, or half a line while the share is unknown."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._share: float | None = None
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def set_share(self, share: float | None) -> None:
        """Show a share (None hides the line)."""
        self._share = share
        self.setVisible(share is not None)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        width = round(self.width() * min(1.0, max(0.0, self._share or 0.0)))
        p.fillRect(0, 0, width, self.height(), self.theme.color("computing"))
        p.end()


_DEFAULT_MESSAGES = {
    "empty": PanelMessage(
        "open-image",
        "No image yet",
        "Drop one here or open it.",
        "Open image",
        "open-image",
        "open-image",
    ),
    "error": PanelMessage("error", "This step failed", "", "Compute again", "retry", "retry"),
    "no_path": PanelMessage("info", "No map at this step", "No gradient path to the image."),
}


class CanvasPanel(ThemedWidget):
    """One panel: header, picture, colour bar, and the four states."""

    hovered = Signal(object)
    camera_changed = Signal(object)
    activated = Signal()
    action_requested = Signal(str)
    fit_requested = Signal()
    split_moved = Signal(float)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.header = PanelHeader(theme, self)
        self.view = MapView(theme, self)
        self.view.viewport().setCursor(Qt.CursorShape.CrossCursor)
        self.bar = ColourBar(theme, parent=self)
        self.message = MessageView(theme, self)
        self.line = _ProgressLine(theme, self)
        self._props = PanelProps("")
        self._second: PanelProps | None = None
        self._overlay = True
        self._tile = False
        self._active = False
        self._several = False
        self._show_bar = True
        self._drawn: tuple[object, ...] = ()
        self._grounds: list[_Ground | None] = [None, None]
        self._slow = QTimer(self)
        self._slow.setSingleShot(True)
        self._slow.setInterval(SLOW_LOAD_MS)
        self._slow.timeout.connect(lambda: self.header.set_stale(True))
        self.view.hovered.connect(self.hovered)
        self.view.camera_changed.connect(self.camera_changed)
        self.view.pressed.connect(self.activated)
        self.view.fit_requested.connect(self.fit_requested)
        self.view.split_moved.connect(self.split_moved)
        self.message.action_requested.connect(self.action_requested)

    @property
    def props(self) -> PanelProps:
        """What the panel shows."""
        return self._props

    def set_props(
        self,
        props: PanelProps,
        *,
        active: bool = False,
        tile: bool = False,
        several: bool = False,
        show_bar: bool = True,
        overlay: bool = True,
        second: PanelProps | None = None,
        split: float | None = None,
    ) -> None:
        """Show a panel.

        A loading panel keeps the picture it has; a newer ``image`` or ``values``
        in the props is shown at once.
        """
        if (active, tile) != (self._active, self._tile):
            self.update()  # the frame; the children repaint themselves
        self._active, self._tile, self._several = active, tile, several
        self._props, self._second, self._overlay = props, second, overlay
        zero = _all_zero(props)
        self.header.set_props(props, active=active, tile=tile, several=several, all_zero=zero)
        loading = props.state == "loading"
        if not loading:
            self._slow.stop()
            self.header.set_stale(False)
        elif not self._slow.isActive() and not self.header.stale:
            self._slow.start()
        if props.progress is not None:
            self.line.set_share(props.progress)
        else:
            self.line.set_share(0.5 if loading else None)
        if props.state in ("ready", "loading") and (
            props.image is not None or props.values is not None
        ):
            self._draw(props, second, overlay=overlay, zero=zero)
        self.view.set_split(split if second is not None else None)
        has_picture = bool(self.view.picture.size[0])
        speaks = props.state in ("empty", "error", "no_path") or not has_picture
        if speaks:
            message = props.message or _DEFAULT_MESSAGES.get(
                props.state, _DEFAULT_MESSAGES["empty"]
            )
            if props.state == "loading" and props.message is None:
                message = PanelMessage("clock", "Reading the map")
            self.message.set_message(message, failed=props.state == "error")
        self.message.setVisible(speaks)
        self.view.setVisible(not speaks)
        self._show_bar = show_bar and not tile and not speaks and props.values is not None
        self.bar.setVisible(self._show_bar)
        self.bar.set_scale(props.scale)
        self._arrange()

    def _draw(
        self, props: PanelProps, second: PanelProps | None, *, overlay: bool, zero: bool
    ) -> None:
        key = (*_picture_key(props), overlay, zero, *(_picture_key(second) if second else ()))
        if len(key) != len(self._drawn) or any(
            a is not b and a != b for a, b in zip(key, self._drawn, strict=True)
        ):
            self._drawn = key
            layer = _Layer(props, self._ground(0, props), overlay=overlay and not zero)
            other = None
            if second is not None:
                other = _Layer(second, self._ground(1, second), overlay=overlay)
            self.view.set_layers(layer, other)
        regions = props.regions if props.show_regions else ()
        contour = props.contour if props.show_contour and overlay else ()
        self.view.set_outlines(regions, contour)

    def _ground(self, which: int, props: PanelProps) -> _Ground | None:
        """Return the picture's pixels; the ones at hand as long as the image is the same."""
        if props.image is None:
            return None
        kept = self._grounds[which]
        if kept is None or kept.source is not props.image or kept.grey != props.grey_image:
            kept = self._grounds[which] = _Ground(props.image, grey=props.grey_image)
        return kept

    def set_cursor(self, at: QPointF | None) -> Readout | None:
        """Move the cross-hair to a share of the picture; returns what lies there."""
        if at is None or not self.view.picture.size[0]:
            self.view.set_cursor_at(None)
            return None
        read = self.read(at)
        value = "" if read.value is None else number(read.value, 2)
        rest = ""
        if read.row is not None and not self._tile:
            rest = f"patch {read.row}, {read.col}"
        self.view.set_cursor_at(at, value, rest)
        return read

    def read(self, at: QPointF) -> Readout:
        """Return value and patch at a share of the picture."""
        props = self._props
        columns, rows = self.view.picture.size
        x, y = at.x() * columns, at.y() * rows
        value: float | None = None
        if props.values is not None:
            height, width = props.values.shape
            row = min(height - 1, max(0, int(at.y() * height)))
            col = min(width - 1, max(0, int(at.x() * width)))
            found = float(props.values[row, col])
            value = found if math.isfinite(found) else None
        cell = patch_at(props.patches, x, y)
        return Readout(props.key, x, y, value, *(cell or (None, None)))

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._arrange()

    def _arrange(self) -> None:
        edge = 1 if self._tile else 0
        width, height = self.width() - 2 * edge, self.height() - 2 * edge
        head = self.header.height()
        self.header.setGeometry(edge, edge, width, head)
        top = edge + head
        body = max(0, height - head)
        self.line.setGeometry(edge, top - 1, width, 2)
        self.line.raise_()
        self.message.setGeometry(edge, top, width, body)
        columns, rows = self.view.picture.size
        if not columns:
            self.view.setGeometry(edge, top, width, body)
            return
        if self._tile or not self._show_bar:
            margin = 0 if self._tile else MARGIN
            self.view.setGeometry(edge, top, width, body)
            fit = QRectF(margin, margin, width - 2 * margin, body - 2 * margin)
            self.view.set_fit(_fitted(fit, columns, rows))
            return
        wide = max(1, width - MARGIN - BAR_GAP - VERTICAL_WIDTH)
        tall = max(1, body - 2 * MARGIN)
        zoom = min(wide / columns, tall / rows)
        picture = QSize(round(columns * zoom), round(rows * zoom))
        block = picture.width() + BAR_GAP + VERTICAL_WIDTH - 12
        left = max(MARGIN, (width - block) // 2)
        # A little above the middle reads as the middle under a header.
        y = max(MARGIN, (body - picture.height()) // 2)
        bar_left = left + picture.width() + BAR_GAP
        self.view.setGeometry(edge, top, bar_left - BAR_GAP // 2, body)
        self.view.set_fit(QRectF(left, y, picture.width(), picture.height()))
        bar_height = max(120, picture.height()) + OVERHANG
        self.bar.setGeometry(bar_left, top + y, VERTICAL_WIDTH, min(bar_height, body - y))

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        p.fillRect(self.rect(), t.color("canvas"))
        if self._tile:
            edge = t.color("accent_line" if self._active else "line")
            p.fillRect(self.rect(), edge)
        p.end()

    def hideEvent(self, event: QHideEvent) -> None:
        self._slow.stop()


def _all_zero(props: PanelProps) -> bool:
    if props.values is None or props.scale.diverging or props.values.size == 0:
        return False
    return not bool(np.nanmax(props.values, initial=0.0) > 0.0)


def _picture_key(props: PanelProps) -> tuple[object, ...]:
    # Arrays compare by identity: the shell hands over a new one when values change.
    return (
        _Same(props.image),
        _Same(props.values),
        props.scale,
        props.opacity,
        props.alpha_by_value,
        props.grey_image,
    )


class _Same:
    """Equality by identity, holding the object so that its id cannot be used again."""

    __slots__ = ("thing",)

    def __init__(self, thing: object) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


def _fitted(box: QRectF, columns: int, rows: int) -> QRectF:
    zoom = min(box.width() / columns, box.height() / rows)
    width, height = columns * zoom, rows * zoom
    x = box.left() + (box.width() - width) / 2
    y = box.top() + (box.height() - height) / 2
    return QRectF(x, y, max(1.0, width), max(1.0, height))


class CompareBar(ThemedWidget):
    """Row above the tiles: what they are split by, what is linked, the keys to hold."""

    split_requested = Signal(str)
    grid_requested = Signal(int, int)
    link_toggled = Signal(str, bool)
    peek_requested = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setFixedHeight(36)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 4, 12, 4)
        row.setSpacing(8)
        self._split_label = Label(theme, "Split by")
        row.addWidget(self._split_label)
        self.split = Choice(theme, "Split by", height=24)
        self.grid = Choice(theme, "Columns and rows", height=24)
        row.addWidget(self.split)
        row.addWidget(self.grid)
        row.addSpacing(4)
        row.addWidget(_Divider(theme))
        row.addWidget(Label(theme, "Linked"))
        self.links: dict[str, _LinkButton] = {}
        for key, title, icon in (
            ("zoom", "Zoom", "search"),
            ("cursor", "Cursor", "cross-hair"),
            ("colour", "Colour scale", "sliders"),
        ):
            button = _LinkButton(theme, title, icon)
            button.clicked.connect(lambda on, key=key: self.link_toggled.emit(key, on))
            self.links[key] = button
            row.addWidget(button)
        row.addStretch(1)
        self._hold = _HoldKeys(theme)
        row.addWidget(self._hold)
        self.split.chosen.connect(self.split_requested)
        self.grid.chosen.connect(self._grid)

    def _grid(self, key: str) -> None:
        rows, _, columns = key.partition("x")
        self.grid_requested.emit(int(rows), int(columns))

    def set_props(self, props: CanvasProps) -> None:
        """Show the choices of the canvas."""
        count = len(props.panels)
        columns = props.columns or default_columns(count)
        rows = max(1, math.ceil(count / columns))
        self.split.set_options([(s.key, s.title) for s in props.splits], props.split)
        self.split.setVisible(bool(props.splits))
        self._split_label.setVisible(bool(props.splits))
        grids = [*props.grids] or [(rows, columns)]
        if (rows, columns) not in grids:
            grids.append((rows, columns))
        options = [(f"{r}x{c}", f"{r} \u00d7 {c}") for r, c in grids]
        self.grid.set_options(options, f"{rows}x{columns}")
        self.links["zoom"].setChecked(props.link_zoom)
        self.links["cursor"].setChecked(props.link_cursor)
        self.links["colour"].setChecked(props.link_colour)

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._hold.setVisible(self.width() >= 780)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.fillRect(self.rect(), self.theme.color("panel"))
        p.fillRect(0, self.height() - 1, self.width(), 1, self.theme.color("line"))
        p.end()


class _LinkButton(TextButton):
    def __init__(self, theme: Theme, text: str, icon: str) -> None:
        super().__init__(theme, text, icon=icon, kind="quiet", height=24)
        self.setCheckable(True)


class _HoldKeys(ThemedWidget):
    _PARTS = (("B", "Blink"), ("D", "Difference"), ("V", "Image only"))

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Hold B to blink, D for the difference, V for the image only")

    def sizeHint(self) -> QSize:
        font = text_font(12)
        width = text_width("Hold", font) + sum(
            12 + 18 + 8 + text_width(text, font) for _, text in self._PARTS
        )
        return QSize(math.ceil(width) + 1, 24)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        font = text_font(12)
        draw_text(p, QRectF(0, 0, 60, 24), "Hold", font, t.color("text_3"))
        x = text_width("Hold", font) + 12
        for key, text in self._PARTS:
            cap = QRectF(x, 3, 18, 18)
            rounded(p, cap, 4, None, t.color("border"))
            draw_text(p, cap, key, text_font(11), t.color("text_2"), CENTRE)
            x += 26
            width = text_width(text, font)
            draw_text(p, QRectF(x, 0, width + 2, 24), text, font, t.color("text_2"), LEFT)
            x += width + 12
        p.end()


class Canvas(QWidget):
    """All panels in one of five modes, under one camera and one cross-hair.

    Wishes go out as signals; camera, cross-hair, wipe line and the keys held
    (B, D, V) are the canvas's own.
    """

    panel_activated = Signal(int)
    panel_toggled = Signal(str, str, bool)  # panel key, "contour" | "regions" | "pin" | "link"
    panel_asked = Signal(str, str)  # panel key, "split" | "more"
    action_requested = Signal(str, str)  # panel key, action key of its message
    cursor_moved = Signal(object)  # Readout of the panel under the cursor, or None
    readouts_changed = Signal(object)  # tuple of Readout, one for each panel in sight
    camera_changed = Signal(object)  # Camera
    wipe_moved = Signal(float)
    peek_changed = Signal(str)
    split_requested = Signal(str)
    grid_requested = Signal(int, int)
    link_toggled = Signal(str, bool)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setObjectName("Canvas")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Canvas")
        self.setMinimumSize(320, 200)
        self._props = CanvasProps()
        self._panels: list[CanvasPanel] = []
        self._camera = Camera()
        self._cameras: dict[int, Camera] = {}
        self._wipe = 0.5
        self._peek: Peek = "none"
        self._blink_second = False
        self._cursor: QPointF | None = None
        self._cursor_panel = 0
        self._under: Readout | None = None
        self._reads: tuple[Readout, ...] = ()
        self._keyboard = False
        self._bar = CompareBar(theme)
        self._bar.split_requested.connect(self.split_requested)
        self._bar.grid_requested.connect(self.grid_requested)
        self._bar.link_toggled.connect(self.link_toggled)
        self._area = QWidget()
        self._area.installEventFilter(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._bar)
        column.addWidget(self._area, 1)
        self._bar.hide()
        self._blink = QTimer(self)
        self._blink.timeout.connect(self._swap)
        self._show()

    # Props

    @property
    def props(self) -> CanvasProps:
        """What the canvas shows."""
        return self._props

    @property
    def panels(self) -> tuple[CanvasPanel, ...]:
        """Panels in sight, in reading order."""
        return tuple(panel for panel in self._panels if not panel.isHidden())

    @property
    def bar(self) -> CompareBar:
        """The row above the tiles."""
        return self._bar

    @property
    def wipe(self) -> float:
        """Where the wipe line stands, as a share of the picture's width."""
        return self._wipe

    def set_props(self, props: CanvasProps) -> None:
        """Show other panels or another mode."""
        if props.mode != self._props.mode:
            self._blink_second = False
        self._props = props
        self._show()

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        self._bar.set_theme(theme)
        for panel in self._panels:
            panel.set_theme(theme)
        self.update()

    def set_peek(self, peek: Peek) -> None:
        """Hold a peek from outside (menu, other view); "none" lets go."""
        if peek != self._peek:
            self._peek = peek
            self._show()
            self.peek_changed.emit(peek)

    @property
    def peek(self) -> Peek:
        """Which peek is held."""
        return self._peek

    def fit(self) -> None:
        """Fit the picture in every linked panel."""
        self.set_camera(Camera())

    @property
    def camera(self) -> Camera:
        """Camera of the linked panels."""
        return self._camera

    def set_camera(self, camera: Camera) -> None:
        """Look elsewhere; emits ``camera_changed`` if it moved."""
        changed = camera != self._camera or bool(self._cameras)
        self._camera = camera
        self._cameras.clear()
        for panel in self._panels:
            panel.view.set_camera(camera)
        if changed:
            self.camera_changed.emit(camera)

    def zoom_by(self, factor: float) -> None:
        """Zoom about the middle of the active panel."""
        panels = self.panels
        if panels:
            at = min(self._props.active, len(panels) - 1)
            view = panels[at].view
            view.zoom_about(view._fit.center(), factor)

    # Arrangement

    def _pair(self) -> tuple[PanelProps, PanelProps] | None:
        panels = self._props.panels
        if len(panels) < 2:
            return None
        a, b = self._props.pair
        a, b = min(a, len(panels) - 1), min(b, len(panels) - 1)
        if a == b:
            b = (a + 1) % len(panels)
        return panels[a], panels[b]

    def _shown(self) -> tuple[list[PanelProps], PanelProps | None]:
        """Return the panels to draw and the second layer of a wipe."""
        props = self._props
        panels = list(props.panels)
        if not panels:
            return [PanelProps("", badge="", state="empty")], None
        active = min(props.active, len(panels) - 1)
        pair = self._pair()
        mode: CanvasMode = props.mode
        if pair is None and mode in ("wipe", "blink", "difference"):
            mode = "single"
        if self._peek == "difference" and pair is not None:
            if mode != "tile":
                return [difference_of(*pair)], None
            others = [difference_of(pair[0], p) if p is not pair[0] else p for p in panels]
            return others, None
        if self._peek == "blink" and pair is not None:
            if mode == "tile":
                return [replace(pair[0], key=p.key, badge=p.badge) for p in panels], None
            if mode in ("single", "difference"):
                shown = panels[active]
                return [pair[1] if shown is pair[0] else pair[0]], None
            self_second = not self._blink_second
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
            return [pair[1] if self._blink_second else pair[0]], None
        return [difference_of(*pair)], None

    def _show(self) -> None:
        props = self._props
        shown, second = self._shown()
        tile = props.mode == "tile" and len(props.panels) > 0
        while len(self._panels) < len(shown):
            self._add_panel()
        several = len(props.panels) > 1
        for i, panel in enumerate(self._panels):
            if i >= len(shown):
                panel.hide()
                continue
            panel.set_props(
                shown[i],
                active=(i == props.active) if tile else True,
                tile=tile,
                several=several,
                show_bar=props.show_colour_bar,
                overlay=self._peek != "image",
                second=second,
                split=self._wipe if second is not None else None,
            )
            panel.view.set_camera(self._cameras.get(i, self._camera))
            panel.show()
        self._bar.setVisible(tile)
        self._bar.set_props(props)
        self._arrange()
        self._run_blink()
        self._mark_focus()
        self._place_cursor()
        words = ", ".join(part for panel in self.panels for part in panel.header.title_parts())
        self.setAccessibleDescription(words)

    def _add_panel(self) -> None:
        index = len(self._panels)
        panel = CanvasPanel(self.theme, self._area)
        panel.hide()
        panel.hovered.connect(lambda at, i=index: self._hover(i, at))
        panel.camera_changed.connect(lambda camera, i=index: self._steer(i, camera))
        panel.activated.connect(lambda i=index: self._activate(i))
        panel.fit_requested.connect(self.fit)
        panel.split_moved.connect(self._move_wipe)
        panel.header.toggled.connect(
            lambda what, on, panel=panel: self.panel_toggled.emit(panel.props.key, what, on)
        )
        panel.header.asked.connect(
            lambda what, panel=panel: self.panel_asked.emit(panel.props.key, what)
        )
        panel.action_requested.connect(
            lambda key, panel=panel: self.action_requested.emit(panel.props.key, key)
        )
        self._panels.append(panel)

    def eventFilter(self, watched: QWidget, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._arrange()
        return False

    def _arrange(self) -> None:
        panels = self.panels
        if not panels:
            return
        width, height = self._area.width(), self._area.height()
        if self._props.mode != "tile" or not self._props.panels:
            panels[0].setGeometry(0, 0, width, height)
            return
        count = len(panels)
        columns = max(1, min(self._props.columns or default_columns(count), 6))
        rows = math.ceil(count / columns)
        cell_w = (width - GUTTER * (columns + 1)) / columns
        cell_h = (height - GUTTER * (rows + 1)) / rows
        for i, panel in enumerate(panels):
            row, col = divmod(i, columns)
            left = round(GUTTER + col * (cell_w + GUTTER))
            top = round(GUTTER + row * (cell_h + GUTTER))
            right = round(GUTTER + col * (cell_w + GUTTER) + cell_w)
            bottom = round(GUTTER + row * (cell_h + GUTTER) + cell_h)
            panel.setGeometry(left, top, right - left, bottom - top)

    # Wishes of the panels

    def _activate(self, index: int) -> None:
        self.setFocus(Qt.FocusReason.MouseFocusReason)
        if self._props.mode == "tile" and index != self._props.active:
            self.panel_activated.emit(index)

    def _steer(self, index: int, camera: Camera) -> None:
        if not self._props.link_zoom and len(self.panels) > 1:
            self._cameras[index] = camera
            return
        self._camera = camera
        for i, panel in enumerate(self._panels):
            if i != index:
                panel.view.set_camera(camera)
        self.camera_changed.emit(camera)

    def _move_wipe(self, share: float) -> None:
        self._wipe = share
        for panel in self.panels:
            panel.view.set_split(share)
        self.wipe_moved.emit(share)

    def _hover(self, index: int, at: QPointF | None) -> None:
        self._cursor, self._cursor_panel = at, index
        self._place_cursor()

    def _place_cursor(self) -> None:
        reads: list[Readout] = []
        under: Readout | None = None
        show = self._props.show_crosshair
        for i, panel in enumerate(self.panels):
            linked = self._props.link_cursor or i == self._cursor_panel
            read = panel.set_cursor(self._cursor if linked and show else None)
            if read is not None:
                reads.append(read)
                if i == self._cursor_panel:
                    under = read
        if under != self._under:
            self._under = under
            self.cursor_moved.emit(under)
        if tuple(reads) != self._reads:
            self._reads = tuple(reads)
            self.readouts_changed.emit(self._reads)

    # Blink and peek

    def _run_blink(self) -> None:
        wanted = (
            self._props.mode == "blink"
            and self._peek == "none"
            and self._pair() is not None
            and self._props.blink_hz > 0
            and self.isVisible()
        )
        if not wanted:
            self._blink.stop()
            return
        interval = round(500 / min(MAX_BLINK_HZ, self._props.blink_hz))
        if not self._blink.isActive() or self._blink.interval() != interval:
            self._blink.start(interval)

    def _swap(self) -> None:
        self._blink_second = not self._blink_second
        self._show()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        peeks: dict[int, Peek] = {
            Qt.Key.Key_B: "blink",
            Qt.Key.Key_D: "difference",
            Qt.Key.Key_V: "image",
        }
        peek = peeks.get(event.key())
        if peek is None or event.modifiers() != Qt.KeyboardModifier.NoModifier:
            super().keyPressEvent(event)
            return
        if not event.isAutoRepeat():
            self.set_peek(peek)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        held = {"blink": Qt.Key.Key_B, "difference": Qt.Key.Key_D, "image": Qt.Key.Key_V}
        if held.get(self._peek) == event.key() and not event.isAutoRepeat():
            self.set_peek("none")
            return
        super().keyReleaseEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._keyboard = came_by_keyboard(event, self._keyboard)
        self._mark_focus()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._mark_focus()
        self.set_peek("none")  # the release of a held key goes to whoever has the focus then

    def _mark_focus(self) -> None:
        for i, panel in enumerate(self.panels):
            here = i == self._props.active or len(self.panels) == 1
            focused = self._keyboard and here and self.hasFocus()
            if panel.view.focused != focused:
                panel.view.focused = focused
                panel.view.viewport().update()

    def showEvent(self, event: QShowEvent) -> None:
        self._arrange()
        self._run_blink()

    def hideEvent(self, event: QHideEvent) -> None:
        self._blink.stop()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        tile = self._props.mode == "tile"
        p.fillRect(self.rect(), self.theme.color("window" if tile else "canvas"))
        p.end()

    def sizeHint(self) -> QSize:
        return QSize(872, 528)

    def grab_panel(self, index: int | None = None) -> QImage:
        """Return a panel as it is on the screen (for copying and for tests)."""
        panels = self.panels
        at = self._props.active if index is None else index
        panel = panels[min(at, len(panels) - 1)]
        return panel.grab().toImage()


def view_point(panel: CanvasPanel, x: float, y: float) -> QPoint:
    """Return the pixel of a panel's view at an image point."""
    return panel.view.image_to_view().map(QPointF(x, y)).toPoint()


__all__ = ["Canvas", "CanvasPanel", "CompareBar", "MapView", "default_columns", "difference_of"]
