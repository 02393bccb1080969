# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""Focus that came by the keyboard, and the ring that shows where it is."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, QRectF, Qt
from PySide6.QtGui import QFocusEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.painting import draw_focus

_BY_KEYBOARD = (
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
)


def came_by_keyboard(event: QFocusEvent, before: bool) -> bool:
    """Whether the focus came by Tab or a shortcut, so that it must be seen.

    A window that comes to the front gives its widget back the focus it had
    before, and with it the answer from ``before``.
    """
    if event.reason() == Qt.FocusReason.ActiveWindowFocusReason:
        return before
    return event.reason() in _BY_KEYBOARD


class FocusRing(QWidget):
    """The ring around the focused button or switch, after Tab or a shortcut only.

    One per window: ``FocusRing(window, theme)``. The painted buttons find it by
    themselves; other widgets may call :meth:`follow` and :meth:`leave`.
    """

    def __init__(self, window: QWidget, theme: Theme) -> None:
        super().__init__(window)
        self.theme = theme
        self._radius = 6.0
        self._target: QWidget | None = None
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hide()

    @property
    def target(self) -> QWidget | None:
        """The widget that has the ring."""
        return self._target

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        self.update()

    def follow(self, target: QWidget, radius: float = 6.0) -> None:
        """Put the ring around a widget of the same window."""
        self.leave()
        self._target, self._radius = target, radius
        target.installEventFilter(self)
        self._place()
        self.raise_()
        self.show()

    def leave(self) -> None:
        """Take the ring away."""
        if self._target is not None:
            self._target.removeEventFilter(self)
        self._target = None
        self.hide()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind in (QEvent.Type.FocusOut, QEvent.Type.Hide):
            self.leave()
        elif kind in (QEvent.Type.Move, QEvent.Type.Resize):
            self._place()
        return False

    def _place(self) -> None:
        if self._target is None:
            return
        top = self._target.mapTo(self.parentWidget(), QPoint(0, 0))
        self.setGeometry(QRect(top, self._target.size()).adjusted(-4, -4, 4, 4))

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        draw_focus(p, QRectF(self.rect()), self.theme, self._radius + 3)
        p.end()
