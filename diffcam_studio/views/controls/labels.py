# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""One line of text, and the small parts beside it: tags and dividers."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import (
    QFont,
    QFontMetricsF,
    QPainter,
    QPaintEvent,
    QTextLayout,
    QTextOption,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls.theming import ThemedWidget
from diffcam_studio.views.painting import (
    LEFT,
    MEDIUM,
    REGULAR,
    draw_icon,
    draw_text,
    rounded,
    text_font,
    text_width,
)


class Label(ThemedWidget):
    """Text in one of the type roles: one line that elides without room, or ``wrap`` over more."""

    def __init__(
        self,
        theme: Theme,
        text: str = "",
        *,
        pixels: int = 12,
        weight: QFont.Weight = REGULAR,
        token: str = "text_2",
        align: Qt.AlignmentFlag = LEFT,
        elide: bool = False,
        wrap: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._text = text
        self._wrap = wrap
        self._font = text_font(pixels, weight)
        self._token = token
        self._align = align
        self._elide = elide
        across = QSizePolicy.Policy.Ignored if elide or wrap else QSizePolicy.Policy.Preferred
        # A layout gives a fixed height from the hint alone, whatever the width asks for.
        down = QSizePolicy.Policy.Minimum if wrap else QSizePolicy.Policy.Fixed
        policy = QSizePolicy(across, down)
        policy.setHeightForWidth(wrap)
        self.setSizePolicy(policy)
        self.setAccessibleName(text)

    def text(self) -> str:
        """Return the text."""
        return self._text

    def set_text(self, text: str, token: str | None = None) -> None:
        """Show other text, and other ink if ``token`` is given."""
        if text == self._text and token in (None, self._token):
            return
        resized = text != self._text
        self._text = text
        self._token = token or self._token
        self.setAccessibleName(text)
        if resized:
            self.updateGeometry()
        self.update()

    @property
    def token(self) -> str:
        """Colour token of the ink."""
        return self._token

    def sizeHint(self) -> QSize:
        metrics = QFontMetricsF(self._font)
        width = metrics.horizontalAdvance(self._text)
        return QSize(int(width + 0.999), self._line_height())

    def heightForWidth(self, width: int) -> int:
        if not self._wrap:
            return -1
        # Lines stand as close as the font says; what the role adds to one line goes around all.
        laid = self._laid_out(width)
        extra = laid.boundingRect().height() - laid.lineAt(0).height() if laid.lineCount() else 0.0
        return self._line_height() + round(extra)

    def _laid_out(self, width: float) -> QTextLayout:
        laid = QTextLayout(self._text, self._font)
        option = QTextOption()
        # Paths and names have no spaces to break at.
        option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        laid.setTextOption(option)
        laid.beginLayout()
        y = 0.0
        while (line := laid.createLine()).isValid():
            line.setLineWidth(max(1.0, width))
            line.setPosition(QPointF(0, y))
            y += line.height()
        laid.endLayout()
        return laid

    def _line_height(self) -> int:
        line = {11: 16, 12: 16, 13: 20, 15: 24, 17: 24, 24: 32, 28: 36}
        return line.get(self._font.pixelSize(), round(QFontMetricsF(self._font).height()))

    def minimumSizeHint(self) -> QSize:
        hint = self.sizeHint()
        return QSize(0, hint.height()) if self._elide or self._wrap else hint

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        token = self._token if self.isEnabled() else "text_disabled"
        color = self.theme.color(token)
        if self._wrap:
            p.setPen(color)
            laid = self._laid_out(self.width())
            laid.draw(p, QPointF(0, (self.height() - laid.boundingRect().height()) / 2))
        else:
            box = QRectF(self.rect())
            draw_text(p, box, self._text, self._font, color, self._align, elide=True)
        p.end()


class Tag(ThemedWidget):
    """A 20 px tag: "Panel A", "Studio"; active tags are in accent, live ones have a dot."""

    def __init__(
        self,
        theme: Theme,
        text: str = "",
        *,
        active: bool = False,
        icon: str = "",
        dot: str = "",
        ink: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._text, self._active, self._icon, self._dot, self._ink = text, active, icon, dot, ink
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(text)

    def text(self) -> str:
        """Return the text."""
        return self._text

    def set_text(self, text: str) -> None:
        """Show other text; an empty tag hides itself."""
        if text != self._text:
            self._text = text
            self.setAccessibleName(text)
            self.updateGeometry()
            self.update()
        self.setVisible(bool(text))

    def sizeHint(self) -> QSize:
        extra = 16 if self._icon else 10 if self._dot else 0
        return QSize(round(text_width(self._text, text_font(11, MEDIUM))) + 12 + extra, 20)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        rounded(p, QRectF(self.rect()), 4, t.color("selected" if self._active else "hover"), None)
        ink = self._ink or ("accent_text" if self._active else "text_2")
        x = 6.0
        if self._icon:
            draw_icon(p, t, self._icon, ink, x - 1, 3, 14)
            x += 16
        if self._dot:
            p.setPen(Qt.PenStyle.NoPen)
            p.setBrush(t.color(self._dot))
            p.drawEllipse(QPointF(x + 3, 10), 3, 3)
            x += 10
        box = QRectF(x, 0, self.width() - x, self.height())
        draw_text(p, box, self._text, text_font(11, MEDIUM), t.color(ink))
        p.end()


class Divider(ThemedWidget):
    """A short upright line between groups of controls in a row."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setFixedSize(9, 16)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.fillRect(4, 0, 1, 16, self.theme.color("border"))
        p.end()
