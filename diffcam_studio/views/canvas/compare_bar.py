# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The row above the tiles."""

from __future__ import annotations

import math

from PySide6.QtCore import Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.canvas.arrangement import default_columns
from diffcam_studio.views.canvas.hold_keys import HoldKeys
from diffcam_studio.views.controls import Choice, Divider, Label, TextButton, ThemedWidget
from diffcam_studio.views.props import CanvasProps


class CompareBar(ThemedWidget):
    """Row above the tiles: what they are split by, what is linked, the keys to hold."""

    split_requested = Signal(str)
    grid_requested = Signal(int, int)
    link_toggled = Signal(str, bool)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setFixedHeight(36)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 4, 12, 4)
        row.setSpacing(8)
        self._split_label = Label(theme, "Split by")
        row.addWidget(self._split_label)
        self.split = Choice(theme, "Split by", height=24)
        self.grid = Choice(theme, "Columns and rows", height=24)
        row.addWidget(self.split)
        row.addWidget(self.grid)
        row.addSpacing(4)
        row.addWidget(Divider(theme))
        row.addWidget(Label(theme, "Linked"))
        self.links: dict[str, _LinkButton] = {}
        for key, title, icon in (
            ("zoom", "Zoom", "search"),
            ("cursor", "Cursor", "cross-hair"),
            ("colour", "Colour scale", "sliders"),
        ):
            button = _LinkButton(theme, title, icon)
            button.clicked.connect(lambda on, key=key: self.link_toggled.emit(key, on))
            self.links[key] = button
            row.addWidget(button)
        row.addStretch(1)
        self._hold = HoldKeys(theme)
        row.addWidget(self._hold)
        self.split.chosen.connect(self.split_requested)
        self.grid.chosen.connect(self._grid)

    def _grid(self, key: str) -> None:
        rows, _, columns = key.partition("x")
        self.grid_requested.emit(int(rows), int(columns))

    def set_props(self, props: CanvasProps) -> None:
        """Show the choices of the canvas."""
        count = len(props.panels)
        columns = props.columns or default_columns(count)
        rows = max(1, math.ceil(count / columns))
        self.split.set_options([(s.key, s.title) for s in props.splits], props.split)
        self.split.setVisible(bool(props.splits))
        self._split_label.setVisible(bool(props.splits))
        grids = [*props.grids] or [(rows, columns)]
        if (rows, columns) not in grids:
            grids.append((rows, columns))
        options = [(f"{r}x{c}", f"{r} \u00d7 {c}") for r, c in grids]
        self.grid.set_options(options, f"{rows}x{columns}")
        self.links["zoom"].setChecked(props.link_zoom)
        self.links["cursor"].setChecked(props.link_cursor)
        self.links["colour"].setChecked(props.link_colour)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit()

    def _fit(self) -> None:
        """Show the keys to hold in words, as keys alone, or not at all: whatever has room."""
        self._hold.hide()
        taken = self.layout().sizeHint().width() + self.layout().spacing()
        for compact in (False, True):
            self._hold.set_compact(compact)
            if taken + self._hold.sizeHint().width() <= self.width():
                self._hold.show()
                return

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.fillRect(self.rect(), self.theme.color("panel"))
        p.fillRect(0, self.height() - 1, self.width(), 1, self.theme.color("line"))
        p.end()


class _LinkButton(TextButton):
    def __init__(self, theme: Theme, text: str, icon: str) -> None:
        super().__init__(theme, text, icon=icon, kind="quiet", height=24)
        self.setCheckable(True)
