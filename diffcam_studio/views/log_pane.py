# ruff: noqa: D102 - Qt overrides keep the names and signatures of Qt
"""Everything that was said, in order: the log pane and the logging handler that feeds it."""

from __future__ import annotations

import logging
import time

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from diffcam_studio.theme import Theme, fixed_font
from diffcam_studio.views.controls import IconButton, Label, Segments, spread_theme
from diffcam_studio.views.painting import SEMIBOLD

KEPT_LINES = 5000
_EMPTY = {
    "all": "Nothing has been logged yet",
    "warnings": "No warnings",
    "errors": "No errors",
}
_LEVELS = {"all": logging.DEBUG, "warnings": logging.WARNING, "errors": logging.ERROR}


class LogBridge(QObject):
    """Carries log records of any thread to the GUI thread."""

    logged = Signal(int, str)


class QtLogHandler(logging.Handler):
    """Logging handler that emits one line per record; never raises into the caller."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.bridge = LogBridge()

    def emit(self, record: logging.LogRecord) -> None:
        """Turn a record into a line."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            formatter = self.formatter or logging.Formatter()
            text = f"{text}\n{formatter.formatException(record.exc_info)}"
        try:
            self.bridge.logged.emit(record.levelno, f"{clock}  {text}")
        except RuntimeError:
            # The window is gone while a thread still talks; there is nobody left to tell.
            self.setLevel(logging.CRITICAL + 1)


class LogPane(QWidget):
    """Lines of the log with a filter by level."""

    close_clicked = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("LogPane")
        self.theme = theme
        self._lines: list[tuple[int, str]] = []
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 4, 8, 8)
        column.setSpacing(4)
        head = QHBoxLayout()
        head.addWidget(Label(theme, "Log", pixels=12, weight=SEMIBOLD, token="text_1"))
        head.addStretch(1)
        self._filter = Segments(
            theme,
            "Show",
            [("all", "All"), ("warnings", "Warnings"), ("errors", "Errors")],
            "all",
        )
        self._filter.chosen.connect(self._fill)
        head.addWidget(self._filter)
        copy = IconButton(theme, "copy", "Copy the log")
        copy.clicked.connect(self._copy)
        head.addWidget(copy)
        close = IconButton(theme, "close", "Close the log", "Ctrl J")
        close.clicked.connect(self.close_clicked)
        head.addWidget(close)
        column.addLayout(head)
        self._text = QPlainTextEdit()
        self._text.setReadOnly(True)
        self._text.setMaximumBlockCount(KEPT_LINES)
        self._text.setFont(fixed_font(11))
        self._text.setAccessibleName("Log lines")
        column.addWidget(self._text)
        self._fill()

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        spread_theme(self, theme)

    def text(self) -> str:
        """Lines that pass the filter."""
        return self._text.toPlainText()

    def add(self, level: int, line: str) -> None:
        """Add a line."""
        self._lines.append((level, line))
        del self._lines[:-KEPT_LINES]
        if level >= _LEVELS[self._filter.current or "all"]:
            self._text.appendPlainText(line)

    def _fill(self) -> None:
        least = _LEVELS[self._filter.current or "all"]
        lines = [line for level, line in self._lines if level >= least]
        self._text.setPlainText("\n".join(lines))
        self._text.setPlaceholderText(_EMPTY[self._filter.current or "all"])

    def _copy(self) -> None:
        self._text.selectAll()
        self._text.copy()
        cursor = self._text.textCursor()
        cursor.clearSelection()
        self._text.setTextCursor(cursor)
