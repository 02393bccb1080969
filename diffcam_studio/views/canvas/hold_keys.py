# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""Keys that show something else while they are held, and the reminder of them."""

from __future__ import annotations

import math

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import ThemedWidget
from diffcam_studio.views.painting import CENTRE, LEFT, draw_text, rounded, text_font, text_width
from diffcam_studio.views.props import Peek

PEEKS: dict[int, Peek] = {
    Qt.Key.Key_B: "blink",
    Qt.Key.Key_D: "difference",
    Qt.Key.Key_V: "image",
}


class HoldKeys(ThemedWidget):
    """A reminder of the keys that show something else while they are held."""

    _PARTS = (("B", "Blink"), ("D", "Difference"), ("V", "Image only"))

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Hold B to blink, D for the difference, V for the image only")

        self.setToolTip("Hold B to blink, D for the difference, V for the image only")
        self._compact = False

    def set_compact(self, compact: bool) -> None:
        """Show the keys without their meaning, where there is no room for it."""
        if compact != self._compact:
            self._compact = compact
            self.updateGeometry()
            self.update()

    def sizeHint(self) -> QSize:
        font = text_font(12)
        width = text_width("Hold", font) + sum(
            12 + 18 + (0 if self._compact else 8 + text_width(text, font))
            for _, text in self._PARTS
        )
        return QSize(math.ceil(width) + 1, 24)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        font = text_font(12)
        draw_text(p, QRectF(0, 0, 60, 24), "Hold", font, t.color("text_3"))
        x = text_width("Hold", font) + 12
        for key, text in self._PARTS:
            cap = QRectF(x, 3, 18, 18)
            rounded(p, cap, 4, None, t.color("border"))
            draw_text(p, cap, key, text_font(11), t.color("text_2"), CENTRE)
            if self._compact:
                x += 30
                continue
            x += 26
            width = text_width(text, font)
            draw_text(p, QRectF(x, 0, width + 2, 24), text, font, t.color("text_2"), LEFT)
            x += width + 12
        p.end()
