# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The layer list: one row a layer with its map, a bar and the value of the chosen metric."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleEvent,
    QFocusEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
)
from PySide6.QtWidgets import QFrame, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views import colormaps
from diffcam_studio.views.controls import Choice, Section, ThemedWidget, came_by_keyboard
from diffcam_studio.views.painting import (
    RIGHT,
    draw_focus,
    draw_text,
    fitted,
    number,
    rounded,
    text_font,
    text_width,
)
from diffcam_studio.views.props import ColourScale, FloatArray, LayerListProps

ROW = 32
SMALL_ROW = 20
SMALL_FROM = 16
SCROLL_FROM = 40


class LayerList(ThemedWidget):
    """Rows from the first layer to the last; Up and Down, or a click, ask for a layer."""

    layer_requested = Signal(int)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Layers")
        self._props = LayerListProps()
        self._hover = -1
        self._keyboard = False
        self._images: dict[int, tuple[FloatArray, ColourScale, float, QImage]] = {}

    @property
    def props(self) -> LayerListProps:
        """What is shown."""
        return self._props

    @property
    def row_height(self) -> int:
        """32, or 20 without thumbnails from 16 layers on."""
        return ROW if len(self._props.rows) < SMALL_FROM else SMALL_ROW

    def set_props(self, props: LayerListProps) -> None:
        """Show other layers or values."""
        self._props = props
        self.setFixedHeight(max(1, len(props.rows)) * self.row_height)
        known = {row.layer for row in props.rows}
        self._images = {k: v for k, v in self._images.items() if k in known}
        at = self._selected_index()
        if at is not None:
            self.setAccessibleDescription(self.describe(at))
            event = QAccessibleEvent(self, QAccessible.Event.DescriptionChanged)
            QAccessible.updateAccessibility(event)
        self.update()

    def describe(self, index: int) -> str:
        """Return a row in words."""
        row = self._props.rows[index]
        words = [row.title]
        if row.value is not None:
            words.append(f"{self._props.metric} {number(row.value, 2)}".strip())
        elif row.values is None:
            words.append((row.reason or "not computed").lower())
        if row.layer == self._props.selected:
            words.append("selected")
        return ", ".join(words)

    def _selected_index(self) -> int | None:
        for i, row in enumerate(self._props.rows):
            if row.layer == self._props.selected:
                return i
        return None

    def row_rect(self, index: int) -> QRect:
        """Return where a row lies."""
        return QRect(0, index * self.row_height, self.width(), self.row_height)

    def row_at(self, y: float) -> int:
        """Return the row at a height, or -1."""
        at = int(y // self.row_height)
        return at if 0 <= at < len(self._props.rows) else -1

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        p.fillRect(event.rect(), t.color("panel"))
        if not self._props.rows:
            draw_text(
                p, QRectF(12, 0, self.width(), ROW), "No maps yet", text_font(11), t.color("text_3")
            )
        for i in range(len(self._props.rows)):
            if self.row_rect(i).intersects(event.rect()):
                self._paint_row(p, i)
        p.end()

    def _paint_row(self, p: QPainter, index: int) -> None:
        t = self.theme
        row = self._props.rows[index]
        box = self.row_rect(index)
        selected = row.layer == self._props.selected
        if selected:
            p.fillRect(box, t.color("selected"))
            p.fillRect(QRect(0, box.y(), 2, box.height()), t.color("accent_line"))
        elif index == self._hover:
            p.fillRect(box, t.color("hover"))
        x = 12
        large = self.row_height == ROW
        if large:
            room = QRectF(12, box.y() + 4, 32, 24)
            self._paint_thumbnail(p, index, fitted(room, self._props.aspect).toRect())
            x = 52
        font = text_font(13 if large else 11)
        known = row.values is not None or row.value is not None
        title = QRectF(x, box.y(), 72, box.height())
        draw_text(p, title, row.title, font, t.color("text_1" if known else "text_3"), elide=True)
        left = x + max(72.0, text_width(row.title, font) + 8)
        right = self.width() - 56.0
        if row.value is None and row.reason:
            place = QRectF(left, box.y(), self.width() - 12 - left, box.height())
            draw_text(p, place, row.reason, text_font(11), t.color("text_3"), RIGHT, elide=True)
        elif right - left >= 16:
            y = box.y() + box.height() / 2
            track = "pressed" if index == self._hover and not selected else "hover"
            if selected:
                track = "pressed"
            rounded(p, QRectF(left, y - 2, right - left, 4), 2, t.color(track), None)
            share = min(1.0, max(0.0, row.share))
            if row.value is not None and share > 0:
                bar = QRectF(left, y - 2, max(4.0, (right - left) * share), 4)
                rounded(p, bar, 2, t.color("accent_line" if selected else "strong"), None)
        if row.value is not None:
            place = QRectF(self.width() - 60, box.y(), 48, box.height())
            small = text_font(12 if large else 11)
            ink = t.color("text_1" if selected else "text_2")
            draw_text(p, place, number(row.value, 2), small, ink, RIGHT)
        if self.hasFocus() and self._keyboard and selected:
            draw_focus(p, QRectF(box), t, 3)

    def _paint_thumbnail(self, p: QPainter, index: int, box: QRect) -> None:
        t = self.theme
        row = self._props.rows[index]
        if row.values is None:
            rounded(p, QRectF(box), 3, None, t.color("border"))
            return
        ratio = self.devicePixelRatioF()
        kept = self._images.get(row.layer)
        scale = self._props.scale
        if kept is None or kept[0] is not row.values or kept[1] != scale or kept[2] != ratio:
            image = colormaps.thumbnail(
                row.values, scale, round(box.width() * ratio), round(box.height() * ratio)
            )
            kept = (row.values, scale, ratio, image)
            self._images[row.layer] = kept
        p.save()
        clip = QPainterPath()
        clip.addRoundedRect(QRectF(box), 3, 3)
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        p.setClipPath(clip)
        p.drawImage(QRectF(box), kept[3])
        p.restore()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        at = self.row_at(event.position().y())
        if at < 0 or event.button() != Qt.MouseButton.LeftButton:
            event.ignore()
            return
        self.layer_requested.emit(self._props.rows[at].layer)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        at = self.row_at(event.position().y())
        if at != self._hover:
            self._hover = at
            self.setToolTip(self.describe(at) if at >= 0 else "")
            self.update()

    def leaveEvent(self, event: QEvent) -> None:
        self._hover = -1
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        count = len(self._props.rows)
        at = self._selected_index()
        moves = {
            Qt.Key.Key_Up: (at or 0) - 1,
            Qt.Key.Key_Down: -1 if at is None else at + 1,
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: count - 1,
        }
        if not count or event.key() not in moves:
            super().keyPressEvent(event)
            return
        to = min(count - 1, max(0, moves[Qt.Key(event.key())]))
        if to != at:
            self.layer_requested.emit(self._props.rows[to].layer)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._keyboard = came_by_keyboard(event, self._keyboard)
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(263, max(1, len(self._props.rows)) * self.row_height)


class LayersSection(Section):
    """The Layers section of the left dock: header with the metric, list, scroll from 40 layers."""

    layer_requested = Signal(int)
    metric_requested = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, "Layers", margins=(0, 0, 0, 8), spacing=0, parent=parent)
        self.metric_choice = Choice(theme, "Metric of the layers", height=24, plain=True)
        self.metric_choice.chosen.connect(self.metric_requested)
        self.header.add_action(self.metric_choice)
        self.list = LayerList(theme)
        self.list.layer_requested.connect(self.layer_requested)
        self._scroll = QScrollArea()
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.list)
        self._scroll.setWidget(inner)
        self.rows.addWidget(self._scroll)
        self.set_props(LayerListProps())

    def set_props(self, props: LayerListProps) -> None:
        """Show other layers, values or metrics."""
        self.list.set_props(props)
        self.metric_choice.setVisible(bool(props.metrics))
        self.metric_choice.set_options([(name, name) for name in props.metrics], props.metric)
        rows = min(len(props.rows), SCROLL_FROM) or 1
        self._scroll.setFixedHeight(rows * self.list.row_height)
        at = self.list._selected_index()
        if at is not None and len(props.rows) > SCROLL_FROM:
            self._scroll.ensureVisible(0, self.list.row_rect(at).center().y(), 0, 40)


__all__ = ["LayerList", "LayersSection"]
