# ruff: noqa: D102 - Qt overrides keep the names and signatures of Qt
"""A number that is typed: for ranges with more values than a slider has places."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QAbstractSpinBox, QDoubleSpinBox, QWidget

PADDING = 7


def inset_text(box: QAbstractSpinBox) -> None:
    """Give the text of a spin box the padding of the other fields.

    Qt lays the editor of a spin box from edge to edge, whatever padding the style sheet names.
    """
    right = bool(box.alignment() & Qt.AlignmentFlag.AlignRight)
    box.lineEdit().setTextMargins(0 if right else PADDING, 0, PADDING if right else 0, 0)


class NumberField(QDoubleSpinBox):
    """A field for a real or whole number of any size; Up and Down go on by one step.

    Whole numbers are typed here too: a QSpinBox ends at 2**31 - 1, below the seeds of numpy.
    """

    changed = Signal(float)
    settled = Signal(float)

    def __init__(
        self,
        name: str,
        minimum: float,
        maximum: float,
        step: float,
        value: float,
        decimals: int = 0,
        *,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("NumberField")
        self.setAccessibleName(name)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        inset_text(self)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        # Half a number is no wish: it counts once it is confirmed or left.
        self.setKeyboardTracking(False)
        self.setDecimals(decimals)
        self.setRange(minimum, maximum)
        self.setSingleStep(step)
        self.setFixedHeight(24)
        self.set_number(value)
        self.valueChanged.connect(self._emit)

    @property
    def number(self) -> float:
        """Present value."""
        return self.value()

    def set_number(self, value: float) -> None:
        """Show a value without a signal; while somebody types, it stays."""
        if self.hasFocus() and self.lineEdit().isModified():
            return
        self.blockSignals(True)
        self.setValue(value)
        self.blockSignals(False)

    def _emit(self, value: float) -> None:
        self.changed.emit(value)
        self.settled.emit(value)

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # scrolling the dock must not change a setting
