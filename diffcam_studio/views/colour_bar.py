# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The colour bar: table, five numbers and always the sentence that names the scope."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views import colormaps
from diffcam_studio.views.controls import ThemedWidget
from diffcam_studio.views.painting import (
    CENTRE,
    LEFT,
    MINUS,
    RIGHT,
    draw_text,
    number,
    text_font,
    text_width,
)
from diffcam_studio.views.props import ColourScale

THICKNESS = 12
TICK = 4
MAX_LINES = 5  # of the sentence above a vertical bar
OVERHANG = 8  # px below it: half of the lowest label
VERTICAL_WIDTH = 104


def tick_labels(scale: ColourScale, count: int = 5) -> list[tuple[float, str]]:
    """Return (share along the bar, text) of evenly spaced labels; signed on a diverging scale."""
    result = []
    for i in range(count):
        share = i / (count - 1)
        value = scale.low + (scale.high - scale.low) * share
        text = number(value, scale.decimals)
        if scale.diverging:
            places = scale.decimals
            text = "0" if abs(value) < 0.5 * 10.0**-places else text
            if value > 0 and text != "0":
                text = f"+{text}"
        result.append((share, text))
    return result


class ColourBar(ThemedWidget):
    """A vertical, horizontal or compact bar fed from the same table and range as the map."""

    def __init__(
        self,
        theme: Theme,
        scale: ColourScale | None = None,
        *,
        vertical: bool = True,
        compact: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._vertical, self._compact = vertical, compact
        self._scale = scale or ColourScale()
        horizontal = QSizePolicy.Policy.Fixed if vertical else QSizePolicy.Policy.Expanding
        down = QSizePolicy.Policy.Expanding if vertical else QSizePolicy.Policy.Fixed
        self.setSizePolicy(horizontal, down)
        self._describe()

    @property
    def scale(self) -> ColourScale:
        """The scale that is shown."""
        return self._scale

    def set_scale(self, scale: ColourScale) -> None:
        """Show another table, range or scope."""
        if scale != self._scale:
            self._scale = scale
            self._describe()
            self.update()

    def _describe(self) -> None:
        labels = tick_labels(self._scale)
        title = colormaps.COLORMAPS[self._scale.cmap].title
        self.setAccessibleName(f"{title}, {labels[0][1]} to {labels[-1][1]}, {self._scale.scope}")
        self.setToolTip(self._scale.scope)

    def sizeHint(self) -> QSize:
        if self._vertical:
            return QSize(VERTICAL_WIDTH, 240)
        return QSize(240, 40 if self._compact else THICKNESS + TICK + 4 + 16 + 16)

    def scope_lines(self) -> list[str]:
        """Return the scope sentence as it is broken over a vertical bar."""
        return _wrap(self._scale.scope, self.width())

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        if self._vertical:
            self._paint_vertical(p)
        elif self._compact:
            self._paint_compact(p)
        else:
            self._paint_horizontal(p)
        p.end()

    def _strip(self, p: QPainter, box: QRectF) -> None:
        p.save()
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        path = QPainterPath()
        path.addRoundedRect(box, 2, 2)
        p.setClipPath(path)
        length = max(2, round(box.height() if self._vertical else box.width()))
        p.drawImage(box, colormaps.ramp(self._scale.cmap, length, vertical=self._vertical))
        p.restore()

    def _paint_vertical(self, p: QPainter) -> None:
        t = self.theme
        font = text_font(11)
        for i, line in enumerate(self.scope_lines()):
            draw_text(p, QRectF(0, 16 * i, self.width(), 16), line, font, t.color("text_3"))
        top = 16 * max(2, len(self.scope_lines())) + 12
        bottom = self.height() - OVERHANG
        self._strip(p, QRectF(0, top, THICKNESS, bottom - top))
        for share, text in tick_labels(self._scale):
            y = bottom - share * (bottom - top)
            p.setPen(QPen(t.color("strong"), 1))
            line_y = min(bottom - 0.5, max(top + 0.5, y))
            p.drawLine(QPointF(THICKNESS, line_y), QPointF(THICKNESS + TICK, line_y))
            box = QRectF(THICKNESS + TICK + 4, y - 8, self.width(), 16)
            draw_text(p, box, text, font, t.color("text_2"))

    def _paint_horizontal(self, p: QPainter) -> None:
        t = self.theme
        font = text_font(11)
        width = self.width()
        self._strip(p, QRectF(0, 0, width, THICKNESS))
        for share, text in tick_labels(self._scale):
            x = min(width - 0.5, max(0.5, share * width))
            p.setPen(QPen(t.color("strong"), 1))
            p.drawLine(QPointF(x, THICKNESS), QPointF(x, THICKNESS + TICK))
            align = LEFT if share == 0 else RIGHT if share == 1 else CENTRE
            left = 0.0 if share == 0 else width - 60.0 if share == 1 else x - 30.0
            box = QRectF(left, THICKNESS + TICK + 2, 60, 16)
            draw_text(p, box, text, font, t.color("text_2"), align)
        box = QRectF(0, THICKNESS + TICK + 19, width, 16)
        draw_text(p, box, self._scale.scope, font, t.color("text_3"), elide=True)

    def _paint_compact(self, p: QPainter) -> None:
        t = self.theme
        font = text_font(11)
        labels = tick_labels(self._scale)
        low, high = labels[0][1], labels[-1][1]
        left, right = text_width(low, font) + 8, text_width(high, font) + 8
        draw_text(p, QRectF(0, 0, left, 16), low, font, t.color("text_2"))
        box = QRectF(self.width() - right, 0, right, 16)
        draw_text(p, box, high, font, t.color("text_2"), RIGHT)
        self._strip(p, QRectF(left, 3, max(2.0, self.width() - left - right), 10))
        box = QRectF(0, 20, self.width(), 16)
        draw_text(p, box, self._scale.scope, font, t.color("text_3"), elide=True)


def _wrap(text: str, width: float) -> list[str]:
    font = text_font(11)
    lines: list[str] = []
    for word in text.split(" "):
        if lines and text_width(f"{lines[-1]} {word}", font) <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    return lines[:MAX_LINES]


def short_range(scale: ColourScale) -> tuple[str, str]:
    """Return the two end labels, for the small bar in the header of a difference."""
    decimals = 1 if scale.diverging else scale.decimals
    low, high = number(scale.low, decimals), number(scale.high, decimals)
    if scale.diverging:
        return low if low.startswith(MINUS) else f"{MINUS}{low}", f"+{high}"
    return low, high


__all__ = ["OVERHANG", "VERTICAL_WIDTH", "ColourBar", "short_range", "tick_labels"]
