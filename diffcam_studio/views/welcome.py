# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""First page: recovery banner, open, drop, recent runs and demo scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPixmap,
)
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from diffcam_studio.incoming import image_of, is_usable, paths_of
from diffcam_studio.plain_text import tooltip
from diffcam_studio.theme import Theme, icon_pixmap, mark_pixmap
from diffcam_studio.views.controls import (
    Label,
    TextButton,
    ThemedWidget,
    primary_button,
    spread_theme,
)
from diffcam_studio.views.painting import (
    MEDIUM,
    SEMIBOLD,
    draw_focus,
    draw_icon,
    draw_text,
    rounded,
    text_font,
)
from diffcam_studio.views.pictures import draw_picture, to_pixmap

CARD_WIDTH, CARD_HEIGHT, PICTURE_HEIGHT = 224, 236, 168
_COLUMN, _GAP, _CARDS = 384, 64, 704
_ICON_GAP = 4  # beside the 4 px that Qt leaves


@dataclass(frozen=True)
class Recovery:
    """An unfinished run file and what is safe in it."""

    path: str
    title: str
    detail: str


@dataclass(frozen=True, eq=False)
class RecentRow:
    """A run or image opened before."""

    path: str
    title: str
    detail: str = ""
    when: str = ""
    picture: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class DemoCard:
    """A demo scene and the prompt that it is run with."""

    key: str
    title: str
    prompt: str
    picture: npt.NDArray[np.uint8] | None = None


