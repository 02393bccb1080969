# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""A dock section: a header that folds its body."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls.buttons import PaintedButton
from diffcam_studio.views.controls.theming import ThemedWidget, spread_theme
from diffcam_studio.views.painting import (
    SEMIBOLD,
    draw_focus,
    draw_icon,
    draw_text,
    text_font,
    text_width,
)


class SectionHeader(PaintedButton):
    """32 px head of a dock section; the whole row folds it, ``action`` widgets sit at the right."""

    _own_focus = True

    def __init__(
        self,
        theme: Theme,
        title: str,
        meta: str = "",
        *,
        open_: bool = True,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._title, self._meta = title, meta
        self.setCheckable(True)
        self.setChecked(open_)
        self.setFixedHeight(32)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 8, 0)
        self._row.setSpacing(4)
        self._row.addStretch(1)
        self._name()

    def set_title(self, title: str, meta: str = "") -> None:
        """Show other words."""
        if (title, meta) != (self._title, self._meta):
            self._title, self._meta = title, meta
            self._name()
            self.update()

    def _name(self) -> None:
        self.setAccessibleName(f"{self._title}, {self._meta}" if self._meta else self._title)

    def add_action(self, widget: QWidget, *, flush: bool = True) -> None:
        """Put a tag, a choice or an icon button at the right end.

        ``flush`` ends at 12 px from the edge (tags, fields), else at 8 (icon buttons).
        """
        if flush:
            self._row.setContentsMargins(0, 0, 12, 0)
        self._row.addWidget(widget)

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        spread_theme(self, theme)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(120, 32)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        if self.underMouse():
            p.fillRect(self.rect(), t.color("hover"))
        icon = "chevron-down" if self.isChecked() else "chevron-right"
        draw_icon(p, t, icon, "text_3", 8, 8)
        bold = text_font(12, SEMIBOLD)
        draw_text(p, QRectF(30, 0, self.width(), 32), self._title, bold, t.color("text_1"))
        if self._meta:
            x = 30 + text_width(self._title, bold) + 8
            width = self.width() - x - 8
            first = self._row.itemAt(1)
            if first is not None and first.widget() is not None and first.widget().isVisible():
                width = first.widget().x() - x - 8
            # Half a remark says nothing: it is there as a whole or not at all.
            if text_width(self._meta, text_font(11)) <= width:
                box = QRectF(x, 0, width, 32)
                draw_text(p, box, self._meta, text_font(11), t.color("text_3"))
        if self.keyboard_focus:
            draw_focus(p, QRectF(self.rect()), t, 3)
        p.end()


class Section(ThemedWidget):
    """A dock section: header, body, and the line that ends it."""

    folded = Signal(bool)

    def __init__(
        self,
        theme: Theme,
        title: str,
        meta: str = "",
        *,
        open_: bool = True,
        margins: tuple[int, int, int, int] = (12, 0, 12, 12),
        spacing: int = 8,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self.header = SectionHeader(theme, title, meta, open_=open_)
        self.body = QWidget()
        self.rows = QVBoxLayout(self.body)
        self.rows.setContentsMargins(*margins)
        self.rows.setSpacing(spacing)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 1)
        column.setSpacing(0)
        column.addWidget(self.header)
        column.addWidget(self.body)
        self.body.setVisible(open_)
        self.header.toggled.connect(self._toggle)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    @property
    def is_open(self) -> bool:
        """Whether the body is shown."""
        return self.header.isChecked()

    def set_open(self, open_: bool) -> None:
        """Fold or unfold."""
        self.header.setChecked(open_)

    def _toggle(self, open_: bool) -> None:
        self.body.setVisible(open_)
        self.folded.emit(not open_)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.fillRect(0, self.height() - 1, self.width(), 1, self.theme.color("line"))
        p.end()
