# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The frame around the views: top bar, status bar, messages and the session list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QEvent, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QEnterEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPixmap,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QAbstractButton,
    QFrame,
    QHBoxLayout,
    QMenu,
    QMenuBar,
    QPushButton,
    QSizePolicy,
    QStatusBar,
    QVBoxLayout,
    QWidget,
)

from diffcam_studio.actions import MENUS, Registry, Spec, key_text
from diffcam_studio.plain_text import tooltip
from diffcam_studio.state.view_state import MODES
from diffcam_studio.theme import Theme, icon_pixmap, mark_pixmap
from diffcam_studio.views.controls import (
    IconButton,
    Label,
    Section,
    Segments,
    TextButton,
    ThemedWidget,
    spread_theme,
)
from diffcam_studio.views.painting import (
    MEDIUM,
    draw_focus,
    draw_icon,
    draw_text,
    rounded,
    text_font,
    text_width,
)

Level = Literal["success", "info", "warning", "error"]
_MODE_TITLES = {
    "single": "Single",
    "tile": "Tile",
    "wipe": "Wipe",
    "blink": "Blink",
    "difference": "Difference",
}
_LEVEL_ICONS: dict[Level, tuple[str, str]] = {
    "success": ("check-circle", "valid"),
    "info": ("info", "text_2"),
    "warning": ("warning", "warning"),
    "error": ("error", "failed_text"),
}
SUCCESS_MS = 6000
MAX_MESSAGES = 3


def to_pixmap(
    pixels: npt.NDArray[np.uint8], width: int, height: int, ratio: float = 2.0
) -> QPixmap:
    """Scale an RGB array to cover a box and cut what sticks out."""
    data = np.ascontiguousarray(pixels)
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


def primary_button(text: str, *, large: bool = False) -> QPushButton:
    """The one filled button of a region."""
    button = QPushButton(text)
    button.setProperty("kind", "primary")
    # "size" is a property of every QWidget, so the variant needs a name of its own.
    button.setProperty("large", large)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


class _Mark(ThemedWidget):
    def __init__(self, theme: Theme, size: int) -> None:
        super().__init__(theme)
        self._size = size
        self.setFixedSize(size, size)
        self.setAccessibleName("Diffusion-CAM Studio")

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.drawPixmap(0, 0, mark_pixmap(self.theme, self._size, self.devicePixelRatioF()))
        p.end()


class SearchField(QWidget):
    """Looks like a field, opens the palette."""

    clicked = Signal()

    def __init__(self, theme: Theme, key: str) -> None:
        super().__init__()
        self.theme = theme
        self._key = key
        self.setFixedSize(216, 28)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName("Search commands")
        self.setToolTip(f"Search commands ({key})")

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.clicked.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Space, Qt.Key.Key_Enter):
            self.clicked.emit()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        edge = "strong" if self.underMouse() else "border"
        rounded(p, QRectF(self.rect()), 6, t.color("raised"), t.color(edge))
        draw_icon(p, t, "search", "text_3", 9, 6)
        draw_text(p, QRectF(33, 0, 140, 28), "Search commands", text_font(12), t.color("text_3"))
        width = text_width(self._key, text_font(11)) + 10
        box = QRectF(self.width() - width - 8, 5, width, 18)
        rounded(p, box, 4, None, t.color("border"))
        draw_text(p, box, self._key, text_font(11), t.color("text_3"), Qt.AlignmentFlag.AlignCenter)
        if self.hasFocus():
            draw_focus(p, QRectF(self.rect()), t, 6)
        p.end()