class Welcome(QScrollArea):
    """The welcome page; says what was chosen, does nothing itself."""

    open_image = Signal()
    open_run = Signal()
    open_path = Signal(str)
    dropped = Signal(list)
    image_dropped = Signal(object)  # QImage
    demo_chosen = Signal(str)
    show_all = Signal()
    recovery_discard = Signal(str)
    recovery_open = Signal(str)
    recovery_resume = Signal(str)
    link = Signal(str)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self.setObjectName("Welcome")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        page = QWidget()
        page.setObjectName("WelcomePage")
        self.setWidget(page)
        outer = QHBoxLayout(page)
        outer.setContentsMargins(24, 52, 24, 24)
        outer.addStretch(1)
        centre = QVBoxLayout()
        centre.setSpacing(0)
        outer.addLayout(centre)
        outer.addStretch(1)
        self._banners = QVBoxLayout()
        self._banners.setSpacing(8)
        centre.addLayout(self._banners)
        self._banner_gap = centre.count()
        centre.addSpacing(46)
        columns = QHBoxLayout()
        columns.setSpacing(_GAP)
        columns.addWidget(self._left_column())
        columns.addWidget(self._right_column())
        centre.addLayout(columns)
        centre.addStretch(1)
        self._banner_widgets: list[_Banner] = []
        self._recent_widgets: list[_RecentWidget] = []
        self._cards: dict[str, _CardWidget] = {}
        self.setAcceptDrops(True)
        self.set_theme(theme)

    # --- content ----------------------------------------------------------------------------------

    def show_recoveries(self, found: Sequence[Recovery]) -> None:
        """Offer unfinished runs."""
        for old in self._banner_widgets:
            self._banners.removeWidget(old)
            old.hide()
            old.deleteLater()
        self._banner_widgets = []
        for recovery in found[:3]:
            banner = _Banner(self.theme, recovery, len(found))
            banner.discard.connect(lambda p=recovery.path: self.recovery_discard.emit(p))
            banner.open.connect(lambda p=recovery.path: self.recovery_open.emit(p))
            banner.resume.connect(lambda p=recovery.path: self.recovery_resume.emit(p))
            self._banners.addWidget(banner)
            self._banner_widgets.append(banner)

    def show_recent(self, rows: Sequence[RecentRow]) -> None:
        """List what was opened before; none leaves a hint instead."""
        for old in self._recent_widgets:
            self._recent.removeWidget(old)
            old.hide()
            old.deleteLater()
        self._recent_widgets = []
        for row in rows[:5]:
            widget = _RecentWidget(self.theme, row)
            widget.chosen.connect(lambda p=row.path: self.open_path.emit(p))
            self._recent.addWidget(widget)
            self._recent_widgets.append(widget)
        self._no_recent.setVisible(not rows)
        self._show_all.setVisible(len(rows) > 5)

    def show_demos(self, cards: Sequence[DemoCard], line: str = "") -> None:
        """Show the demo scenes; a card whose picture comes later is shown again with it."""
        for old in self._cards.values():
            self._grid.removeWidget(old)
            old.hide()
            old.deleteLater()
        self._cards = {}
        for index, card in enumerate(cards[:6]):
            widget = _CardWidget(self.theme, card)
            widget.chosen.connect(lambda k=card.key: self.demo_chosen.emit(k))
            self._grid.addWidget(widget, index // 3, index % 3)
            self._cards[card.key] = widget
        if line:
            self._model_line.set_text(line)

    def show_picture(self, key: str, picture: npt.NDArray[np.uint8]) -> None:
        """Give a demo card its picture."""
        if key in self._cards:
            self._cards[key].show_picture(picture)

    def set_model_line(self, line: str) -> None:
        """Say which model the demo scenes run on, and for how long."""
        self._model_line.set_text(line)

    def card(self, key: str) -> QWidget | None:
        """Widget of one demo scene."""
        return self._cards.get(key)

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        # From here and not from the page: cards that lie over it have a theme, too.
        spread_theme(self, theme)
        self._open_image.setIcon(_with_gap(icon_pixmap("open-image", theme["on_accent"], 16)))
        self._mark.setPixmap(mark_pixmap(theme, 48))
        sheet = (
            f"#WelcomePage {{ background: {theme['window']}; }} "
            f"#Title {{ font-size: 28px; font-weight: 600; letter-spacing: -0.4px; }}"
        )
        self.widget().setStyleSheet(sheet)

    # --- parts ------------------------------------------------------------------------------------

    def _left_column(self) -> QWidget:
        column = QWidget()
        column.setFixedWidth(_COLUMN)
        box = QVBoxLayout(column)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(0)
        self._mark = QLabel()
        self._mark.setFixedSize(48, 48)
        box.addWidget(self._mark)
        box.addSpacing(15)
        title = QLabel("Diffusion-CAM Studio")
        title.setObjectName("Title")
        title.setFixedHeight(36)
        box.addWidget(title)
        box.addSpacing(6)
        for line in (
            "See where in the image each word came from, when",
            "it was written, and in which layer.",
        ):
            box.addWidget(Label(self.theme, line, pixels=15, token="text_2"))
        box.addSpacing(24)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        self._open_image = primary_button("Open image", large=True)
        self._open_image.setObjectName("OpenImage")
        self._open_image.setIconSize(QSize(16 + _ICON_GAP, 16))
        self._open_image.clicked.connect(self.open_image)
        self._open_run = TextButton(self.theme, "Open run", icon="open-run", height=36)
        self._open_run.setObjectName("OpenRun")
        self._open_run.clicked.connect(self.open_run)
        buttons.addWidget(self._open_image)
        buttons.addWidget(self._open_run)
        buttons.addStretch(1)
        box.addLayout(buttons)
        box.addSpacing(16)
        self._drop = _DropArea(self.theme)
        self._drop.clicked.connect(self.open_image)
        box.addWidget(self._drop)
        box.addSpacing(36)
        head = QHBoxLayout()
        head.addWidget(Label(self.theme, "Recent", pixels=13, weight=SEMIBOLD, token="text_1"))
        head.addStretch(1)
        self._show_all = TextButton(self.theme, "Show all", kind="quiet", height=24)
        self._show_all.clicked.connect(self.show_all)
        head.addWidget(self._show_all)
        box.addLayout(head)
        box.addSpacing(12)
        self._no_recent = Label(
            self.theme, "Runs that you open or make are listed here", token="text_3"
        )
        box.addWidget(self._no_recent)
        self._recent = QVBoxLayout()
        self._recent.setSpacing(0)
        box.addLayout(self._recent)
        box.addStretch(1)
        return column

    def _right_column(self) -> QWidget:
        column = QWidget()
        column.setFixedWidth(_CARDS)
        box = QVBoxLayout(column)
        box.setContentsMargins(0, 3, 0, 0)
        box.setSpacing(0)
        head = QHBoxLayout()
        head.addWidget(Label(self.theme, "Demo scenes", pixels=13, weight=SEMIBOLD, token="text_1"))
        head.addStretch(1)
        self._model_line = Label(self.theme, "", pixels=12, token="text_3")
        head.addWidget(self._model_line)
        box.addLayout(head)
        box.addSpacing(13)
        self._grid = QGridLayout()
        self._grid.setSpacing(16)
        self._grid.setContentsMargins(0, 0, 0, 0)
        box.addLayout(self._grid)
        box.addSpacing(28)
        links = QHBoxLayout()
        links.setSpacing(32)
        for key, title, symbol, cap in (
            ("keys", "Keyboard", "keyboard", "F1"),
            ("guide", "Guide", "book", ""),
            ("model", "Load a model", "layers", ""),
        ):
            button = TextButton(self.theme, title, icon=symbol, kind="link", key=cap)
            button.clicked.connect(lambda _=False, k=key: self.link.emit(k))
            links.addWidget(button)
        links.addStretch(1)
        box.addLayout(links)
        box.addStretch(1)
        return column

    # --- drop -------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if is_usable(event.mimeData()):
            event.acceptProposedAction()
            self._drop.set_hot(True)

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._drop.set_hot(False)

    def dropEvent(self, event: QDropEvent) -> None:
        self._drop.set_hot(False)
        paths, image = paths_of(event.mimeData()), image_of(event.mimeData())
        if paths:
            event.acceptProposedAction()
            self.dropped.emit(paths)
        elif image is not None:
            event.acceptProposedAction()
            self.image_dropped.emit(image)


class _Banner(ThemedWidget):
    discard = Signal()
    open = Signal()
    resume = Signal()

    def __init__(self, theme: Theme, recovery: Recovery, count: int) -> None:
        super().__init__(theme)
        self.setFixedSize(_COLUMN + _GAP + _CARDS, 44)
        row = QHBoxLayout(self)
        row.setContentsMargins(41, 0, 9, 0)
        row.setSpacing(10)
        title = "One unfinished run was found" if count == 1 else "An unfinished run was found"
        row.addWidget(Label(theme, title, pixels=13, weight=MEDIUM, token="text_1"))
        row.addWidget(Label(theme, recovery.detail, pixels=13, token="text_2"))
        row.addStretch(1)
        for text, kind, signal in (
            ("Discard", "quiet", self.discard),
            ("Open as it is", "standard", self.open),
            ("Resume", "standard", self.resume),
        ):
            button = TextButton(theme, text, kind=kind)
            button.clicked.connect(signal)
            row.addWidget(button)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        rounded(p, QRectF(self.rect()), 8, self.theme.color("panel"), self.theme.color("border"))
        draw_icon(p, self.theme, "warning", "warning", 15, 14)
        p.end()


class _DropArea(ThemedWidget):
    clicked = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme)
        self._hot = False
        self.setFixedHeight(84)
        self.setAccessibleName("Drop an image, a run or a folder")

    def set_hot(self, hot: bool) -> None:
        self._hot = hot
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.clicked.emit()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        p.setPen(_dashed_pen(t, "accent_line" if self._hot else "strong"))
        p.setBrush(t.color("selected") if self._hot else Qt.BrushStyle.NoBrush)
        p.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 8, 8)
        draw_icon(p, t, "drop", "text_2", self.width() / 2 - 8, 12)
        line = QRectF(0, 34, self.width(), 20)
        middle = Qt.AlignmentFlag.AlignCenter
        draw_text(
            p, line, "Drop an image, a run or a folder", text_font(13), t.color("text_2"), middle
        )
        draw_text(
            p,
            line.translated(0, 20),
            "or paste an image with Ctrl V",
            text_font(12),
            t.color("text_3"),
            middle,
        )
        p.end()


