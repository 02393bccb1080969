# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""Command palette: type a few letters, Enter runs the action; F1 lists the keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QRectF, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QWheelEvent
from PySide6.QtWidgets import QFrame, QLineEdit, QScrollArea, QVBoxLayout, QWidget
from rapidfuzz import fuzz, process, utils

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import BorrowedFocus, Label, ThemedWidget, spread_theme
from diffcam_studio.views.painting import (
    REGULAR,
    SEMIBOLD,
    draw_icon,
    draw_text,
    rounded,
    text_font,
    text_width,
)

WIDTH, ROW, MOST_ROWS = 560, 28, 12
_LOWEST_SCORE = 55


@dataclass(frozen=True)
class Command:
    """One line of the palette; ``reason`` says why it cannot run now."""

    id: str
    title: str
    key: str = ""
    icon: str = ""
    menu: str = ""
    reason: str = ""


def rank(commands: Sequence[Command], text: str) -> list[Command]:
    """Commands that fit the typed text, best first; possible ones before impossible ones."""
    if not text.strip():
        return sorted(commands, key=lambda c: bool(c.reason))
    titles = [f"{c.title} {c.menu}" for c in commands]
    found = process.extract(
        text,
        titles,
        scorer=fuzz.WRatio,
        processor=utils.default_process,
        score_cutoff=_LOWEST_SCORE,
        limit=40,
    )
    words = text.lower().split()

    def order(hit: tuple[str, float, int]) -> tuple[bool, int, float, int]:
        title = commands[hit[2]].title.lower()
        # A title in which the typed words begin words is what was meant.
        starts = sum(any(part.startswith(w) for part in title.split()) for w in words)
        return bool(commands[hit[2]].reason), -starts, -hit[1], hit[2]

    return [commands[hit[2]] for hit in sorted(found, key=order)]