class RunButton(QAbstractButton):
    """The primary button of the top bar; its chevron opens a menu."""

    menu_wanted = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self.setObjectName("RunButton")
        self.setFixedSize(86, 28)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setText("Run")
        self.setAccessibleName("Run")
        self.setToolTip("Run (Ctrl R)")

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.position().x() >= 60 and self.isEnabled():
            self.menu_wanted.emit()
        else:
            super().mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Down:
            self.menu_wanted.emit()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        if not self.isEnabled():
            fill, ink = "raised", "text_disabled"
        else:
            fill = "accent_pressed" if self.isDown() else "accent"
            fill = "accent_hover" if fill == "accent" and self.underMouse() else fill
            ink = "on_accent"
        edge = t.color("line") if not self.isEnabled() else None
        rounded(p, QRectF(self.rect()), 6, t.color(fill), edge)
        draw_icon(p, t, "play", ink, 12, 6)
        draw_text(p, QRectF(34, 0, 30, 28), "Run", text_font(13, MEDIUM), t.color(ink))
        draw_icon(p, t, "chevron-down", ink, 65, 8, 12)
        if self.hasFocus():
            draw_focus(p, QRectF(self.rect()), t, 6)
        p.end()


class TopBar(QFrame):
    """Mark, menus, modes, search and Run; 44 px high."""

    mode_chosen = Signal(str)
    search = Signal()
    run_clicked = Signal()
    run_menu = Signal()

    def __init__(self, theme: Theme, registry: Registry) -> None:
        super().__init__()
        self.setObjectName("TopBar")
        self.theme = theme
        self.setFixedHeight(44)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 0, 12, 1)
        row.setSpacing(8)
        row.addWidget(_Mark(theme, 20))
        self.menus = QMenuBar()
        self.menus.setNativeMenuBar(False)
        self.menus.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
        row.addWidget(self.menus, 0, Qt.AlignmentFlag.AlignVCenter)
        row.addStretch(1)
        self.search_field = SearchField(theme, "Ctrl K")
        self.search_field.clicked.connect(self.search)
        row.addWidget(self.search_field)
        self.run_button = RunButton(theme)
        self.run_button.clicked.connect(self.run_clicked)
        self.run_button.menu_wanted.connect(self.run_menu)
        row.addWidget(self.run_button)
        # Segments stand in the middle of the window, not of what the menus leave.
        self.modes = Segments(
            theme,
            "Canvas mode",
            [(mode, _MODE_TITLES[mode]) for mode in MODES],
            "single",
            icons={mode: mode for mode in MODES},
            expand=True,
        )
        self.modes.setParent(self)
        self.modes.setFixedWidth(458)
        self.modes.chosen.connect(self.mode_chosen)
        self._fill_menus(registry)
        self.set_theme(theme)

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        spread_theme(self, theme)

    def set_run_enabled(self, enabled: bool) -> None:
        """Enable Run once there is an image to run on."""
        self.run_button.setEnabled(enabled)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        width = self.modes.width()
        x = (self.width() - width) // 2
        left = self.menus.geometry().right() + 8
        right = self.search_field.x() - 8
        self.modes.move(max(left, min(x, right - width)), 8)

    def _fill_menus(self, registry: Registry) -> None:
        for title in MENUS:
            menu = rounded_menu(title, self.menus)
            group: int | None = None
            for spec in registry.specs():
                if spec.menu != title or spec.hold:
                    continue
                if group is not None and spec.group != group:
                    menu.addSeparator()
                group = spec.group
                menu.addAction(registry.action(spec.id))
            self.menus.addMenu(menu)


def rounded_menu(title: str, parent: QWidget) -> QMenu:
    """Menu whose corners can be round: no frame and no shadow of the system."""
    menu = QMenu(title, parent)
    menu.setWindowFlags(
        menu.windowFlags()
        | Qt.WindowType.FramelessWindowHint
        | Qt.WindowType.NoDropShadowWindowHint
    )
    menu.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
    return menu


class ProgressRing(ThemedWidget):
    """A 16 px ring that shows a share; it never spins."""

    def __init__(self, theme: Theme, size: int = 16) -> None:
        super().__init__(theme)
        self._share = 0.0
        self.setFixedSize(size, size)

    def set_share(self, share: float) -> None:
        """Show a share, 0 to 1."""
        self._share = share
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        paint_ring(p, QRectF(self.rect()), self._share, self.theme)
        p.end()


