# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""Messages over the view: cards that go by themselves once they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from PySide6.QtCore import QEvent, QRectF, QTimer, Signal
from PySide6.QtGui import QEnterEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import IconButton, Label, TextButton, spread_theme
from diffcam_studio.views.painting import MEDIUM, draw_icon, rounded

Level = Literal["success", "info", "warning", "error"]


_LEVEL_ICONS: dict[Level, tuple[str, str]] = {
    "success": ("check-circle", "valid"),
    "info": ("info", "text_2"),
    "warning": ("warning", "warning"),
    "error": ("error", "failed_text"),
}


SUCCESS_MS = 6000


MAX_MESSAGES = 3


@dataclass(frozen=True)
class Message:
    """One message: what happened, a detail, at most one button."""

    level: Level
    title: str
    detail: str = ""
    action: str = ""
    callback: Callable[[], object] | None = field(default=None, compare=False)


class MessageCard(QFrame):
    """A card of 44 px, more where its words need more lines; all of them can be read.

    Success leaves by itself, unless the pointer rests on it.
    """

    closed = Signal()

    def __init__(self, theme: Theme, message: Message, *, own_time: bool = True) -> None:
        super().__init__()
        self.theme = theme
        self.message = message
        self.setMinimumHeight(44)
        self.setAccessibleName(f"{message.title}. {message.detail}")
        row = QHBoxLayout(self)
        row.setContentsMargins(44, 4, 8, 4)
        row.setSpacing(8)
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(
            Label(theme, message.title, pixels=12, weight=MEDIUM, token="text_1", wrap=True)
        )
        if message.detail:
            words.addWidget(Label(theme, message.detail, pixels=11, token="text_3", wrap=True))
        row.addLayout(words, 1)
        if message.action:
            button = TextButton(theme, message.action, height=24)
            button.clicked.connect(self._act)
            row.addWidget(button)
        if not message.action or message.level in ("warning", "error"):
            cross = IconButton(theme, "close", "Dismiss")
            cross.clicked.connect(self.closed)
            row.addWidget(cross)
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
        heights = [max(44, card.heightForWidth(width)) for card in self._cards]
        height = sum(heights) + 8 * (len(heights) - 1)
        self.setGeometry(
            (host.width() - width) // 2, host.height() - height - 16, width, max(0, height)
        )
        self.raise_()