class Palette(QFrame):
    """560 wide, 96 px from the top of the window, over everything."""

    chosen = Signal(str)

    def __init__(self, theme: Theme, window: QWidget) -> None:
        super().__init__(window)
        self.theme = theme
        self.setObjectName("Palette")
        self.setAccessibleName("Search commands")
        self._focus = BorrowedFocus(self)
        self._commands: tuple[Command, ...] = ()
        self._found: list[Command] = []
        self._index = 0
        self._top = 0
        self._field = QLineEdit(self)
        self._field.setObjectName("PaletteField")
        self._field.setPlaceholderText("Search commands")
        self._field.setFrame(False)
        self._field.setAccessibleName("Search commands")
        self._field.textChanged.connect(self._search)
        self._field.installEventFilter(self)
        self.set_theme(theme)
        self.hide()

    @property
    def field(self) -> QLineEdit:
        """Where the words are typed."""
        return self._field

    @property
    def found(self) -> tuple[Command, ...]:
        """What is listed now, best first."""
        return tuple(self._found)

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        self._field.setStyleSheet(
            "QLineEdit, QLineEdit:focus { background: transparent; border: none; padding: 0; "
            "font-size: 13px; min-height: 28px; }"
        )
        self.update()

    def open(self, commands: Sequence[Command]) -> None:
        """Show the palette with these commands."""
        self._commands = tuple(commands)
        self._field.clear()
        self._search("")
        self.raise_()
        self.show()
        self._focus.take(self._field)

    def close_palette(self) -> None:
        """Hide and give the focus back to who had it."""
        self.hide()
        self._focus.give_back()

    def _search(self, text: str) -> None:
        self._found = rank(self._commands, text)
        self._index = self._top = 0
        rows = min(MOST_ROWS, max(1, len(self._found)))
        width = min(WIDTH, self.parentWidget().width() - 48)
        x = (self.parentWidget().width() - width) // 2
        self.setGeometry(x, 96, width, 44 + rows * ROW + 8)
        self._field.setGeometry(40, 8, width - 56, 28)
        self.update()

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FocusOut and self.isVisible():
            self.hide()
            return False
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
            return False
        key = event.key()
        moves = {
            Qt.Key.Key_Down: 1,
            Qt.Key.Key_Up: -1,
            Qt.Key.Key_PageDown: MOST_ROWS,
            Qt.Key.Key_PageUp: -MOST_ROWS,
        }
        if key in moves:
            self._move(moves[Qt.Key(key)])
            return True
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._choose()
            return True
        if key == Qt.Key.Key_Escape:
            self.close_palette()
            return True
        return False

    def _move(self, change: int) -> None:
        if self._found:
            self._index = max(0, min(self._index + change, len(self._found) - 1))
            self._top = min(max(self._top, self._index - MOST_ROWS + 1), self._index)
            self.update()

    def _choose(self) -> None:
        if self._found and not self._found[self._index].reason:
            command = self._found[self._index]
            self.close_palette()
            self.chosen.emit(command.id)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        row = int((event.position().y() - 44) // ROW) + self._top
        if event.position().y() >= 44 and 0 <= row < len(self._found):
            self._index = row
            self._choose()

    def wheelEvent(self, event: QWheelEvent) -> None:
        self._move(-1 if event.angleDelta().y() > 0 else 1)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        rounded(p, QRectF(self.rect()), 8, t.color("overlay"), t.color("border"))
        draw_icon(p, t, "search", "text_3", 14, 14)
        p.fillRect(1, 40, self.width() - 2, 1, t.color("border"))
        if not self._found:
            box = QRectF(14, 44, self.width(), ROW)
            draw_text(p, box, "No command fits", text_font(13), t.color("text_3"))
        for row, command in enumerate(self._found[self._top : self._top + MOST_ROWS]):
            self._paint_row(p, QRectF(5, 44 + row * ROW, self.width() - 10, ROW), command, row)
        p.end()

    def _paint_row(self, p: QPainter, box: QRectF, command: Command, row: int) -> None:
        t = self.theme
        if row + self._top == self._index:
            rounded(p, box, 4, t.color("selected"), None)
        ink = "text_disabled" if command.reason else "text_1"
        if command.icon:
            draw_icon(p, t, command.icon, ink if command.reason else "text_2", 14, box.y() + 6)
        x = box.x() + 34
        # Letters that were typed are heavier, word by word.
        words = self._field.text().lower().split()
        for part in command.title.split(" "):
            hit = next((w for w in words if part.lower().startswith(w)), "")
            for piece, weight in ((part[: len(hit)], SEMIBOLD), (part[len(hit) :], REGULAR)):
                font = text_font(13, weight)
                width = text_width(piece, font)
                draw_text(p, QRectF(x, box.y(), width + 2, ROW), piece, font, t.color(ink))
                x += width
            x += text_width(" ", text_font(13))
        align = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        note = command.reason or command.key
        draw_text(p, box.adjusted(0, 0, -8, 0), note, text_font(11), t.color("text_3"), align)


class KeyList(QScrollArea):
    """Every action with its key, by menu; read from the same table."""

    def __init__(self, theme: Theme, commands: Sequence[Command]) -> None:
        super().__init__()
        self.setWindowTitle("Keyboard")
        self.setObjectName("KeyList")
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.resize(520, 640)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(16, 12, 16, 16)
        column.setSpacing(0)
        menu = ""
        for command in commands:
            if not command.key:
                continue
            if command.menu != menu:
                menu = command.menu
                column.addSpacing(8)
                column.addWidget(Label(theme, menu, pixels=12, weight=SEMIBOLD, token="text_1"))
            column.addWidget(_KeyRow(theme, command))
        column.addStretch(1)
        self.setWidget(page)

    def set_theme(self, theme: Theme) -> None:
        spread_theme(self.widget(), theme)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.close()
        else:
            super().keyPressEvent(event)


class _KeyRow(ThemedWidget):
    def __init__(self, theme: Theme, command: Command) -> None:
        super().__init__(theme)
        self._command = command
        self.setFixedHeight(ROW)
        self.setAccessibleName(f"{command.title}: {command.key}")

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        box = QRectF(self.rect())
        draw_text(p, box, self._command.title, text_font(13), t.color("text_2"))
        width = text_width(self._command.key, text_font(11)) + 12
        cap = QRectF(box.width() - width, 5, width, 18)
        rounded(p, cap, 4, None, t.color("border"))
        middle = Qt.AlignmentFlag.AlignCenter
        draw_text(p, cap, self._command.key, text_font(11), t.color("text_2"), middle)
        p.end()
