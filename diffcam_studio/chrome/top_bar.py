# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The top bar: mark, menus, modes, search and Run."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QFrame,
    QHBoxLayout,
    QMenu,
    QMenuBar,
    QSizePolicy,
    QWidget,
)

from diffcam_studio.actions import MENUS, SUBMENUS, Registry
from diffcam_studio.state.view_state import MODES
from diffcam_studio.theme import Theme, mark_pixmap
from diffcam_studio.views.controls import Segments, ThemedWidget, spread_theme
from diffcam_studio.views.painting import (
    MEDIUM,
    draw_focus,
    draw_icon,
    draw_text,
    rounded,
    text_font,
    text_width,
)

_MODE_TITLES = {
    "single": "Single",
    "tile": "Tile",
    "wipe": "Wipe",
    "blink": "Blink",
    "difference": "Difference",
}


SEARCH_WIDTH = 216
MODES_WIDTH, ICONS_WIDTH = 458, 192
MARGIN, GAP = 12, 8


class _Mark(ThemedWidget):
    def __init__(self, theme: Theme, size: int) -> None:
        super().__init__(theme)
        self._size = size
        self.setFixedSize(size, size)
        self.setAccessibleName("Diffusion-CAM Studio")

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.drawPixmap(0, 0, mark_pixmap(self.theme, self._size, self.devicePixelRatioF()))
        p.end()


class SearchField(QWidget):
    """Looks like a field, opens the palette."""

    clicked = Signal()

    def __init__(self, theme: Theme, key: str) -> None:
        super().__init__()
        self.theme = theme
        self._key = key
        self.setFixedSize(SEARCH_WIDTH, 28)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName("Search commands")
        self.setToolTip(f"Search commands ({key})")

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        self.update()

    @property
    def is_compact(self) -> bool:
        """Whether only the icon is shown."""
        return self.width() < SEARCH_WIDTH

    def set_compact(self, compact: bool) -> None:
        """Show the icon alone."""
        self.setFixedWidth(self.height() if compact else SEARCH_WIDTH)
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.clicked.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Space, Qt.Key.Key_Enter):
            self.clicked.emit()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        edge = "strong" if self.underMouse() else "border"
        rounded(p, QRectF(self.rect()), 6, t.color("raised"), t.color(edge))
        draw_icon(p, t, "search", "text_3", 6 if self.is_compact else 9, 6)
        if self.hasFocus():
            draw_focus(p, QRectF(self.rect()), t, 6)
        if self.is_compact:
            p.end()
            return
        draw_text(p, QRectF(33, 0, 140, 28), "Search commands", text_font(12), t.color("text_3"))
        width = text_width(self._key, text_font(11)) + 10
        box = QRectF(self.width() - width - 8, 5, width, 18)
        rounded(p, box, 4, None, t.color("border"))
        draw_text(p, box, self._key, text_font(11), t.color("text_3"), Qt.AlignmentFlag.AlignCenter)
        p.end()


class RunButton(QAbstractButton):
    """The primary button of the top bar; its chevron opens a menu."""

    menu_wanted = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self.setObjectName("RunButton")
        self.setFixedSize(86, 28)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setText("Run")
        self.setAccessibleName("Run")
        self.setToolTip("Run (Ctrl R)")

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.position().x() >= 60 and self.isEnabled():
            self.menu_wanted.emit()
        else:
            super().mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Down:
            self.menu_wanted.emit()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        if not self.isEnabled():
            fill, ink = "raised", "text_disabled"
        else:
            fill = "accent_pressed" if self.isDown() else "accent"
            fill = "accent_hover" if fill == "accent" and self.underMouse() else fill
            ink = "on_accent"
        edge = t.color("line") if not self.isEnabled() else None
        rounded(p, QRectF(self.rect()), 6, t.color(fill), edge)
        draw_icon(p, t, "play", ink, 12, 6)
        draw_text(p, QRectF(34, 0, 30, 28), "Run", text_font(13, MEDIUM), t.color(ink))
        draw_icon(p, t, "chevron-down", ink, 65, 8, 12)
        if self.hasFocus():
            draw_focus(p, QRectF(self.rect()), t, 6)
        p.end()