class _Clickable(QWidget):
    chosen = Signal()

    def __init__(self, theme: Theme, name: str) -> None:
        super().__init__()
        self.theme = theme
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(name)

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        event.accept()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        inside = self.rect().contains(event.position().toPoint())
        if inside and event.button() == Qt.MouseButton.LeftButton:
            self.chosen.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.chosen.emit()
        else:
            super().keyPressEvent(event)


class _RecentWidget(_Clickable):
    def __init__(self, theme: Theme, row: RecentRow) -> None:
        super().__init__(theme, f"{row.title}, {row.detail}")
        self._row = row
        self._picture = to_pixmap(row.picture, 48, 36) if row.picture is not None else None
        self.setFixedHeight(52)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(tooltip(row.path))

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        if self.underMouse():
            rounded(p, QRectF(-8, 2, self.width() + 16, 48), 6, t.color("hover"), None)
        draw_picture(p, QRectF(0, 8, 48, 36), self._picture, t, 4)
        when = self._row.when
        right = 110 if when else 0
        title = QRectF(60, 9, self.width() - 60 - right, 18)
        draw_text(p, title, self._row.title, text_font(13, MEDIUM), t.color("text_1"), elide=True)
        detail = QRectF(60, 26, self.width() - 60 - right, 17)
        draw_text(p, detail, self._row.detail, text_font(12), t.color("text_3"), elide=True)
        align = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        draw_text(p, QRectF(0, 8, self.width(), 36), when, text_font(12), t.color("text_3"), align)
        if self.hasFocus():
            draw_focus(p, QRectF(self.rect()), t, 6)
        p.end()