def paint_ring(p: QPainter, rect: QRectF, share: float, theme: Theme) -> None:
    """Paint a ring for a share from the top, clockwise."""
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    box = rect.adjusted(2, 2, -2, -2)
    p.setBrush(Qt.BrushStyle.NoBrush)
    p.setPen(QPen(theme.color("pressed"), 2))
    p.drawEllipse(box)
    p.setPen(QPen(theme.color("computing"), 2))
    p.drawArc(box, 90 * 16, -round(360 * 16 * max(0.03, min(1.0, share))))


class ThinBar(ThemedWidget):
    """A progress bar that jumps to its value."""

    def __init__(self, theme: Theme, width: int | None = None, height: int = 4) -> None:
        super().__init__(theme)
        self._share = 0.0
        self.setFixedHeight(height)
        if width is not None:
            self.setFixedWidth(width)

    def set_share(self, share: float) -> None:
        """Show a share, 0 to 1."""
        self._share = max(0.0, min(1.0, share))
        self.setAccessibleName(f"{self._share:.0%}")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        radius = self.height() / 2
        rounded(p, QRectF(self.rect()), radius, self.theme.color("pressed"), None)
        if self._share > 0:
            width = max(self.height(), self.width() * self._share)
            box = QRectF(0, 0, width, self.height())
            rounded(p, box, radius, self.theme.color("computing"), None)
        p.end()


@dataclass(frozen=True)
class StatusProps:
    """What the status bar says; empty texts hide their place."""

    icon: str = ""
    saved: str = ""
    document: str = ""
    model: str = ""
    job: str = ""
    share: float = 0.0
    left: str = ""
    waiting: str = ""
    cursor: str = ""
    patch: str = ""
    device: str = ""
    memory: str = ""
    version: str = ""


class StatusLine(QWidget):
    """Left: document and job. Right: cursor, device, memory, log. 28 px high."""

    cancel = Signal()
    log_clicked = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("StatusLine")
        self.theme = theme
        self.setFixedHeight(28)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 1, 8, 0)
        row.setSpacing(16)
        self._icon = _StatusIcon(theme)
        self._ring = ProgressRing(theme)
        self._texts = {
            name: Label(theme, pixels=12, token=token)
            for name, token in (
                ("saved", "text_2"),
                ("document", "text_2"),
                ("model", "text_2"),
                ("job", "text_2"),
                ("share", "text_2"),
                ("left", "text_2"),
                ("waiting", "text_2"),
                ("cursor", "text_2"),
                ("patch", "text_2"),
                ("device", "text_2"),
                ("memory", "text_2"),
                ("version", "text_2"),
            )
        }
        self._bar = ThinBar(theme, 160)
        self._cross = IconButton(theme, "close", "Cancel job", "Ctrl .")
        self._cross.clicked.connect(self.cancel)
        self._device_icon = _StatusIcon(theme, "device", "text_2")
        self.log_button = TextButton(theme, "Log", icon="log", kind="quiet", height=24)
        self.log_button.setToolTip("Log (Ctrl J)")
        self.log_button.clicked.connect(self.log_clicked)
        head = QHBoxLayout()
        head.setSpacing(8)
        for widget in (self._icon, self._ring, self._texts["saved"], self._texts["job"]):
            head.addWidget(widget)
        row.addLayout(head)
        for widget in (
            self._texts["document"],
            self._texts["model"],
            self._bar,
            self._texts["share"],
            self._texts["left"],
            self._cross,
        ):
            row.addWidget(widget)
        row.addStretch(1)
        for name in ("cursor", "patch", "waiting"):
            row.addWidget(self._texts[name])
        device = QHBoxLayout()
        device.setSpacing(8)
        device.addWidget(self._device_icon)
        device.addWidget(self._texts["device"])
        row.addLayout(device)
        row.addWidget(self._texts["memory"])
        row.addWidget(self._texts["version"])
        row.addWidget(self.log_button)
        self.show_props(StatusProps())

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        spread_theme(self, theme)
        self.update()

    def text(self, name: str) -> str:
        """Text in one place of the bar (for tests and screen readers)."""
        return self._texts[name].text()

    def show_props(self, props: StatusProps) -> None:
        """Show other values."""
        job = bool(props.job)
        self._icon.set_icon(props.icon, "valid" if props.icon == "check" else "warning")
        self._icon.setVisible(bool(props.icon) and not job)
        self._ring.setVisible(job)
        self._ring.set_share(props.share)
        self._bar.setVisible(job)
        self._bar.set_share(props.share)
        self._cross.setVisible(job)
        values = {
            "saved": "" if job else props.saved,
            "document": "" if job else props.document,
            "model": "" if job else props.model,
            "job": props.job,
            "share": f"{round(props.share * 100)}\u00a0%" if job else "",
            "left": props.left,
            "waiting": props.waiting,
            "cursor": props.cursor,
            "patch": props.patch,
            "device": props.device,
            "memory": props.memory,
            "version": props.version,
        }
        for name, text in values.items():
            self._texts[name].set_text(text)
            self._texts[name].setVisible(bool(text))
        self._device_icon.setVisible(bool(props.device))
        self.log_button.setVisible(not props.version)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.fillRect(self.rect(), self.theme.color("window"))
        p.fillRect(0, 0, self.width(), 1, self.theme.color("line"))
        p.end()


