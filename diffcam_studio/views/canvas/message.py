# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""What a panel says in place of a map."""

from __future__ import annotations

from PySide6.QtCore import QRect, QRectF, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import TextButton, ThemedWidget
from diffcam_studio.views.painting import (
    CENTRE,
    MEDIUM,
    draw_icon,
    draw_text,
    rounded,
    text_font,
    text_width,
)
from diffcam_studio.views.props import PanelMessage, PanelProps

_DEFAULT_MESSAGES = {
    "empty": PanelMessage(
        "open-image",
        "No image yet",
        "Drop one here or open it.",
        "Open image",
        "open-image",
        "open-image",
    ),
    "loading": PanelMessage("clock", "Reading the map"),
    "error": PanelMessage("error", "This step failed", "", "Compute again", "retry", "retry"),
    "no_path": PanelMessage("info", "No map at this step", "No gradient path to the image."),
}


def message_of(props: PanelProps) -> PanelMessage:
    """Return what a panel without a map says: its own message, or the one of its state."""
    if props.message is not None:
        return props.message
    return _DEFAULT_MESSAGES.get(props.state, _DEFAULT_MESSAGES["empty"])


class MessageView(ThemedWidget):
    """What stands in place of a map: icon, one line, one line, one button (8.9)."""

    action_requested = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._message = PanelMessage("info", "")
        self._failed = False
        self._floating = False
        self.button = TextButton(theme, "", parent=self)
        self.button.clicked.connect(lambda: self.action_requested.emit(self._message.action_key))
        self.hide()

    @property
    def message(self) -> PanelMessage:
        """What is said."""
        return self._message

    @property
    def floating(self) -> bool:
        """Whether this is a card on the picture."""
        return self._floating

    def set_message(self, message: PanelMessage, *, failed: bool, floating: bool = False) -> None:
        """Say something else; ``failed`` inks the icon, ``floating`` makes it a card."""
        self._message, self._failed, self._floating = message, failed, floating
        self.button.setVisible(bool(message.action))
        if message.action:
            self.button.set_text(message.action, message.action_icon)
        self.setAccessibleName(f"{message.title}. {message.detail}")
        self._place()
        self.update()

    def place(self, room: QRect) -> None:
        """Fill the room below a header, or stand in its middle as a card."""
        if self._floating:
            title = text_width(self._message.title, text_font(12, MEDIUM))
            detail = text_width(self._message.detail, text_font(11))
            wanted = max(title, detail, self.button.sizeHint().width())
            width = min(round(wanted) + 48, room.width() - 16)
            height = min(self._content() + 32, room.height() - 8)
            middle = room.center()
            room = QRect(middle.x() - width // 2, middle.y() - height // 2, width, height)
        self.setGeometry(room)

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._place()

    def _content(self) -> int:
        return 20 + 8 + 16 + 4 + 16 + (12 + 28 if self._message.action else 0)

    def _top(self) -> float:
        return max(4.0, (self.height() - self._content()) / 2)

    def _place(self) -> None:
        hint = self.button.sizeHint()
        self.button.resize(hint)
        self.button.move(round((self.width() - hint.width()) / 2), round(self._top() + 76))

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        if self._floating:
            rounded(p, QRectF(self.rect()), 8, t.color("overlay"), t.color("border"))
        else:
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
