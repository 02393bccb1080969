# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""Focus that came by the keyboard, and the ring that shows where it is."""

from __future__ import annotations

import shiboken6
from PySide6.QtCore import QEvent, QObject, QPoint, QRect, QRectF, Qt
from PySide6.QtGui import QFocusEvent, QPainter, QPaintEvent, QRegion
from PySide6.QtWidgets import QApplication, QWidget

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


class BorrowedFocus:
    """The focus that a card over the window takes, and gives back when it goes.

    A card that is merely hidden leaves the focus to whatever comes next in the tab order, and
    the next key with it.
    """

    def __init__(self, card: QWidget) -> None:
        self._card = card
        self._before: QWidget | None = None

    def take(self, target: QWidget) -> None:
        """Give the focus to a part of the card."""
        before = QApplication.focusWidget()
        if before is None or not (before is self._card or self._card.isAncestorOf(before)):
            self._before = before
        target.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def give_back(self) -> None:
        """Give it to who had it; to the window where that widget is gone."""
        before, self._before = self._before, None
        if before is None or not shiboken6.isValid(before) or not before.isVisible():
            before = self._card.parentWidget()
        before.setFocus(Qt.FocusReason.OtherFocusReason)


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
        self._watched: list[QWidget] = []
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
        # A layout, a dock or a scroll area moves the target by moving what it stands in.
        widget = target
        while widget is not self.parentWidget():
            self._watched.append(widget)
            widget.installEventFilter(self)
            widget = widget.parentWidget()
        self._place()
        self.raise_()

    def leave(self) -> None:
        """Take the ring away."""
        for widget in self._watched:
            if shiboken6.isValid(widget):
                widget.removeEventFilter(self)
        self._watched.clear()
        self._target = None
        self.hide()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        focus_left = kind == QEvent.Type.FocusOut and watched is self._target
        if focus_left or kind == QEvent.Type.Hide:
            self.leave()
        elif kind in (QEvent.Type.Move, QEvent.Type.Resize):
            self._place()
        return False

    def _place(self) -> None:
        if self._target is None:
            return
        top = self._target.mapTo(self.parentWidget(), QPoint(0, 0))
        ring = QRect(top, self._target.size()).adjusted(-4, -4, 4, 4)
        self.setGeometry(ring)
        # Scrolled out of sight, the ring goes under the edge together with its target.
        seen = self.parentWidget().rect()
        for around in self._watched[1:]:
            origin = around.mapTo(self.parentWidget(), QPoint(0, 0))
            seen &= QRect(origin, around.size()).adjusted(-4, -4, 4, 4)
        seen &= ring
        self.setVisible(not seen.isEmpty())
        self.setMask(QRegion(seen.translated(-ring.topLeft())))

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        draw_focus(p, QRectF(self.rect()), self.theme, self._radius + 3)
        p.end()