class StatusBar(QStatusBar):
    """Qt's status bar with one widget that fills it to the pixel."""

    def __init__(self, line: StatusLine) -> None:
        super().__init__()
        self._line = line
        line.setParent(self)
        self.setSizeGripEnabled(False)
        self.setFixedHeight(28)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._line.setGeometry(self.rect())


class _StatusIcon(ThemedWidget):
    def __init__(self, theme: Theme, name: str = "", token: str = "text_2") -> None:
        super().__init__(theme)
        self._name, self._token = name, token
        self.setFixedSize(16, 16)

    def set_icon(self, name: str, token: str) -> None:
        self._name, self._token = name, token
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._name:
            p = QPainter(self)
            draw_icon(p, self.theme, self._name, self._token, 0, 0)
            p.end()


@dataclass(frozen=True)
class Message:
    """One message: what happened, a detail, at most one button."""

    level: Level
    title: str
    detail: str = ""
    action: str = ""
    callback: Callable[[], object] | None = field(default=None, compare=False)


class MessageCard(QFrame):
    """A 44 px card; success leaves by itself, unless the pointer rests on it."""

    closed = Signal()

    def __init__(self, theme: Theme, message: Message, *, own_time: bool = True) -> None:
        super().__init__()
        self.theme = theme
        self.message = message
        self.setFixedHeight(44)
        self.setAccessibleName(f"{message.title}. {message.detail}")
        row = QHBoxLayout(self)
        row.setContentsMargins(44, 4, 8, 4)
        row.setSpacing(8)
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(
            Label(theme, message.title, pixels=12, weight=MEDIUM, token="text_1", elide=True)
        )
        if message.detail:
            words.addWidget(Label(theme, message.detail, pixels=11, token="text_3", elide=True))
        row.addLayout(words, 1)
        if message.action:
            button = TextButton(theme, message.action, height=24)
            button.clicked.connect(self._act)
            row.addWidget(button)
        if not message.action or message.level in ("warning", "error"):
            cross = IconButton(theme, "close", "Dismiss")
            cross.clicked.connect(self.closed)
            row.addWidget(cross)
        self.setToolTip(tooltip(message.detail))
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SUCCESS_MS)
        self._timer.timeout.connect(self.closed)
        if own_time and message.level == "success":
            self._timer.start()

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        spread_theme(self, theme)
        self.update()

    def enterEvent(self, event: QEnterEvent) -> None:
        self._timer.stop()

    def leaveEvent(self, event: QEvent) -> None:
        if self.message.level == "success":
            self._timer.start()

    def stop(self) -> None:
        """Stop counting; the card is about to go."""
        self._timer.stop()

    def _act(self) -> None:
        callback = self.message.callback
        self.closed.emit()
        if callback is not None:
            callback()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        rounded(p, QRectF(self.rect()), 8, t.color("raised"), t.color("border"))
        name, token = _LEVEL_ICONS[self.message.level]
        draw_icon(p, t, name, token, 14, 14)
        p.end()


