# ruff: noqa: ARG002 - Qt overrides keep the names and signatures of Qt
"""The list of open runs, by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPixmap
from PySide6.QtWidgets import QWidget

from diffcam_studio.plain_text import tooltip
from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import IconButton, Section, paint_ring
from diffcam_studio.views.painting import (
    MEDIUM,
    draw_focus,
    draw_icon,
    draw_text,
    text_font,
    text_width,
)
from diffcam_studio.views.pictures import draw_picture, to_pixmap


@dataclass(frozen=True, eq=False)
class SessionRow:
    """A run in the session list; runs of one image stand under one heading."""

    key: str
    group: str
    title: str
    meta: str = ""
    icon: str = "check-circle"
    share: float | None = None
    picture: npt.NDArray[np.uint8] | None = None
    selected: bool = False


class SessionList(Section):
    """The runs that are open, by image."""

    chosen = Signal(str)
    add_clicked = Signal()
    search_clicked = Signal()
    close_clicked = Signal(str)

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, "Session", margins=(0, 0, 0, 4), spacing=0)
        search = IconButton(theme, "search", "Search runs")
        search.clicked.connect(self.search_clicked)
        add = IconButton(theme, "plus", "Open a run or an image", "Ctrl O")
        add.clicked.connect(self.add_clicked)
        self.header.add_action(search, flush=False)
        self.header.add_action(add, flush=False)
        self._rows: list[_SessionRowWidget] = []
        self._pictures: dict[int, tuple[npt.NDArray[np.uint8], QPixmap]] = {}
        self._closed: set[str] = set()
        self._shown: tuple[SessionRow, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the runs in the list."""
        return tuple(row.key for row in self._shown)

    def show_rows(self, rows: Sequence[SessionRow]) -> None:
        """List other runs."""
        self._shown = tuple(rows)
        self._rebuild()

    def _rebuild(self) -> None:
        for widget in self._rows:
            self.rows.removeWidget(widget)
            widget.hide()
            widget.deleteLater()
        self._rows = []
        shown = {id(row.picture) for row in self._shown}
        self._pictures = {key: kept for key, kept in self._pictures.items() if key in shown}
        groups: dict[str, list[SessionRow]] = {}
        for row in self._shown:
            groups.setdefault(row.group, []).append(row)
        for name, members in groups.items():
            open_ = name not in self._closed
            count = len(members)
            meta = "" if open_ else (f"{count} run" if count == 1 else f"{count} runs")
            head = _SessionRowWidget(self.theme, name, meta, head=True, open_=open_)
            picture = next((m.picture for m in members if m.picture is not None), None)
            if picture is not None:
                head.picture = self._pixmap(picture)
            head.clicked.connect(lambda n=name: self._fold(n))
            self._add(head)
            if not open_:
                continue
            for member in members:
                line = _SessionRowWidget(self.theme, member.title, member.meta, row=member)
                line.clicked.connect(lambda k=member.key: self.chosen.emit(k))
                line.removed.connect(lambda k=member.key: self.close_clicked.emit(k))
                self._add(line)

    def _pixmap(self, picture: npt.NDArray[np.uint8]) -> QPixmap:
        # The array is kept beside its pixmap: the id of one that is gone may be another's.
        if id(picture) not in self._pictures:
            self._pictures[id(picture)] = (picture, to_pixmap(picture, 28, 20))
        return self._pictures[id(picture)][1]

    def _add(self, widget: _SessionRowWidget) -> None:
        self._rows.append(widget)
        self.rows.addWidget(widget)

    def _fold(self, name: str) -> None:
        self._closed ^= {name}
        self._rebuild()


class _SessionRowWidget(QWidget):
    clicked = Signal()
    removed = Signal()

    def __init__(
        self,
        theme: Theme,
        title: str,
        meta: str,
        *,
        head: bool = False,
        open_: bool = True,
        row: SessionRow | None = None,
    ) -> None:
        super().__init__()
        self.theme = theme
        self._title, self._meta, self._head, self._open, self._row = title, meta, head, open_, row
        self.picture: QPixmap | None = None
        self.setFixedHeight(28)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(f"{title}, {meta}" if meta else title)
        self.setToolTip(tooltip(title))

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.clicked.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.clicked.emit()
        elif event.key() == Qt.Key.Key_Delete and not self._head:
            self.removed.emit()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        selected = self._row is not None and self._row.selected
        if selected:
            p.fillRect(self.rect(), t.color("selected"))
            p.fillRect(0, 0, 2, self.height(), t.color("accent_line"))
        elif self.underMouse():
            p.fillRect(self.rect(), t.color("hover"))
        if self._head:
            draw_icon(p, t, "chevron-down" if self._open else "chevron-right", "text_3", 8, 6)
            draw_picture(p, QRectF(28, 4, 28, 20), self.picture, t)
            x = 64.0
        else:
            row = self._row
            if row is not None and row.share is not None:
                paint_ring(p, QRectF(36, 6, 16, 16), row.share, t)
            elif row is not None and row.icon:
                token = {"check-circle": "valid", "warning": "warning", "error": "failed"}
                draw_icon(p, t, row.icon, token.get(row.icon, "text_3"), 36, 6)
            x = 60.0
        meta_width = text_width(self._meta, text_font(11)) if self._meta else 0
        right = self.width() - 12
        if self._meta:
            draw_text(
                p,
                QRectF(right - meta_width, 0, meta_width + 1, 28),
                self._meta,
                text_font(11),
                t.color("text_3"),
            )
        weight = MEDIUM if self._head else text_font(13).weight()
        draw_text(
            p,
            QRectF(x, 0, max(0.0, right - meta_width - 8 - x), 28),
            self._title,
            text_font(13, weight),
            t.color("text_1"),
            elide=True,
        )
        if self.hasFocus():
            draw_focus(p, QRectF(self.rect()), t, 3)
        p.end()
