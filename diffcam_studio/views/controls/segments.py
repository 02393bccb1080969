# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""One of a few, all in sight: exclusive segments in one frame."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QSizePolicy,
    QWidget,
)

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls.buttons import PaintedButton
from diffcam_studio.views.painting import (
    CENTRE,
    MEDIUM,
    draw_focus,
    draw_icon,
    draw_text,
    rounded,
    text_font,
    text_width,
)


class Segments(QFrame):
    """One of a few: exclusive buttons in one frame; arrow keys move between them."""

    chosen = Signal(str)

    def __init__(
        self,
        theme: Theme,
        name: str,
        options: Sequence[tuple[str, str]],
        current: str = "",
        *,
        icons: dict[str, str] | None = None,
        expand: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setObjectName("Segments")
        self.setAccessibleName(name)
        self.setFixedHeight(28)
        horizontal = QSizePolicy.Policy.Expanding if expand else QSizePolicy.Policy.Fixed
        self.setSizePolicy(horizontal, QSizePolicy.Policy.Fixed)
        self._expand = expand
        row = self._row = QHBoxLayout(self)
        row.setContentsMargins(1, 1, 1, 1)
        row.setSpacing(0)
        self._group = QButtonGroup(self)
        self._buttons: dict[str, _Segment] = {}
        for key, title in options:
            button = _Segment(theme, title, (icons or {}).get(key, ""))
            button.setAccessibleName(f"{name}: {title}")
            button.clicked.connect(lambda _=False, key=key: self.chosen.emit(key))
            self._group.addButton(button)
            row.addWidget(button, button.sizeHint().width() if expand else 0)
            self._buttons[key] = button
        if current:
            self.set_current(current)

    @property
    def current(self) -> str:
        """Key of the chosen segment, or ""."""
        return next((key for key, b in self._buttons.items() if b.isChecked()), "")

    def set_current(self, key: str) -> None:
        """Choose without emitting; unknown keys are ignored."""
        button = self._buttons.get(key)
        if button is not None:
            button.setChecked(True)

    def set_compact(self, compact: bool) -> None:
        """Show icons alone where there is no room for words; the words become tooltips."""
        for button in self._buttons.values():
            button.set_compact(compact)
            if self._expand:
                self._row.setStretchFactor(button, button.sizeHint().width())

    def button(self, key: str) -> QAbstractButton:
        """Return the button of one segment."""
        return self._buttons[key]

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        for button in self._buttons.values():
            button.set_theme(theme)
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        move = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        keys = list(self._buttons)
        if move is None or not self.current:
            super().keyPressEvent(event)
            return
        at = keys.index(self.current) + move
        if 0 <= at < len(keys):
            button = self._buttons[keys[at]]
            button.setChecked(True)
            button.setFocus(Qt.FocusReason.TabFocusReason)
            self.chosen.emit(keys[at])

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        rounded(p, QRectF(self.rect()), 6, t.color("segment_track"), t.color("border"))
        p.end()


class _Segment(PaintedButton):
    _own_focus = True

    def __init__(self, theme: Theme, text: str, icon: str) -> None:
        super().__init__(theme)
        self._icon = icon
        self._compact = False
        self.setText(text)
        self.setCheckable(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def set_compact(self, compact: bool) -> None:
        self._compact = compact and bool(self._icon)
        self.setToolTip(self.text() if self._compact else "")
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        if self._compact:
            return QSize(38, 26)
        width = text_width(self.text(), text_font(12, MEDIUM)) + 22 + (22 if self._icon else 0)
        return QSize(round(width), 26)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        box = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        if self.isChecked():
            rounded(p, box, 4, t.color("segment_on"), t.color("segment_edge"))
        elif self.underMouse() and self.isEnabled():
            rounded(p, box, 4, t.color("hover"), None)
        ink = (
            "text_disabled"
            if not self.isEnabled()
            else ("text_1" if self.isChecked() or self.underMouse() else "text_2")
        )
        if self._compact:
            draw_icon(p, t, self._icon, ink, (self.width() - 16) / 2, (self.height() - 16) / 2)
        elif self._icon:
            width = text_width(self.text(), text_font(12, MEDIUM)) + 22
            x = (self.width() - width) / 2
            draw_icon(p, t, self._icon, ink, x, (self.height() - 16) / 2)
            box = QRectF(x + 22, 0, self.width(), self.height())
            draw_text(p, box, self.text(), text_font(12, MEDIUM), t.color(ink))
        else:
            draw_text(
                p, QRectF(self.rect()), self.text(), text_font(12, MEDIUM), t.color(ink), CENTRE
            )
        if self.keyboard_focus:
            draw_focus(p, QRectF(self.rect()), t, 5)
        p.end()
