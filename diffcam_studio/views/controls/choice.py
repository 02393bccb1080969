# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""One of a few from a menu that opens below the button."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QPoint, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QAction,
    QIcon,
    QKeyEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPixmap,
    QWheelEvent,
)
from PySide6.QtWidgets import QMenu, QSizePolicy, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views import colormaps
from diffcam_studio.views.controls.buttons import PaintedButton
from diffcam_studio.views.painting import (
    draw_focus,
    draw_icon,
    draw_text,
    rounded,
    text_font,
    text_width,
)


class Choice(PaintedButton):
    """A choice from a few: shows the chosen one, opens a menu, Up and Down change it."""

    chosen = Signal(str)

    _own_focus = True

    def __init__(
        self,
        theme: Theme,
        name: str,
        options: Sequence[tuple[str, str]] = (),
        current: str = "",
        *,
        height: int = 28,
        swatches: bool = False,
        plain: bool = False,
        expand: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._name, self._swatches, self._plain, self._height = name, swatches, plain, height
        self._options: tuple[tuple[str, str], ...] = ()
        self._current = ""
        self._menu: QMenu | None = None
        self.setFixedHeight(height)
        horizontal = QSizePolicy.Policy.Expanding if expand else QSizePolicy.Policy.Fixed
        self.setSizePolicy(horizontal, QSizePolicy.Policy.Fixed)
        self.setToolTip(name)
        self.set_options(options, current)
        self.clicked.connect(self.open_menu)

    @property
    def current(self) -> str:
        """Key of the chosen option."""
        return self._current

    def set_options(self, options: Sequence[tuple[str, str]], current: str) -> None:
        """Offer (key, title) pairs; nothing is emitted."""
        if tuple(options) == self._options and current == self._current:
            return
        self._options = tuple(options)
        self._current = current
        self.setText(dict(self._options).get(current, current))
        self.setAccessibleName(f"{self._name}: {self.text()}")
        self.updateGeometry()
        self.update()

    def open_menu(self) -> None:
        """Open the list below the button."""
        self.build_menu().popup(self.mapToGlobal(QPoint(0, self.height() + 4)))

    def build_menu(self) -> QMenu:
        """Return the list of options; it belongs to the button, the one before is deleted."""
        if self._menu is not None:
            self._menu.deleteLater()
        menu = QMenu(self)
        menu.setAccessibleName(self._name)
        for key, title in self._options:
            action = QAction(title, menu)
            action.setCheckable(True)
            action.setChecked(key == self._current)
            if self._swatches:
                action.setIcon(swatch_icon(key))
                action.setCheckable(False)
            action.triggered.connect(lambda _=False, key=key: self._choose(key))
            menu.addAction(action)
        self._menu = menu
        menu.setMinimumWidth(self.width())
        return menu

    def _choose(self, key: str) -> None:
        if key != self._current:
            self.set_options(self._options, key)
            self.chosen.emit(key)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        moves = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}
        move = moves.get(Qt.Key(event.key()))
        keys = [key for key, _ in self._options]
        if move is None or self._current not in keys:
            super().keyPressEvent(event)
            return
        if event.modifiers() & Qt.KeyboardModifier.AltModifier:
            self.open_menu()
            return
        at = keys.index(self._current) + move
        if 0 <= at < len(keys):
            self._choose(keys[at])

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # scrolling the dock must not change a setting

    def sizeHint(self) -> QSize:
        if self._plain:
            return QSize(round(text_width(self.text(), text_font(11))) + 16, self._height)
        font = text_font(12)
        if self._height <= 24:
            return QSize(math.ceil(text_width(self.text(), font)) + 33, self._height)
        widest = max((text_width(title, font) for _, title in self._options), default=40.0)
        return QSize(round(widest) + 32 + (72 if self._swatches else 0), self._height)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        enabled = self.isEnabled()
        ink = "text_1" if enabled else "text_disabled"
        width, height = self.width(), self.height()
        if self._plain:
            ink = "text_disabled" if not enabled else "text_1" if self.underMouse() else "text_3"
            box = QRectF(0, 0, width - 16, height)
            draw_text(
                p,
                box,
                self.text(),
                text_font(11),
                t.color(ink),
                Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
            )
            draw_icon(p, t, "chevron-down", "text_3", width - 13, (height - 12) / 2, 12)
            if self.keyboard_focus:
                draw_focus(p, QRectF(self.rect()), t, 4)
            p.end()
            return
        edge = "line" if not enabled else "strong" if self.underMouse() else "border"
        rounded(p, QRectF(self.rect()), 6, self._fill("raised"), t.color(edge))
        x = 9.0
        if self._swatches and self._current in colormaps.COLORMAPS:
            strip = QRectF(7, (height - 14) / 2, 64, 14)
            p.save()
            p.setRenderHint(QPainter.RenderHint.Antialiasing)
            clip = QPainterPath()
            clip.addRoundedRect(strip, 3, 3)
            p.setClipPath(clip)
            p.drawImage(strip, colormaps.ramp(self._current, 64))
            p.restore()
            x = 79.0
        box = QRectF(x, 0, width - x - 22, height)
        draw_text(p, box, self.text(), text_font(12), t.color(ink), elide=True)
        draw_icon(p, t, "chevron-down", "text_3", width - 20, (height - 12) / 2, 12)
        if self.keyboard_focus:
            draw_focus(p, QRectF(self.rect()), t, 6)
        p.end()


def swatch_icon(name: str) -> QIcon:
    """Return a colour map as a menu icon."""
    image = colormaps.ramp(name, 48).scaled(48, 14)
    return QIcon(QPixmap.fromImage(image))