class TopBar(QFrame):
    """Mark, menus, modes, search and Run; 44 px high."""

    mode_chosen = Signal(str)
    search = Signal()
    run_clicked = Signal()
    run_menu = Signal()

    def __init__(self, theme: Theme, registry: Registry) -> None:
        super().__init__()
        self.setObjectName("TopBar")
        self.theme = theme
        self.setFixedHeight(44)
        row = QHBoxLayout(self)
        row.setContentsMargins(MARGIN, 0, MARGIN, 1)
        row.setSpacing(GAP)
        row.addWidget(_Mark(theme, 20))
        self.menus = QMenuBar()
        self.menus.setNativeMenuBar(False)
        self.menus.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
        row.addWidget(self.menus, 0, Qt.AlignmentFlag.AlignVCenter)
        row.addStretch(1)
        self.search_field = SearchField(theme, "Ctrl K")
        self.search_field.clicked.connect(self.search)
        row.addWidget(self.search_field)
        self.run_button = RunButton(theme)
        self.run_button.clicked.connect(self.run_clicked)
        self.run_button.menu_wanted.connect(self.run_menu)
        row.addWidget(self.run_button)
        # Segments stand in the middle of the window, not of what the menus leave.
        self.modes = Segments(
            theme,
            "Canvas mode",
            [(mode, _MODE_TITLES[mode]) for mode in MODES],
            "single",
            icons={mode: mode for mode in MODES},
            expand=True,
        )
        self.modes.setParent(self)
        self.modes.chosen.connect(self.mode_chosen)
        self._fill_menus(registry)
        self.set_theme(theme)

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        spread_theme(self, theme)

    def set_run_enabled(self, enabled: bool) -> None:
        """Enable Run once there is an image to run on."""
        self.run_button.setEnabled(enabled)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        left = MARGIN + 20 + GAP + self.menus.sizeHint().width() + GAP
        ends = self.width() - MARGIN - self.run_button.width() - GAP

        def room(search: int) -> int:
            return ends - search - GAP - left

        # What has least to say goes first: the words of the modes, then those of the search.
        compact_modes = room(SEARCH_WIDTH) < MODES_WIDTH
        compact_search = compact_modes and room(SEARCH_WIDTH) < ICONS_WIDTH
        self.search_field.set_compact(compact_search)
        self.modes.set_compact(compact_modes)
        width = ICONS_WIDTH if compact_modes else MODES_WIDTH
        self.modes.setFixedWidth(width)
        right = left + room(self.search_field.width())
        self.modes.move(max(left, min((self.width() - width) // 2, right - width)), 8)

    def _fill_menus(self, registry: Registry) -> None:
        for title in MENUS:
            menu = rounded_menu(title, self.menus)
            group: int | None = None
            target = menu
            for spec in registry.specs():
                if spec.menu != title or spec.hold:
                    continue
                aside = SUBMENUS.get((title, spec.group))
                if spec.group != group:
                    if group is not None and not (aside and (title, group) in SUBMENUS):
                        menu.addSeparator()
                    group = spec.group
                    target = menu
                    if aside is not None:
                        target = rounded_menu(aside, menu)
                        menu.addMenu(target)
                target.addAction(registry.action(spec.id))
            self.menus.addMenu(menu)


def rounded_menu(title: str, parent: QWidget) -> QMenu:
    """Menu whose corners can be round: no frame and no shadow of the system."""
    menu = QMenu(title, parent)
    menu.setWindowFlags(
        menu.windowFlags()
        | Qt.WindowType.FramelessWindowHint
        | Qt.WindowType.NoDropShadowWindowHint
    )
    menu.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
    return menu
