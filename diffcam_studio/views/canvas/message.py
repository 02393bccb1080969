# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""What a panel says in place of a map."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import TextButton, ThemedWidget
from diffcam_studio.views.painting import CENTRE, MEDIUM, draw_icon, draw_text, text_font
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