class MessageStack(QWidget):
    """At most three message cards at the bottom of what lies under it, newest below."""

    def __init__(self, theme: Theme, host: QWidget) -> None:
        super().__init__(host)
        self.theme = theme
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(8)
        self._cards: list[MessageCard] = []
        host.installEventFilter(self)
        self.hide()

    @property
    def messages(self) -> tuple[Message, ...]:
        """What is shown, oldest first."""
        return tuple(card.message for card in self._cards)

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        spread_theme(self, theme)

    def add(self, message: Message) -> None:
        """Show a message; the same one is not shown twice."""
        for card in tuple(self._cards):
            if card.message == message:
                self._drop(card)
        card = MessageCard(self.theme, message)
        card.closed.connect(lambda: self._drop(card))
        self._cards.append(card)
        self._column.addWidget(card)
        while len(self._cards) > MAX_MESSAGES:
            self._drop(self._cards[0])
        self._place()

    def clear(self) -> None:
        """Take all messages away."""
        for card in tuple(self._cards):
            self._drop(card)

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._place()
        return False

    def _drop(self, card: MessageCard) -> None:
        if card in self._cards:
            self._cards.remove(card)
            self._column.removeWidget(card)
            card.stop()
            card.hide()
            card.deleteLater()
        self._place()

    def _place(self) -> None:
        self.setVisible(bool(self._cards))
        host = self.parentWidget()
        width = min(480, host.width() - 32)
        height = len(self._cards) * 52 - 8
        self.setGeometry(
            (host.width() - width) // 2, host.height() - height - 16, width, max(0, height)
        )
        self.raise_()


@dataclass(frozen=True, eq=False)
class SessionRow:
    """A run in the session list; runs of one image stand under one heading."""

    key: str
    group: str
    title: str
    meta: str = ""
    icon: str = "check-circle"
    share: float | None = None
    picture: npt.NDArray[np.uint8] | None = None
    selected: bool = False


