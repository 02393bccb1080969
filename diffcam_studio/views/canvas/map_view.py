# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The view of one panel: picture, lines and marks under a camera, and the mouse that moves it."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QResizeEvent, QTransform, QWheelEvent
from PySide6.QtWidgets import QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.canvas.layers import Layer
from diffcam_studio.views.canvas.lines import Lines
from diffcam_studio.views.canvas.marks import draw_crosshair, draw_wipe_line, round_corners
from diffcam_studio.views.canvas.picture_item import PictureItem
from diffcam_studio.views.painting import draw_focus
from diffcam_studio.views.props import Camera, FloatArray

MAX_ZOOM = 32.0


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
        self._lines = Lines()
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

    def set_layers(self, layer: Layer | None, second: Layer | None = None) -> None:
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
        changed = self._lines.set_lines("contour", contour)
        changed |= self._lines.set_lines("regions", regions)
        if changed:
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

    @property
    def fit_centre(self) -> QPointF:
        """Middle of the rectangle that holds the fitted picture."""
        return self._fit.center()

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
        bounds = QRectF(self.viewport().rect())
        columns, rows = self.picture.size
        if columns and rows:
            to_view = self.image_to_view()
            frame = to_view.mapRect(QRectF(0, 0, columns, rows))
            if self._camera.zoom == 1.0:
                round_corners(p, frame, t)
            ratio = self.devicePixelRatioF()
            self._lines.draw(p, to_view, self.viewport().size(), ratio, t)
            if self._split is not None:
                draw_wipe_line(p, frame, self._split, self.height(), t)
            if self._cursor is not None:
                draw_crosshair(p, frame, self._cursor, self._readout, bounds, t)
        if self.focused:
            draw_focus(p, bounds, t, 0)
        p.restore()

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
