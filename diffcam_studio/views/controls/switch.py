# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""An on-off switch, the only control that moves."""

from __future__ import annotations

from PySide6.QtCore import QAbstractAnimation, QEasingCurve, QEvent, QRectF, QVariantAnimation
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls.buttons import PaintedButton
from diffcam_studio.views.painting import paint_switch

SWITCH_MS = 120


_reduce_motion = False


def set_reduce_motion(reduce: bool) -> None:
    """Turn every animation of the controls off (or on again)."""
    global _reduce_motion
    _reduce_motion = reduce


class Switch(PaintedButton):
    """A 28 x 16 switch; the knob moves for 120 ms."""

    _ring_radius = 8.0

    def __init__(self, theme: Theme, name: str, *, on: bool = False, parent: QWidget | None = None):
        super().__init__(theme, parent)
        self.setCheckable(True)
        self.setChecked(on)
        self.set_help(name)
        self.setFixedSize(28, 16)
        self._knob = 1.0 if on else 0.0
        self._move = QVariantAnimation(self)
        self._move.setDuration(SWITCH_MS)
        self._move.setEasingCurve(QEasingCurve.Type.OutCubic)
        self._move.valueChanged.connect(self._set_knob)
        self.clicked.connect(self._animate)

    def set_on(self, on: bool) -> None:
        """Set the state from props: no signal, no motion."""
        if self._move.state() == QAbstractAnimation.State.Running and on == self.isChecked():
            return
        self._move.stop()
        self.setChecked(on)
        self._set_knob(1.0 if on else 0.0)

    def _animate(self, on: bool) -> None:
        self._move.stop()
        end = 1.0 if on else 0.0
        if _reduce_motion or not self.isVisible():
            self._set_knob(end)
            return
        self._move.setStartValue(self._knob)
        self._move.setEndValue(end)
        self._move.start()

    def _set_knob(self, value: float) -> None:
        self._knob = float(value)
        self.update()

    def hideEvent(self, event: QEvent) -> None:
        self._move.stop()
        self._knob = 1.0 if self.isChecked() else 0.0

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        paint_switch(
            p,
            QRectF(self.rect()),
            self.theme,
            on=self.isChecked(),
            knob=self._knob,
            enabled=self.isEnabled(),
        )
        p.end()
