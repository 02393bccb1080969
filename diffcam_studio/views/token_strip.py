# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The token strip: the answer as chips, shaded by confidence, at the step of the cursor."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleEvent,
    QFocusEvent,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from diffcam_studio.plain_text import tooltip
from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import ThemedWidget, came_by_keyboard
from diffcam_studio.views.painting import (
    SEMIBOLD,
    chip_font,
    chip_text,
    draw_text,
    number,
    paint_chip,
    text_font,
    text_width,
)
from diffcam_studio.views.props import Chip, TokenStripProps

LEAD = 120  # 16 of padding and a column of 104
CHIP = 28
GAP = 6
ROW = CHIP + GAP
TOP = 11
PAD = 11  # 10 and the edge
MIN_CHIP = 25
ROWS_SHOWN = 2
_OWN_KEYS = (
    Qt.Key.Key_Left,
    Qt.Key.Key_Right,
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
    Qt.Key.Key_Return,
    Qt.Key.Key_Enter,
    Qt.Key.Key_Space,
)


class TokenStrip(ThemedWidget):
    """Chips of the answer, wrapped into rows; two rows are in sight, then it scrolls by rows.

    A click does not take the focus, so that Left and Right go on to move along the
    timeline; after Tab they move from chip to chip.
    """

    token_clicked = Signal(int, object)  # position, Qt.KeyboardModifier
    token_hovered = Signal(int)  # position, -1 for none
    end_run_clicked = Signal(int)  # first position of the run

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setObjectName("TokenStrip")
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(TOP + ROWS_SHOWN * ROW + 5)
        self.setAccessibleName("Answer")
        self._props = TokenStripProps()
        self._boxes: list[QRect] = []
        self._rows = 0
        self._scroll = 0
        self._hover = -1
        self._current = 0
        self._keyboard = False
        self._widths: dict[tuple[str, bool, bool], int] = {}

    @property
    def props(self) -> TokenStripProps:
        """What is shown."""
        return self._props

    def set_props(self, props: TokenStripProps) -> None:
        """Show the answer at another step; only chips that changed are painted again."""
        old, self._props = self._props, props
        boxes = list(self._boxes)
        self._lay_out()
        if boxes == self._boxes and len(old.chips) == len(props.chips):
            for i, (a, b) in enumerate(zip(old.chips, props.chips, strict=True)):
                if a != b:
                    self.update(self.chip_rect(i).adjusted(-4, -4, 4, 4))
            self.update(0, 0, LEAD, self.height())
        else:
            self.update()
        self._current = min(self._current, max(0, len(props.chips) - 1))
        self._tell()

    def set_theme(self, theme: Theme) -> None:
        super().set_theme(theme)
        self._widths.clear()

    @property
    def current(self) -> int:
        """Index of the chip that has the keyboard."""
        return self._current

    def describe(self, chip: Chip) -> str:
        """Return a chip in words, for tooltips and screen readers."""
        if chip.state == "end":
            return f"{chip.count} end mark{'s' if chip.count != 1 else ''}"
        word = chip.text.strip() or "line break"
        parts = {
            "masked": [f"position {chip.position}", "masked"],
            "guess": [f"{word}", f"position {chip.position}", "masked, guess"],
            "masked_again": [word, f"position {chip.position}", "masked again"],
            "written": [word, f"position {chip.position}"],
        }[chip.state]
        if chip.state == "written" and chip.commit_step is not None:
            parts.append(f"written at step {chip.commit_step}")
        if chip.state in ("written", "guess"):
            parts.append(f"confidence {number(chip.confidence, 2)}")
        if chip.runner_up:
            parts.append(f"runner-up {chip.runner_up.strip()}")
        if chip.now:
            parts.append("written now")
        if chip.same:
            parts.append("same word as the selected one")
        if chip.selected:
            parts.append("selected")
        return ", ".join(parts)

    def _tell(self) -> None:
        chips = self._props.chips
        if chips:
            self.setAccessibleDescription(self.describe(chips[self._current]))
            event = QAccessibleEvent(self, QAccessible.Event.DescriptionChanged)
            QAccessible.updateAccessibility(event)

    # Layout

    def _lay_out(self) -> None:
        self._boxes = []
        x, row = LEAD, 0
        limit = self.width() - 12
        for chip in self._props.chips:
            width = self._chip_width(chip)
            if x > LEAD and x + width > limit:
                x, row = LEAD, row + 1
            self._boxes.append(QRect(x, row, min(width, max(MIN_CHIP, limit - LEAD)), CHIP))
            x += width + GAP
        self._rows = row + 1 if self._boxes else 0
        self._scroll = min(self._scroll, max(0, self._rows - ROWS_SHOWN))

    def _chip_width(self, chip: Chip) -> int:
        # Widths are of the widest state, so that no chip moves when a word is chosen.
        text = chip_text(chip)
        key = (text, chip.state == "guess", chip.state == "masked_again")
        if key not in self._widths:
            strong = Chip(chip.position, chip.text, chip.state, now=True, count=chip.count)
            wide = max(text_width(text, chip_font(chip)), text_width(text, chip_font(strong)))
            self._widths[key] = max(MIN_CHIP, round(wide) + 2 * PAD)
        return self._widths[key]

    def chip_rect(self, index: int) -> QRect:
        """Return where a chip lies (it may be scrolled out of sight)."""
        box = self._boxes[index]
        return QRect(box.x(), TOP + (box.y() - self._scroll) * ROW, box.width(), CHIP)

    def chip_at(self, at: QPointF) -> int:
        """Return the index of the chip under a point, or -1."""
        for i in range(len(self._boxes)):
            if self.chip_rect(i).contains(at.toPoint()) and self._in_sight(i):
                return i
        return -1

    def _in_sight(self, index: int) -> bool:
        return 0 <= self._boxes[index].y() - self._scroll < ROWS_SHOWN

    @property
    def rows(self) -> int:
        """How many rows the chips need."""
        return self._rows

    @property
    def scroll_row(self) -> int:
        """First row in sight."""
        return self._scroll

    def scroll_to(self, row: int) -> None:
        """Scroll so that ``row`` is the first in sight."""
        row = min(max(0, self._rows - ROWS_SHOWN), max(0, row))
        if row != self._scroll:
            self._scroll = row
            self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._lay_out()

    def sizeHint(self) -> QSize:
        return QSize(872, self.height())

    # Painting

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        props = self._props
        p.fillRect(event.rect(), t.color("panel"))
        p.fillRect(0, 0, self.width(), 1, t.color("line"))
        bold, small = text_font(12, SEMIBOLD), text_font(11)
        draw_text(p, QRectF(16, 11, LEAD - 20, 16), props.title, bold, t.color("text_1"))
        if props.total:
            text = f"{props.written} of {props.total} tokens"
            draw_text(p, QRectF(16, 29, LEAD - 20, 16), text, small, t.color("text_3"))
        if props.step is not None:
            text = f"at step {props.step}"
            draw_text(p, QRectF(16, 45, LEAD - 20, 16), text, small, t.color("text_3"))
        if not props.chips:
            box = QRectF(LEAD, TOP, self.width() - LEAD - 12, CHIP)
            draw_text(p, box, "No answer yet", text_font(12), t.color("text_3"))
        p.setClipRect(LEAD - 4, 1, self.width(), self.height())
        for i, chip in enumerate(props.chips):
            if not self._in_sight(i):
                continue
            rect = self.chip_rect(i)
            if rect.intersects(event.rect()):
                paint_chip(p, QRectF(rect), chip, t, hover=i == self._hover)
        if self.hasFocus() and self._keyboard and props.chips and self._in_sight(self._current):
            box = QRectF(self.chip_rect(self._current)).adjusted(-3, -3, 3, 3)
            p.setRenderHint(QPainter.RenderHint.Antialiasing)
            p.setPen(QPen(t.color("accent_line"), 2))
            p.setBrush(Qt.BrushStyle.NoBrush)
            p.drawRoundedRect(box, 9, 9)
        self._paint_scroll(p)
        p.end()

    def _paint_scroll(self, p: QPainter) -> None:
        if self._rows <= ROWS_SHOWN:
            return
        track = ROWS_SHOWN * ROW - GAP
        height = max(12, round(track * ROWS_SHOWN / self._rows))
        y = TOP + round((track - height) * self._scroll / (self._rows - ROWS_SHOWN))
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        p.setPen(Qt.PenStyle.NoPen)
        p.setBrush(self.theme.color("border"))
        p.drawRoundedRect(QRectF(self.width() - 8, y, 4, height), 2, 2)

    # Mouse and keys

    def _click(self, index: int, modifiers: Qt.KeyboardModifier) -> None:
        chip = self._props.chips[index]
        if chip.state == "end" and chip.count > 1:
            self.end_run_clicked.emit(chip.position)
        else:
            self.token_clicked.emit(chip.position, modifiers)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        index = self.chip_at(event.position())
        if index < 0 or event.button() != Qt.MouseButton.LeftButton:
            event.ignore()
            return
        self._current = index
        self._tell()
        self._click(index, event.modifiers())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._set_hover(self.chip_at(event.position()))

    def leaveEvent(self, event: QEvent) -> None:
        self._set_hover(-1)

    def _set_hover(self, index: int) -> None:
        if index == self._hover:
            return
        for i in (self._hover, index):
            if 0 <= i < len(self._boxes):
                self.update(self.chip_rect(i))
        self._hover = index
        self.token_hovered.emit(self._props.chips[index].position if index >= 0 else -1)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self._rows <= ROWS_SHOWN:
            event.ignore()
            return
        self.scroll_to(self._scroll - (1 if event.angleDelta().y() > 0 else -1))
        event.accept()

    def event(self, event: QEvent) -> bool:
        kind = event.type()
        if kind == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            # With the keyboard here, arrows move between chips and not along the timeline.
            if event.key() in _OWN_KEYS and self._keyboard:
                event.accept()
                return True
        elif kind == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            index = self.chip_at(QPointF(event.pos()))
            if index >= 0:
                text = self.describe(self._props.chips[index])
                QToolTip.showText(event.globalPos(), tooltip(text), self, self.chip_rect(index))
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        count = len(self._props.chips)
        if not count or event.key() not in _OWN_KEYS:
            super().keyPressEvent(event)
            return
        key = event.key()
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._click(self._current, event.modifiers())
            return
        at = self._current
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            at += -1 if key == Qt.Key.Key_Left else 1
        elif key in (Qt.Key.Key_Home, Qt.Key.Key_End):
            at = 0 if key == Qt.Key.Key_Home else count - 1
        else:
            at = self._above_or_below(-1 if key == Qt.Key.Key_Up else 1)
        self._move_to(min(count - 1, max(0, at)))

    def _above_or_below(self, way: int) -> int:
        here = self._boxes[self._current]
        row = here.y() + way
        candidates = [i for i, box in enumerate(self._boxes) if box.y() == row]
        if not candidates:
            return self._current
        return min(candidates, key=lambda i: abs(self._boxes[i].center().x() - here.center().x()))

    def _move_to(self, index: int) -> None:
        self._current = index
        row = self._boxes[index].y()
        if row < self._scroll:
            self.scroll_to(row)
        elif row >= self._scroll + ROWS_SHOWN:
            self.scroll_to(row - ROWS_SHOWN + 1)
        self._tell()
        self.update()

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._keyboard = came_by_keyboard(event, self._keyboard)
        selected = [i for i, chip in enumerate(self._props.chips) if chip.selected]
        if selected and self._keyboard:
            self._move_to(selected[0])
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()
