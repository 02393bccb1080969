# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""Painted buttons: with an icon, with words, and what every painted button has in common."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFocusEvent, QFont, QPainter, QPaintEvent
from PySide6.QtWidgets import QAbstractButton, QPushButton, QSizePolicy, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls.focus import FocusRing, came_by_keyboard
from diffcam_studio.views.painting import (
    CENTRE,
    MEDIUM,
    REGULAR,
    draw_icon,
    draw_text,
    rounded,
    text_font,
    text_width,
)


class PaintedButton(QAbstractButton):
    """Common part of painted buttons: theme, hover, tooltip with key, accessible name."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self._keyboard = False
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        self.update()

    def set_help(self, name: str, key: str = "") -> None:
        """Set tooltip and accessible name from one text."""
        self.setToolTip(f"{name} ({key})" if key else name)
        self.setAccessibleName(name)

    _ring_radius = 6.0
    _own_focus = False  # True where the widget paints its focus inside itself

    @property
    def keyboard_focus(self) -> bool:
        """Whether the focus came by Tab or a shortcut, so that it must be seen."""
        return self._keyboard and self.hasFocus()

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._keyboard = came_by_keyboard(event, self._keyboard)
        super().focusInEvent(event)
        if self._keyboard and not self._own_focus:
            ring = self.window().findChild(
                FocusRing, options=Qt.FindChildOption.FindDirectChildrenOnly
            )
            if ring is not None:
                ring.follow(self, self._ring_radius)

    def _fill(self, rest: str | None, checked: str = "selected") -> QColor | None:
        if not self.isEnabled():
            token = rest
        elif self.isDown():
            token = "pressed"
        elif self.isChecked():
            token = checked
        elif self.underMouse():
            token = "hover"
        else:
            token = rest
        return self.theme.color(token) if token else None


class IconButton(PaintedButton):
    """An icon in a 24 or 28 px button; ``boxed`` has an edge (play)."""

    def __init__(
        self,
        theme: Theme,
        icon: str,
        name: str,
        key: str = "",
        *,
        size: int = 24,
        checkable: bool = False,
        boxed: bool = False,
        glyph: int = 16,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._icon, self._side, self._boxed, self._glyph = icon, size, boxed, glyph
        self.setCheckable(checkable)
        self.set_help(name, key)
        self.setFixedSize(size, size)

    def set_icon(self, icon: str, name: str, key: str = "") -> None:
        """Show another icon with another name (play and pause)."""
        self._icon = icon
        self.set_help(name, key)
        self.update()

    @property
    def icon_name(self) -> str:
        """Name of the icon shown."""
        return self._icon

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        fill = self._fill("raised" if self._boxed else None)
        edge = t.color("border") if self._boxed else None
        if fill is not None or edge is not None:
            rounded(p, QRectF(self.rect()), 6, fill, edge)
        if not self.isEnabled():
            ink = "text_disabled"
        elif self.isChecked():
            ink = "accent_text"
        else:
            ink = "text_1" if self._boxed or self.underMouse() or self.isDown() else "text_2"
        offset = (self._side - self._glyph) / 2
        draw_icon(p, t, self._icon, ink, offset, offset, self._glyph)
        p.end()


class TextButton(PaintedButton):
    """A button with words: standard, quiet, link or danger; icon at the left, key at the right."""

    def __init__(
        self,
        theme: Theme,
        text: str,
        *,
        icon: str = "",
        kind: str = "standard",
        height: int = 28,
        chevron: bool = False,
        key: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._icon, self._kind, self._height, self._chevron = icon, kind, height, chevron
        self._key = key
        self.setText(text)
        self.setAccessibleName(text)
        self.setFixedHeight(height)

    @property
    def _text_font(self) -> QFont:
        return text_font(12 if self._height <= 24 else 13, REGULAR if self._chevron else MEDIUM)

    def set_text(self, text: str, icon: str = "") -> None:
        """Show other words."""
        self._icon = icon
        self.setText(text)
        self.setAccessibleName(text)
        self.updateGeometry()
        self.update()

    @property
    def _pad(self) -> int:
        """Room beside the words; a link has no edge to keep off."""
        if self._kind == "link":
            return 0
        return 8 if self._kind == "quiet" or self._chevron else 12

    def sizeHint(self) -> QSize:
        width = text_width(self.text(), self._text_font) + 2 * self._pad
        width += 22 if self._icon else 0
        width += text_width(self._key, text_font(11)) + 18 if self._key else 0
        width += 14 if self._chevron else 0
        return QSize(round(width), self._height)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        quiet = self._kind in ("quiet", "link")
        fill = None if self._kind == "link" else self._fill(None if quiet else "raised")
        edge = None if quiet else t.color("border" if self.isEnabled() else "line")
        if fill is not None or edge is not None:
            rounded(p, QRectF(self.rect()), 6, fill, edge)
        hot = self.underMouse() or self.isDown()
        if not self.isEnabled():
            ink = "text_disabled"
        elif self._kind == "danger":
            ink = "failed_text"
        elif self.isChecked():
            ink = "accent_text"
        else:
            ink = "text_2" if quiet and not hot else "text_1"
        x = float(self._pad)
        if not self._chevron:
            # A button that its layout makes wider keeps its words in the middle.
            x += max(0.0, (self.width() - self.sizeHint().width()) / 2)
        if self._icon:
            draw_icon(p, t, self._icon, ink, x, (self.height() - 16) / 2)
            x += 22
        box = QRectF(x, 0, self.width() - x, self.height())
        draw_text(p, box, self.text(), self._text_font, t.color(ink))
        if self._key:
            x += text_width(self.text(), self._text_font) + 8
            cap = QRectF(x, (self.height() - 18) / 2, text_width(self._key, text_font(11)) + 10, 18)
            rounded(p, cap, 4, None, t.color("border"))
            draw_text(p, cap, self._key, text_font(11), t.color("text_3"), CENTRE)
        if self._chevron:
            y = (self.height() - 12) / 2
            draw_icon(p, t, "chevron-down", "text_3", self.width() - 19, y, 12)
        p.end()


def primary_button(text: str, *, large: bool = False) -> QPushButton:
    """The one filled button of a region."""
    button = QPushButton(text)
    button.setProperty("kind", "primary")
    # "size" is a property of every QWidget, so the variant needs a name of its own.
    button.setProperty("large", large)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button
