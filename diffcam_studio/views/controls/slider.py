# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""A slider over real numbers, and the knob it shares with other tracks."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QPen, QWheelEvent
from PySide6.QtWidgets import QSizePolicy, QSlider, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.painting import rounded


class Slider(QSlider):
    """A slider over real numbers in fixed steps; the filled part runs to the knob.

    ``changed`` follows the hand, ``settled`` comes once at its end (for undo).
    Double-click goes back to the default.
    """

    changed = Signal(float)
    settled = Signal(float)

    def __init__(
        self,
        theme: Theme,
        name: str,
        minimum: float = 0.0,
        maximum: float = 1.0,
        step: float = 0.01,
        value: float = 0.0,
        *,
        default: float | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.theme = theme
        self.setAccessibleName(name)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFixedHeight(16)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._low, self._step, self._default = minimum, step, default
        self.setRange(0, max(1, round((maximum - minimum) / step)))
        self.setSingleStep(1)
        self.setPageStep(max(1, self.maximum() // 10))
        self.set_number(value)
        self._quiet = False
        self._before = self.value()
        self.valueChanged.connect(self._emit)

    @property
    def number(self) -> float:
        """Present value, a multiple of the step above the minimum."""
        return round(self._low + self.value() * self._step, 10)

    def set_number(self, value: float) -> None:
        """Move the knob without a signal; while the hand holds it, it stays."""
        if self.isSliderDown():
            return
        self.blockSignals(True)
        self.setValue(round((value - self._low) / self._step))
        self.blockSignals(False)
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        self.update()

    def _emit(self) -> None:
        self.changed.emit(self.number)
        if not self.isSliderDown():
            self.settled.emit(self.number)

    def _value_at(self, x: float) -> int:
        span = max(1.0, self.width() - 12.0)
        share = min(1.0, max(0.0, (x - 6.0) / span))
        return round(share * self.maximum())

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            event.ignore()
            return
        self._before = self.value()
        self.setSliderDown(True)
        self.setValue(self._value_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self.isSliderDown():
            self.setValue(self._value_at(event.position().x()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self.isSliderDown():
            self.setSliderDown(False)
            self.update()
            if self.value() != self._before:
                self.settled.emit(self.number)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self._default is not None:
            self.setSliderDown(False)
            self.setValue(round((self._default - self._low) / self._step))

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        y = self.height() / 2
        share = self.value() / max(1, self.maximum())
        knob = 6.0 + share * (self.width() - 12.0)
        enabled = self.isEnabled()
        rounded(p, QRectF(0, y - 2, self.width(), 4), 2, t.color("pressed"), None)
        line = t.color("accent_line" if enabled else "text_disabled")
        rounded(p, QRectF(0, y - 2, knob, 4), 2, line, None)
        draw_knob(p, t, QPointF(knob, y), hot=self.underMouse() and enabled, enabled=enabled)
        if self.hasFocus():
            p.setPen(QPen(t.color("accent_line"), 2))
            p.setBrush(Qt.BrushStyle.NoBrush)
            p.drawEllipse(QPointF(knob, y), 7, 7)
        p.end()


def draw_knob(
    p: QPainter, theme: Theme, centre: QPointF, *, hot: bool = False, enabled: bool = True
) -> None:
    """Draw the round knob of sliders."""
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    p.setPen(QPen(theme.color("knob_edge" if enabled else "border"), 1))
    fill = "text_disabled" if not enabled else "accent_text" if hot else "knob"
    p.setBrush(theme.color(fill))
    p.drawEllipse(centre, 5.5, 5.5)
