# ruff: noqa: D102 - Qt overrides keep the names and signatures of Qt
"""The job: time left, share, position, figures, cancel; the queue; what happened so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import (
    IconButton,
    Label,
    ProgressBar,
    Section,
    TextButton,
    ThemedWidget,
)
from diffcam_studio.views.painting import SEMIBOLD, code_font, draw_icon, draw_text, text_font
from diffcam_studio.views.pictures import draw_picture, to_pixmap

SHOWN_EVENTS = 8
ESTIMATING = "Estimating"


@dataclass(frozen=True)
class JobProps:
    """The running job. Times are seconds; ``left`` None until it can be told."""

    title: str = ""
    place: str = ""
    left: float | None = None
    share: float = 0.0
    position: str = ""
    elapsed: float = 0.0
    rows: tuple[tuple[str, str], ...] = ()
    promise: str = ""
    cancelling: bool = False


@dataclass(frozen=True, eq=False)
class QueueRow:
    """A job that waits."""

    job: str
    title: str
    time: str = ""
    picture: npt.NDArray[np.uint8] | None = None


def clock(seconds: float) -> str:
    """Write a time as minutes and seconds: "0:42"."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"


class JobPanel(QWidget):
    """Takes the place of the right dock's sections while a job runs."""

    cancel = Signal()
    remove = Signal(str)
    add = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self.setObjectName("DockBody")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self.job = Section(theme, "Job", margins=(12, 0, 12, 12), spacing=0)
        first = QHBoxLayout()
        first.setSpacing(8)
        self._left = Label(theme, ESTIMATING, pixels=24, weight=SEMIBOLD, token="text_1")
        self._left_word = Label(theme, "left", pixels=13, token="text_2")
        self._share = Label(theme, "0\u00a0%", pixels=13, token="text_2")
        first.addWidget(self._left, 0, Qt.AlignmentFlag.AlignBottom)
        first.addWidget(self._left_word, 0, Qt.AlignmentFlag.AlignBottom)
        first.addStretch(1)
        first.addWidget(self._share, 0, Qt.AlignmentFlag.AlignBottom)
        self.job.rows.addLayout(first)
        self.job.rows.addSpacing(8)
        self._bar = ProgressBar(theme, height=6)
        self.job.rows.addWidget(self._bar)
        self.job.rows.addSpacing(8)
        second = QHBoxLayout()
        self._position = Label(theme, "", pixels=12, token="text_2", elide=True)
        self._elapsed = Label(theme, "", pixels=12, token="text_3")
        second.addWidget(self._position, 1)
        second.addWidget(self._elapsed)
        self.job.rows.addLayout(second)
        self.job.rows.addSpacing(4)
        self._figures = _KeyValues(theme)
        self.job.rows.addWidget(self._figures)
        self.job.rows.addSpacing(8)
        self.cancel_button = TextButton(theme, "Cancel job", icon="stop", kind="danger")
        self.cancel_button.setObjectName("CancelJob")
        self.cancel_button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.cancel_button.setToolTip("Cancel job (Ctrl .)")
        self.cancel_button.clicked.connect(self.cancel)
        self.job.rows.addWidget(self.cancel_button)
        self.job.rows.addSpacing(8)
        self._promise = Label(theme, "", pixels=11, token="text_3", elide=True)
        self.job.rows.addWidget(self._promise)
        column.addWidget(self.job)
        self.queue = Section(theme, "Queue", margins=(0, 0, 0, 4), spacing=0)
        plus = IconButton(theme, "plus", "Add a run", "Ctrl R")
        plus.clicked.connect(self.add)
        self.queue.header.add_action(plus, flush=False)
        column.addWidget(self.queue)
        self.events = Section(theme, "Events", margins=(12, 2, 12, 10), spacing=0)
        self._events = _EventLines(theme)
        self.events.rows.addWidget(self._events)
        column.addWidget(self.events)
        column.addStretch(1)
        self._queue_rows: list[_QueueRowWidget] = []

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        for section in (self.job, self.queue, self.events):
            section.set_theme(theme)

    def show_job(self, props: JobProps) -> None:
        """Show where the job is."""
        self.job.header.set_title("Job", props.place)
        self._left.set_text(ESTIMATING if props.left is None else clock(props.left))
        self._left_word.setVisible(props.left is not None)
        self._share.set_text(f"{round(props.share * 100)}\u00a0%")
        self._bar.set_share(props.share)
        self._position.set_text(props.position)
        self._elapsed.set_text(f"{clock(props.elapsed)} so far")
        self._figures.show_rows(props.rows)
        self.cancel_button.setEnabled(not props.cancelling)
        self.cancel_button.set_text("Cancelling" if props.cancelling else "Cancel job", "stop")
        self._promise.set_text(props.promise)

    def show_queue(self, rows: Sequence[QueueRow]) -> None:
        """List the jobs that wait."""
        self.queue.header.set_title("Queue", f"{len(rows)} waiting" if rows else "empty")
        for old in self._queue_rows:
            self.queue.rows.removeWidget(old)
            old.hide()
            old.deleteLater()
        self._queue_rows = []
        for row in rows:
            widget = _QueueRowWidget(self.theme, row)
            widget.removed.connect(lambda job=row.job: self.remove.emit(job))
            self.queue.rows.addWidget(widget)
            self._queue_rows.append(widget)

    def show_events(self, lines: Sequence[tuple[str, str]]) -> None:
        """Show the newest events, (clock time, text)."""
        self._events.show_lines(tuple(lines[-SHOWN_EVENTS:]))