class SessionList(Section):
    """The runs that are open, by image."""

    chosen = Signal(str)
    add_clicked = Signal()
    search_clicked = Signal()
    close_clicked = Signal(str)

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, "Session", margins=(0, 0, 0, 4), spacing=0)
        search = IconButton(theme, "search", "Search runs")
        search.clicked.connect(self.search_clicked)
        add = IconButton(theme, "plus", "Open a run or an image", "Ctrl O")
        add.clicked.connect(self.add_clicked)
        self.header.add_action(search, flush=False)
        self.header.add_action(add, flush=False)
        self._rows: list[_SessionRowWidget] = []
        self._pictures: dict[int, QPixmap] = {}
        self._closed: set[str] = set()
        self._shown: tuple[SessionRow, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the runs in the list."""
        return tuple(row.key for row in self._shown)

    def show_rows(self, rows: Sequence[SessionRow]) -> None:
        """List other runs."""
        self._shown = tuple(rows)
        self._rebuild()

    def _rebuild(self) -> None:
        for widget in self._rows:
            self.rows.removeWidget(widget)
            widget.hide()
            widget.deleteLater()
        self._rows = []
        groups: dict[str, list[SessionRow]] = {}
        for row in self._shown:
            groups.setdefault(row.group, []).append(row)
        for name, members in groups.items():
            open_ = name not in self._closed
            count = len(members)
            meta = "" if open_ else (f"{count} run" if count == 1 else f"{count} runs")
            head = _SessionRowWidget(self.theme, name, meta, head=True, open_=open_)
            picture = next((m.picture for m in members if m.picture is not None), None)
            if picture is not None:
                if id(picture) not in self._pictures:
                    self._pictures[id(picture)] = to_pixmap(picture, 28, 20)
                head.picture = self._pictures[id(picture)]
            head.clicked.connect(lambda n=name: self._fold(n))
            self._add(head)
            if not open_:
                continue
            for member in members:
                line = _SessionRowWidget(self.theme, member.title, member.meta, row=member)
                line.clicked.connect(lambda k=member.key: self.chosen.emit(k))
                line.removed.connect(lambda k=member.key: self.close_clicked.emit(k))
                self._add(line)

    def _add(self, widget: _SessionRowWidget) -> None:
        self._rows.append(widget)
        self.rows.addWidget(widget)

    def _fold(self, name: str) -> None:
        self._closed ^= {name}
        self._rebuild()


class _SessionRowWidget(QWidget):
    clicked = Signal()
    removed = Signal()

    def __init__(
        self,
        theme: Theme,
        title: str,
        meta: str,
        *,
        head: bool = False,
        open_: bool = True,
        row: SessionRow | None = None,
    ) -> None:
        super().__init__()
        self.theme = theme
        self._title, self._meta, self._head, self._open, self._row = title, meta, head, open_, row
        self.picture: QPixmap | None = None
        self.setFixedHeight(28)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(f"{title}, {meta}" if meta else title)
        self.setToolTip(tooltip(title))

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.clicked.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.clicked.emit()
        elif event.key() == Qt.Key.Key_Delete and not self._head:
            self.removed.emit()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        selected = self._row is not None and self._row.selected
        if selected:
            p.fillRect(self.rect(), t.color("selected"))
            p.fillRect(0, 0, 2, self.height(), t.color("accent_line"))
        elif self.underMouse():
            p.fillRect(self.rect(), t.color("hover"))
        if self._head:
            draw_icon(p, t, "chevron-down" if self._open else "chevron-right", "text_3", 8, 6)
            draw_picture(p, QRectF(28, 4, 28, 20), self.picture, t)
            x = 64.0
        else:
            row = self._row
            if row is not None and row.share is not None:
                paint_ring(p, QRectF(36, 6, 16, 16), row.share, t)
            elif row is not None and row.icon:
                token = {"check-circle": "valid", "warning": "warning", "error": "failed"}
                draw_icon(p, t, row.icon, token.get(row.icon, "text_3"), 36, 6)
            x = 60.0
        meta_width = text_width(self._meta, text_font(11)) if self._meta else 0
        right = self.width() - 12
        if self._meta:
            draw_text(
                p,
                QRectF(right - meta_width, 0, meta_width + 1, 28),
                self._meta,
                text_font(11),
                t.color("text_3"),
            )
        weight = MEDIUM if self._head else text_font(13).weight()
        draw_text(
            p,
            QRectF(x, 0, max(0.0, right - meta_width - 8 - x), 28),
            self._title,
            text_font(13, weight),
            t.color("text_1"),
            elide=True,
        )
        if self.hasFocus():
            draw_focus(p, QRectF(self.rect()), t, 3)
        p.end()


def tool_tip_of(spec: Spec) -> str:
    """Name and key of an action, as tooltips give them."""
    key = key_text(spec)
    return f"{spec.title} ({key})" if key else spec.title


def dashed_pen(theme: Theme, token: str) -> QPen:
    """The dashed edge of drop areas."""
    pen = QPen(theme.color(token), 1, Qt.PenStyle.CustomDashLine)
    pen.setDashPattern([3, 3])
    return pen


def themed_icon(theme: Theme, name: str, token: str = "text_2") -> QPixmap:
    """Icon as a pixmap, for QPushButton."""
    return icon_pixmap(name, theme[token], 16)


__all__ = [
    "Message",
    "MessageCard",
    "MessageStack",
    "ProgressRing",
    "SearchField",
    "SessionList",
    "SessionRow",
    "StatusBar",
    "StatusLine",
    "StatusProps",
    "ThinBar",
    "TopBar",
    "dashed_pen",
    "draw_picture",
    "paint_ring",
    "primary_button",
    "rounded_menu",
    "themed_icon",
    "to_pixmap",
    "tool_tip_of",
]
