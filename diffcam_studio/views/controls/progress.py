# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""How far something is, as a ring or a bar; neither ever spins."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls.theming import ThemedWidget
from diffcam_studio.views.painting import rounded


class ProgressRing(ThemedWidget):
    """A 16 px ring that shows a share; it never spins."""

    def __init__(self, theme: Theme, size: int = 16) -> None:
        super().__init__(theme)
        self._share = 0.0
        self.setFixedSize(size, size)

    def set_share(self, share: float) -> None:
        """Show a share, 0 to 1."""
        self._share = share
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        paint_ring(p, QRectF(self.rect()), self._share, self.theme)
        p.end()


def paint_ring(p: QPainter, rect: QRectF, share: float, theme: Theme) -> None:
    """Paint a ring for a share from the top, clockwise."""
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    box = rect.adjusted(2, 2, -2, -2)
    p.setBrush(Qt.BrushStyle.NoBrush)
    p.setPen(QPen(theme.color("pressed"), 2))
    p.drawEllipse(box)
    p.setPen(QPen(theme.color("computing"), 2))
    p.drawArc(box, 90 * 16, -round(360 * 16 * max(0.03, min(1.0, share))))


class ProgressBar(ThemedWidget):
    """A progress bar that jumps to its value."""

    def __init__(self, theme: Theme, width: int | None = None, height: int = 4) -> None:
        super().__init__(theme)
        self._share = 0.0
        self.setFixedHeight(height)
        if width is not None:
            self.setFixedWidth(width)

    def set_share(self, share: float) -> None:
        """Show a share, 0 to 1."""
        self._share = max(0.0, min(1.0, share))
        self.setAccessibleName(f"{self._share:.0%}")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        radius = self.height() / 2
        rounded(p, QRectF(self.rect()), radius, self.theme.color("pressed"), None)
        if self._share > 0:
            width = max(self.height(), self.width() * self._share)
            box = QRectF(0, 0, width, self.height())
            rounded(p, box, radius, self.theme.color("computing"), None)
        p.end()
