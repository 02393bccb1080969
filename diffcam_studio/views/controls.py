# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""Small controls painted from theme tokens: labels, buttons, switch, slider, segments, sections.

They are drawn by hand, so that they look the same under any style sheet, and
they stay real buttons and sliders, so that keyboard and screen readers work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import (
    QAbstractAnimation,
    QEasingCurve,
    QEvent,
    QObject,
    QPoint,
    QPointF,
    QRect,
    QRectF,
    QSize,
    Qt,
    QVariantAnimation,
    Signal,
)
from PySide6.QtGui import (
    QAction,
    QColor,
    QFocusEvent,
    QFont,
    QFontMetricsF,
    QIcon,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPixmap,
    QWheelEvent,
)
from PySide6.QtWidgets import (
    QAbstractButton,
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QMenu,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from diffcam_studio.theme import Theme
from diffcam_studio.views import colormaps
from diffcam_studio.views.painting import (
    CENTRE,
    LEFT,
    MEDIUM,
    REGULAR,
    SEMIBOLD,
    draw_focus,
    draw_icon,
    draw_text,
    paint_switch,
    rounded,
    text_font,
    text_width,
)

KEYBOARD_FOCUS = (
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
)
SWITCH_MS = 120
_reduce_motion = False


def set_reduce_motion(reduce: bool) -> None:
    """Turn every animation of the controls off (or on again)."""
    global _reduce_motion
    _reduce_motion = reduce


class ThemedWidget(QWidget):
    """A widget that paints with a theme and repaints when it gets another one."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme

    def set_theme(self, theme: Theme) -> None:
        """Use other colours, here and in every themed child."""
        self.theme = theme
        spread_theme(self, theme)
        self.update()


def spread_theme(widget: QWidget, theme: Theme) -> None:
    """Hand a theme to the direct children of a widget that know what to do with it."""
    for child in widget.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
        setter = getattr(child, "set_theme", None)
        if setter is not None:
            setter(theme)
        else:
            spread_theme(child, theme)


class Label(ThemedWidget):
    """One line of text in one of the type roles; elides when there is no room."""

    def __init__(
        self,
        theme: Theme,
        text: str = "",
        *,
        pixels: int = 12,
        weight: QFont.Weight = REGULAR,
        token: str = "text_2",
        align: Qt.AlignmentFlag = LEFT,
        elide: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._text = text
        self._font = text_font(pixels, weight)
        self._token = token
        self._align = align
        self._elide = elide
        policy = QSizePolicy.Policy.Ignored if elide else QSizePolicy.Policy.Preferred
        self.setSizePolicy(policy, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(text)

    def text(self) -> str:
        """Return the text."""
        return self._text

    def set_text(self, text: str, token: str | None = None) -> None:
        """Show other text, and other ink if ``token`` is given."""
        if text == self._text and token in (None, self._token):
            return
        resized = text != self._text
        self._text = text
        self._token = token or self._token
        self.setAccessibleName(text)
        if resized:
            self.updateGeometry()
        self.update()

    @property
    def token(self) -> str:
        """Colour token of the ink."""
        return self._token

    def sizeHint(self) -> QSize:
        metrics = QFontMetricsF(self._font)
        line = {11: 16, 12: 16, 13: 20, 15: 24, 17: 24, 24: 32, 28: 36}
        height = line.get(self._font.pixelSize(), round(metrics.height()))
        width = metrics.horizontalAdvance(self._text)
        return QSize(int(width + 0.999), height)

    def minimumSizeHint(self) -> QSize:
        hint = self.sizeHint()
        return QSize(0, hint.height()) if self._elide else hint

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        token = self._token if self.isEnabled() else "text_disabled"
        color = self.theme.color(token)
        draw_text(p, QRectF(self.rect()), self._text, self._font, color, self._align, elide=True)
        p.end()


class Tag(ThemedWidget):
    """A 20 px tag: "Panel A", "Studio"; active tags are in accent, live ones have a dot."""

    def __init__(
        self,
        theme: Theme,
        text: str = "",
        *,
        active: bool = False,
        icon: str = "",
        dot: str = "",
        ink: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._text, self._active, self._icon, self._dot, self._ink = text, active, icon, dot, ink
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(text)

    def text(self) -> str:
        """Return the text."""
        return self._text

    def set_text(self, text: str) -> None:
        """Show other text; an empty tag hides itself."""
        if text != self._text:
            self._text = text
            self.setAccessibleName(text)
            self.updateGeometry()
            self.update()
        self.setVisible(bool(text))

    def sizeHint(self) -> QSize:
        extra = 16 if self._icon else 10 if self._dot else 0
        return QSize(round(text_width(self._text, text_font(11, MEDIUM))) + 12 + extra, 20)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        rounded(p, QRectF(self.rect()), 4, t.color("selected" if self._active else "hover"), None)
        ink = self._ink or ("accent_text" if self._active else "text_2")
        x = 6.0
        if self._icon:
            draw_icon(p, t, self._icon, ink, x - 1, 3, 14)
            x += 16
        if self._dot:
            p.setPen(Qt.PenStyle.NoPen)
            p.setBrush(t.color(self._dot))
            p.drawEllipse(QPointF(x + 3, 10), 3, 3)
            x += 10
        box = QRectF(x, 0, self.width() - x, self.height())
        draw_text(p, box, self._text, text_font(11, MEDIUM), t.color(ink))
        p.end()


class _Button(QAbstractButton):
    """Common part of painted buttons: theme, hover, tooltip with key, accessible name."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self._keyboard = False
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        self.update()

    def set_help(self, name: str, key: str = "") -> None:
        """Set tooltip and accessible name from one text."""
        self.setToolTip(f"{name} ({key})" if key else name)
        self.setAccessibleName(name)

    _ring_radius = 6.0
    _own_focus = False  # True where the widget paints its focus inside itself

    @property
    def keyboard_focus(self) -> bool:
        """Whether the focus came by Tab or a shortcut, so that it must be seen."""
        return self._keyboard and self.hasFocus()

    def focusInEvent(self, event: QFocusEvent) -> None:
        if event.reason() != Qt.FocusReason.ActiveWindowFocusReason:
            self._keyboard = event.reason() in KEYBOARD_FOCUS
        super().focusInEvent(event)
        if self._keyboard and not self._own_focus:
            ring = self.window().findChild(
                FocusRing, options=Qt.FindChildOption.FindDirectChildrenOnly
            )
            if ring is not None:
                ring.follow(self, self._ring_radius)

    def _fill(self, rest: str | None, checked: str = "selected") -> QColor | None:
        if not self.isEnabled():
            token = rest
        elif self.isDown():
            token = "pressed"
        elif self.isChecked():
            token = checked
        elif self.underMouse():
            token = "hover"
        else:
            token = rest
        return self.theme.color(token) if token else None


class IconButton(_Button):
    """An icon in a 24 or 28 px button; ``boxed`` has an edge (play)."""

    def __init__(
        self,
        theme: Theme,
        icon: str,
        name: str,
        key: str = "",
        *,
        size: int = 24,
        checkable: bool = False,
        boxed: bool = False,
        glyph: int = 16,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._icon, self._side, self._boxed, self._glyph = icon, size, boxed, glyph
        self.setCheckable(checkable)
        self.set_help(name, key)
        self.setFixedSize(size, size)

    def set_icon(self, icon: str, name: str, key: str = "") -> None:
        """Show another icon with another name (play and pause)."""
        self._icon = icon
        self.set_help(name, key)
        self.update()

    @property
    def icon_name(self) -> str:
        """Name of the icon shown."""
        return self._icon

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        fill = self._fill("raised" if self._boxed else None)
        edge = t.color("border") if self._boxed else None
        if fill is not None or edge is not None:
            rounded(p, QRectF(self.rect()), 6, fill, edge)
        if not self.isEnabled():
            ink = "text_disabled"
        elif self.isChecked():
            ink = "accent_text"
        else:
            ink = "text_1" if self._boxed or self.underMouse() or self.isDown() else "text_2"
        offset = (self._side - self._glyph) / 2
        draw_icon(p, t, self._icon, ink, offset, offset, self._glyph)
        p.end()


class TextButton(_Button):
    """A button with words: standard, quiet or danger; optional icon at the left."""

    def __init__(
        self,
        theme: Theme,
        text: str,
        *,
        icon: str = "",
        kind: str = "standard",
        height: int = 28,
        chevron: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._icon, self._kind, self._height, self._chevron = icon, kind, height, chevron
        self.setText(text)
        self.setAccessibleName(text)
        self.setFixedHeight(height)

    @property
    def _text_font(self) -> QFont:
        return text_font(12 if self._height <= 24 else 13, REGULAR if self._chevron else MEDIUM)

    def set_text(self, text: str, icon: str = "") -> None:
        """Show other words."""
        self._icon = icon
        self.setText(text)
        self.setAccessibleName(text)
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        pad = 8 if self._kind == "quiet" or self._chevron else 12
        width = text_width(self.text(), self._text_font) + 2 * pad
        width += 22 if self._icon else 0
        width += 14 if self._chevron else 0
        return QSize(round(width), self._height)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        quiet = self._kind == "quiet"
        fill = self._fill(None if quiet else "raised")
        edge = None if quiet else t.color("border" if self.isEnabled() else "line")
        if fill is not None or edge is not None:
            rounded(p, QRectF(self.rect()), 6, fill, edge)
        hot = self.underMouse() or self.isDown()
        if not self.isEnabled():
            ink = "text_disabled"
        elif self._kind == "danger":
            ink = "failed_text"
        elif self.isChecked():
            ink = "accent_text"
        else:
            ink = "text_2" if quiet and not hot else "text_1"
        x = 8.0 if quiet or self._chevron else 12.0
        if self._icon:
            draw_icon(p, t, self._icon, ink, x, (self.height() - 16) / 2)
            x += 22
        box = QRectF(x, 0, self.width() - x, self.height())
        draw_text(p, box, self.text(), self._text_font, t.color(ink))
        if self._chevron:
            y = (self.height() - 12) / 2
            draw_icon(p, t, "chevron-down", "text_3", self.width() - 19, y, 12)
        p.end()


class Choice(_Button):
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


class Segments(QFrame):
    """One of a few: exclusive buttons in one frame; arrow keys move between them."""

    chosen = Signal(str)

    def __init__(
        self,
        theme: Theme,
        name: str,
        options: Sequence[tuple[str, str]],
        current: str = "",
        *,
        icons: dict[str, str] | None = None,
        expand: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setObjectName("Segments")
        self.setAccessibleName(name)
        self.setFixedHeight(28)
        horizontal = QSizePolicy.Policy.Expanding if expand else QSizePolicy.Policy.Fixed
        self.setSizePolicy(horizontal, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout(self)
        row.setContentsMargins(1, 1, 1, 1)
        row.setSpacing(0)
        self._group = QButtonGroup(self)
        self._buttons: dict[str, _Segment] = {}
        for key, title in options:
            button = _Segment(theme, title, (icons or {}).get(key, ""))
            button.setAccessibleName(f"{name}: {title}")
            button.clicked.connect(lambda _=False, key=key: self.chosen.emit(key))
            self._group.addButton(button)
            row.addWidget(button, button.sizeHint().width() if expand else 0)
            self._buttons[key] = button
        if current:
            self.set_current(current)

    @property
    def current(self) -> str:
        """Key of the chosen segment, or ""."""
        return next((key for key, b in self._buttons.items() if b.isChecked()), "")

    def set_current(self, key: str) -> None:
        """Choose without emitting; unknown keys are ignored."""
        button = self._buttons.get(key)
        if button is not None:
            button.setChecked(True)

    def button(self, key: str) -> QAbstractButton:
        """Return the button of one segment."""
        return self._buttons[key]

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        for button in self._buttons.values():
            button.set_theme(theme)
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        move = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        keys = list(self._buttons)
        if move is None or not self.current:
            super().keyPressEvent(event)
            return
        at = keys.index(self.current) + move
        if 0 <= at < len(keys):
            button = self._buttons[keys[at]]
            button.setChecked(True)
            button.setFocus(Qt.FocusReason.TabFocusReason)
            self.chosen.emit(keys[at])

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        rounded(p, QRectF(self.rect()), 6, t.color("segment_track"), t.color("border"))
        p.end()


class _Segment(_Button):
    _own_focus = True

    def __init__(self, theme: Theme, text: str, icon: str) -> None:
        super().__init__(theme)
        self._icon = icon
        self.setText(text)
        self.setCheckable(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def sizeHint(self) -> QSize:
        width = text_width(self.text(), text_font(12, MEDIUM)) + 22 + (22 if self._icon else 0)
        return QSize(round(width), 26)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        box = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        if self.isChecked():
            rounded(p, box, 4, t.color("segment_on"), t.color("segment_edge"))
        elif self.underMouse() and self.isEnabled():
            rounded(p, box, 4, t.color("hover"), None)
        ink = (
            "text_disabled"
            if not self.isEnabled()
            else ("text_1" if self.isChecked() or self.underMouse() else "text_2")
        )
        if self._icon:
            width = text_width(self.text(), text_font(12, MEDIUM)) + 22
            x = (self.width() - width) / 2
            draw_icon(p, t, self._icon, ink, x, (self.height() - 16) / 2)
            box = QRectF(x + 22, 0, self.width(), self.height())
            draw_text(p, box, self.text(), text_font(12, MEDIUM), t.color(ink))
        else:
            draw_text(
                p, QRectF(self.rect()), self.text(), text_font(12, MEDIUM), t.color(ink), CENTRE
            )
        if self.keyboard_focus:
            draw_focus(p, QRectF(self.rect()), t, 5)
        p.end()


class Switch(_Button):
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


class Slider(QSlider):
    """A slider over real numbers in fixed steps; the filled part runs to the knob.

    ``changed`` follows the hand, ``settled`` comes once at its end (for undo).
    Double-click goes back to the default.
    """

    changed = Signal(float)
    settled = Signal(float)

    def __init__(
        self,
        theme: Theme,
        name: str,
        minimum: float = 0.0,
        maximum: float = 1.0,
        step: float = 0.01,
        value: float = 0.0,
        *,
        default: float | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.theme = theme
        self.setAccessibleName(name)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFixedHeight(16)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._low, self._step, self._default = minimum, step, default
        self.setRange(0, max(1, round((maximum - minimum) / step)))
        self.setSingleStep(1)
        self.setPageStep(max(1, self.maximum() // 10))
        self.set_number(value)
        self._quiet = False
        self._before = self.value()
        self.valueChanged.connect(self._emit)

    @property
    def number(self) -> float:
        """Present value, a multiple of the step above the minimum."""
        return round(self._low + self.value() * self._step, 10)

    def set_number(self, value: float) -> None:
        """Move the knob without a signal; while the hand holds it, it stays."""
        if self.isSliderDown():
            return
        self.blockSignals(True)
        self.setValue(round((value - self._low) / self._step))
        self.blockSignals(False)
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        self.update()

    def _emit(self) -> None:
        self.changed.emit(self.number)
        if not self.isSliderDown():
            self.settled.emit(self.number)

    def _value_at(self, x: float) -> int:
        span = max(1.0, self.width() - 12.0)
        share = min(1.0, max(0.0, (x - 6.0) / span))
        return round(share * self.maximum())

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            event.ignore()
            return
        self._before = self.value()
        self.setSliderDown(True)
        self.setValue(self._value_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self.isSliderDown():
            self.setValue(self._value_at(event.position().x()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self.isSliderDown():
            self.setSliderDown(False)
            self.update()
            if self.value() != self._before:
                self.settled.emit(self.number)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self._default is not None:
            self.setSliderDown(False)
            self.setValue(round((self._default - self._low) / self._step))

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        y = self.height() / 2
        share = self.value() / max(1, self.maximum())
        knob = 6.0 + share * (self.width() - 12.0)
        enabled = self.isEnabled()
        rounded(p, QRectF(0, y - 2, self.width(), 4), 2, t.color("pressed"), None)
        line = t.color("accent_line" if enabled else "text_disabled")
        rounded(p, QRectF(0, y - 2, knob, 4), 2, line, None)
        draw_knob(p, t, QPointF(knob, y), hot=self.underMouse() and enabled, enabled=enabled)
        if self.hasFocus():
            p.setPen(QPen(t.color("accent_line"), 2))
            p.setBrush(Qt.BrushStyle.NoBrush)
            p.drawEllipse(QPointF(knob, y), 7, 7)
        p.end()


def draw_knob(
    p: QPainter, theme: Theme, centre: QPointF, *, hot: bool = False, enabled: bool = True
) -> None:
    """Draw the round knob of sliders."""
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    p.setPen(QPen(theme.color("knob_edge" if enabled else "border"), 1))
    fill = "text_disabled" if not enabled else "accent_text" if hot else "knob"
    p.setBrush(theme.color(fill))
    p.drawEllipse(centre, 5.5, 5.5)


class SectionHeader(_Button):
    """32 px head of a dock section; the whole row folds it, ``action`` widgets sit at the right."""

    _own_focus = True

    def __init__(
        self,
        theme: Theme,
        title: str,
        meta: str = "",
        *,
        open_: bool = True,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self._title, self._meta = title, meta
        self.setCheckable(True)
        self.setChecked(open_)
        self.setFixedHeight(32)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 8, 0)
        self._row.setSpacing(4)
        self._row.addStretch(1)
        self._name()

    def set_title(self, title: str, meta: str = "") -> None:
        """Show other words."""
        if (title, meta) != (self._title, self._meta):
            self._title, self._meta = title, meta
            self._name()
            self.update()

    def _name(self) -> None:
        self.setAccessibleName(f"{self._title}, {self._meta}" if self._meta else self._title)

    def add_action(self, widget: QWidget, *, flush: bool = True) -> None:
        """Put a tag, a choice or an icon button at the right end.

        ``flush`` ends at 12 px from the edge (tags, fields), else at 8 (icon buttons).
        """
        if flush:
            self._row.setContentsMargins(0, 0, 12, 0)
        self._row.addWidget(widget)

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        spread_theme(self, theme)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(120, 32)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        if self.underMouse():
            p.fillRect(self.rect(), t.color("hover"))
        icon = "chevron-down" if self.isChecked() else "chevron-right"
        draw_icon(p, t, icon, "text_3", 8, 8)
        bold = text_font(12, SEMIBOLD)
        draw_text(p, QRectF(30, 0, self.width(), 32), self._title, bold, t.color("text_1"))
        if self._meta:
            x = 30 + text_width(self._title, bold) + 8
            width = self.width() - x - 8
            first = self._row.itemAt(1)
            if first is not None and first.widget() is not None and first.widget().isVisible():
                width = first.widget().x() - x - 8
            box = QRectF(x, 0, max(0.0, width), 32)
            draw_text(p, box, self._meta, text_font(11), t.color("text_3"), elide=True)
        if self.keyboard_focus:
            draw_focus(p, QRectF(self.rect()), t, 3)
        p.end()


class Section(ThemedWidget):
    """A dock section: header, body, and the line that ends it."""

    folded = Signal(bool)

    def __init__(
        self,
        theme: Theme,
        title: str,
        meta: str = "",
        *,
        open_: bool = True,
        margins: tuple[int, int, int, int] = (12, 0, 12, 12),
        spacing: int = 8,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, parent)
        self.header = SectionHeader(theme, title, meta, open_=open_)
        self.body = QWidget()
        self.rows = QVBoxLayout(self.body)
        self.rows.setContentsMargins(*margins)
        self.rows.setSpacing(spacing)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 1)
        column.setSpacing(0)
        column.addWidget(self.header)
        column.addWidget(self.body)
        self.body.setVisible(open_)
        self.header.toggled.connect(self._toggle)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    @property
    def is_open(self) -> bool:
        """Whether the body is shown."""
        return self.header.isChecked()

    def set_open(self, open_: bool) -> None:
        """Fold or unfold."""
        self.header.setChecked(open_)

    def _toggle(self, open_: bool) -> None:
        self.body.setVisible(open_)
        self.folded.emit(not open_)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.fillRect(0, self.height() - 1, self.width(), 1, self.theme.color("line"))
        p.end()


class FocusRing(QWidget):
    """The ring around the focused button or switch, after Tab or a shortcut only.

    One per window: ``FocusRing(window, theme)``. The painted buttons find it by
    themselves; other widgets may call :meth:`follow` and :meth:`leave`.
    """

    def __init__(self, window: QWidget, theme: Theme) -> None:
        super().__init__(window)
        self.theme = theme
        self._radius = 6.0
        self._target: QWidget | None = None
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hide()

    @property
    def target(self) -> QWidget | None:
        """The widget that has the ring."""
        return self._target

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        self.update()

    def follow(self, target: QWidget, radius: float = 6.0) -> None:
        """Put the ring around a widget of the same window."""
        self.leave()
        self._target, self._radius = target, radius
        target.installEventFilter(self)
        self._place()
        self.raise_()
        self.show()

    def leave(self) -> None:
        """Take the ring away."""
        if self._target is not None:
            self._target.removeEventFilter(self)
        self._target = None
        self.hide()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind in (QEvent.Type.FocusOut, QEvent.Type.Hide):
            self.leave()
        elif kind in (QEvent.Type.Move, QEvent.Type.Resize):
            self._place()
        return False

    def _place(self) -> None:
        if self._target is None:
            return
        top = self._target.mapTo(self.parentWidget(), QPoint(0, 0))
        self.setGeometry(QRect(top, self._target.size()).adjusted(-4, -4, 4, 4))

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        draw_focus(p, QRectF(self.rect()), self.theme, self._radius + 3)
        p.end()