class _CardWidget(_Clickable):
    def __init__(self, theme: Theme, card: DemoCard) -> None:
        super().__init__(theme, f"Run demo scene {card.title}: {card.prompt}")
        self._card = card
        self._picture: QPixmap | None = None
        if card.picture is not None:
            self.show_picture(card.picture)
        self.setFixedSize(CARD_WIDTH, CARD_HEIGHT)
        self.setToolTip(tooltip(f"Run: {card.prompt}"))

    def show_picture(self, picture: npt.NDArray[np.uint8]) -> None:
        self._picture = to_pixmap(picture, CARD_WIDTH, PICTURE_HEIGHT)
        self.update()

    def event(self, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.HoverEnter, QEvent.Type.HoverLeave):
            self.update()
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        hot = self.underMouse() or self.hasFocus()
        box = QRectF(self.rect())
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        rounded(p, box, 8, t.color("panel"), None)
        path = QPainterPath()
        path.addRoundedRect(box, 8, 8)
        p.save()
        p.setClipPath(path)
        picture = QRectF(0, 0, self.width(), PICTURE_HEIGHT)
        if self._picture is not None:
            p.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            p.drawPixmap(picture, self._picture, QRectF(self._picture.rect()))
        else:
            p.fillRect(picture, t.color("hover"))
        p.restore()
        p.setBrush(Qt.BrushStyle.NoBrush)
        p.setPen(QPen(t.color("accent_line" if hot else "border"), 1))
        p.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), 8, 8)
        text = QRectF(12, PICTURE_HEIGHT + 12, self.width() - 24, 20)
        draw_text(p, text, self._card.title, text_font(13, MEDIUM), t.color("text_1"), elide=True)
        line = text.translated(0, 20)
        draw_text(p, line, self._card.prompt, text_font(12), t.color("text_2"), elide=True)
        if hot:
            button = QRectF(self.width() - 80, PICTURE_HEIGHT - 40, 68, 28)
            rounded(p, button, 6, t.color("accent"), None)
            p.drawPixmap(
                button.topLeft().toPoint().x() + 12,
                button.topLeft().toPoint().y() + 6,
                icon_pixmap("play", t["on_accent"], 16, self.devicePixelRatioF()),
            )
            draw_text(
                p,
                button.adjusted(34, 0, 0, 0),
                "Run",
                text_font(13, MEDIUM),
                t.color("on_accent"),
            )
        p.end()


def _dashed_pen(theme: Theme, token: str) -> QPen:
    """The dashed edge of drop areas."""
    pen = QPen(theme.color(token), 1, Qt.PenStyle.CustomDashLine)
    pen.setDashPattern([3, 3])
    return pen


def _with_gap(icon: QPixmap) -> QPixmap:
    """Widen an icon at its right: Qt leaves 4 px between icon and words, the style asks for 8."""
    ratio = icon.devicePixelRatio()
    wide = QPixmap(icon.width() + round(_ICON_GAP * ratio), icon.height())
    wide.setDevicePixelRatio(ratio)
    wide.fill(Qt.GlobalColor.transparent)
    p = QPainter(wide)
    p.drawPixmap(0, 0, icon)
    p.end()
    return wide
