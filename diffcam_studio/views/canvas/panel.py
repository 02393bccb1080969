# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""One panel: header, picture, colour bar, progress line, or a message in place of them."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.canvas.header import PanelHeader
from diffcam_studio.views.canvas.layers import Ground, Layer
from diffcam_studio.views.canvas.map_view import MapView
from diffcam_studio.views.canvas.message import MessageView, message_of
from diffcam_studio.views.canvas.reading import read_at
from diffcam_studio.views.colour_bar import OVERHANG, VERTICAL_WIDTH, ColourBar
from diffcam_studio.views.controls import ThemedWidget
from diffcam_studio.views.painting import number
from diffcam_studio.views.props import PanelProps, Readout

MARGIN = 17  # 16 and the hairline under the header
BAR_GAP = 20
SLOW_LOAD_MS = 250


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
        self.line = ProgressLine(theme, self)
        self._props = PanelProps("")
        self._second: PanelProps | None = None
        self._overlay = True
        self._tile = False
        self._active = False
        self._several = False
        self._show_bar = True
        self._drawn: tuple[object, ...] = ()
        self._grounds: list[Ground | None] = [None, None]
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
        if props.state in ("ready", "loading", "no_path") and (
            props.image is not None or props.values is not None
        ):
            self._draw(props, second, overlay=overlay, zero=zero)
        self.view.set_split(split if second is not None else None)
        has_picture = bool(self.view.picture.size[0])
        speaks = props.state in ("empty", "error", "no_path") or not has_picture
        if speaks:
            failed = props.state == "error"
            # A map that cannot be leaves the picture where it is; the reason lies on it.
            floating = props.state == "no_path" and has_picture
            self.message.set_message(message_of(props), failed=failed, floating=floating)
        self.message.setVisible(speaks)
        self.view.setVisible(not speaks or self.message.floating)
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
            layer = Layer(props, self._ground(0, props), overlay=overlay and not zero)
            other = None
            if second is not None:
                other = Layer(second, self._ground(1, second), overlay=overlay)
            self.view.set_layers(layer, other)
        regions = props.regions if props.show_regions else ()
        contour = props.contour if props.show_contour and overlay else ()
        self.view.set_outlines(regions, contour)

    def _ground(self, which: int, props: PanelProps) -> Ground | None:
        """Return the picture's pixels; the ones at hand as long as the image is the same."""
        if props.image is None:
            return None
        kept = self._grounds[which]
        if kept is None or kept.source is not props.image or kept.grey != props.grey_image:
            kept = self._grounds[which] = Ground(props.image, grey=props.grey_image)
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
        return read_at(self._props, self.view.picture.size, at.x(), at.y())

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
        self.message.place(QRect(edge, top, width, body))
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


class ProgressLine(ThemedWidget):
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