class _KeyValues(ThemedWidget):
    def __init__(self, theme: Theme) -> None:
        super().__init__(theme)
        self._rows: tuple[tuple[str, str], ...] = ()

    def show_rows(self, rows: tuple[tuple[str, str], ...]) -> None:
        if rows != self._rows:
            self._rows = rows
            self.setFixedHeight(24 * len(rows))
            self.setAccessibleName(", ".join(f"{k}: {v}" for k, v in rows))
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        p = QPainter(self)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for index, (name, value) in enumerate(self._rows):
            box = QRectF(0, index * 24, self.width(), 24)
            draw_text(p, box, name, text_font(12), self.theme.color("text_2"))
            draw_text(p, box, value, text_font(12), self.theme.color("text_1"), right)
        p.end()


class _EventLines(ThemedWidget):
    def __init__(self, theme: Theme) -> None:
        super().__init__(theme)
        self._lines: tuple[tuple[str, str], ...] = ()

    def show_lines(self, lines: tuple[tuple[str, str], ...]) -> None:
        if lines != self._lines:
            self._lines = lines
            self.setFixedHeight(max(20, 20 * len(lines)))
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        p = QPainter(self)
        for index, (time, text) in enumerate(self._lines):
            y = index * 20
            draw_text(p, QRectF(0, y, 64, 20), time, code_font(11), self.theme.color("text_3"))
            token = "text_1" if index == len(self._lines) - 1 else "text_2"
            box = QRectF(64, y, self.width() - 64, 20)
            draw_text(p, box, text, text_font(11), self.theme.color(token), elide=True)
        p.end()


class _QueueRowWidget(ThemedWidget):
    removed = Signal()

    def __init__(self, theme: Theme, row: QueueRow) -> None:
        super().__init__(theme)
        self._row = row
        self._picture = to_pixmap(row.picture, 28, 20) if row.picture is not None else None
        self.setFixedHeight(32)
        line = QHBoxLayout(self)
        line.setContentsMargins(12, 0, 8, 0)
        line.addStretch(1)
        line.addWidget(Label(theme, row.time, pixels=11, token="text_3"))
        cross = IconButton(theme, "close", f"Take {row.title} out of the queue")
        cross.clicked.connect(self.removed)
        line.addWidget(cross)

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        p = QPainter(self)
        draw_icon(p, self.theme, "clock", "text_3", 8, 8)
        draw_picture(p, QRectF(32, 6, 28, 20), self._picture, self.theme)
        box = QRectF(68, 0, self.width() - 150, 32)
        draw_text(p, box, self._row.title, text_font(13), self.theme.color("text_1"), elide=True)
        p.end()
