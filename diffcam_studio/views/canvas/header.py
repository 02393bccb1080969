# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The header of a panel: what it shows, and the buttons that change it."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QFont, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views import colormaps
from diffcam_studio.views.colour_bar import short_range
from diffcam_studio.views.controls import Divider, IconButton, Tag, ThemedWidget
from diffcam_studio.views.painting import (
    CENTRE,
    MEDIUM,
    REGULAR,
    SEMIBOLD,
    draw_icon,
    draw_text,
    rounded,
    text_font,
    text_width,
)
from diffcam_studio.views.props import ColourScale, PanelProps

HEADER = 32
TILE_HEADER = 28


class PanelHeader(ThemedWidget):
    """Badge, word, step and layer, tags; at the right the metric and the buttons (8.3)."""

    toggled = Signal(str, bool)  # "contour" | "regions" | "pin" | "link"
    asked = Signal(str)  # "split" | "more"

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setObjectName("PanelHeader")
        self._props = PanelProps("")
        self._active = False
        self._tile = False
        self._stale = False
        self._all_zero = False
        self._title: tuple[object, ...] = ()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 8, 1)
        row.setSpacing(8)
        row.addStretch(1)
        self.metric_tag = Tag(theme)
        row.addWidget(self.metric_tag)
        row.addSpacing(4)
        self.contour = IconButton(theme, "contour", "Threshold contour", checkable=True)
        self.regions = IconButton(theme, "region-outline", "Region outline", checkable=True)
        self.pin = IconButton(theme, "pin", "Pin step, layer and word", "P", checkable=True)
        self.link = IconButton(
            theme, "link", "Linked with the other panels", "Shift+L", checkable=True
        )
        self.split = IconButton(theme, "split", "Split panel", "Ctrl+\\")
        self.more = IconButton(theme, "more", "More")
        self._divider = Divider(theme)
        self._buttons: tuple[QWidget, ...] = (
            self.contour,
            self.regions,
            self._divider,
            self.pin,
            self.link,
            self.split,
            self.more,
        )
        for widget in self._buttons:
            row.addWidget(widget)
        self.contour.clicked.connect(lambda on: self.toggled.emit("contour", on))
        self.regions.clicked.connect(lambda on: self.toggled.emit("regions", on))
        self.pin.clicked.connect(lambda on: self.toggled.emit("pin", on))
        self.link.clicked.connect(lambda on: self.toggled.emit("link", on))
        self.split.clicked.connect(lambda: self.asked.emit("split"))
        self.more.clicked.connect(lambda: self.asked.emit("more"))

    def set_props(
        self, props: PanelProps, *, active: bool, tile: bool, several: bool, all_zero: bool
    ) -> None:
        """Show one panel's title; tiles have no buttons."""
        title = (*_title_key(props), active, tile, all_zero)
        changed = title != self._title
        self._title = title
        self._props, self._active, self._tile = props, active, tile
        self._all_zero = all_zero
        self.setFixedHeight(TILE_HEADER if tile else HEADER)
        self.metric_tag.set_text(props.metric)
        for widget in self._buttons:
            widget.setVisible(not tile)
        self.contour.setChecked(props.show_contour and bool(props.contour))
        self.contour.setEnabled(bool(props.contour))
        self.regions.setChecked(props.show_regions and bool(props.regions))
        self.regions.setEnabled(bool(props.regions))
        self.pin.setChecked(props.pinned)
        # A lone panel has nothing to be linked with: the button stays at rest.
        self.link.setChecked(several and props.linked)
        if changed:
            self.update()

    def set_stale(self, stale: bool) -> None:
        """Grey the step label: the frame shown is older than the title."""
        if stale != self._stale:
            self._stale = stale
            self.update()

    @property
    def stale(self) -> bool:
        """Whether the step label is grey."""
        return self._stale

    def title_parts(self) -> list[str]:
        """Return what the header says, from left to right."""
        props = self._props
        parts = [props.badge, props.title, props.subtitle, *props.pins]
        parts += ["Live"] if props.live else []
        parts += [props.tag, "all zero" if self._all_zero else ""]
        return [part for part in parts if part]

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        props = self._props
        height = self.height()
        p.fillRect(self.rect(), t.color("panel"))
        p.fillRect(0, height - 1, self.width(), 1, t.color("line"))
        x = 6.0 if self._tile else 12.0
        middle = (height - 1) / 2
        if props.badge:
            badge = QRectF(x, middle - 9, 18, 18)
            rounded(p, badge, 4, t.color("accent" if self._active else "pressed"), None)
            ink = t.color("on_accent" if self._active else "text_2")
            draw_text(p, badge, props.badge, text_font(11, SEMIBOLD), ink, CENTRE)
            x += 26
        end = self._text_end()
        x = self._word(p, props.title, x, 13 if not self._tile else 12, SEMIBOLD, "text_1", end)
        ink = "text_3" if self._stale else "text_2"
        size = 12 if self._tile else 13
        # A tile has little room; what is cut off there tells the tiles apart no longer.
        if not self._tile or x + text_width(props.subtitle, text_font(size)) <= end:
            x = self._word(p, props.subtitle, x, size, REGULAR, ink, end)
        for pin in props.pins:
            x = self._tag(p, pin, x, end, fill="selected", ink="accent_text", icon="pin")
        if props.live:
            x = self._tag(p, "Live", x, end, fill="hover", ink="computing_text", dot="computing")
        if props.tag and not self._tile:
            x = self._tag(p, props.tag, x, end, fill="selected", ink="accent_text")
        if self._all_zero:
            x = self._tag(p, "all zero", x, end, fill="hover", ink="text_2")
        if self._tile and props.scale.diverging:
            self._small_bar(p, props.scale)
        p.end()

    def _text_end(self) -> float:
        if self.metric_tag.isVisible():
            return self.metric_tag.x() - 8.0
        first = self._buttons[0]
        if first.isVisible():
            return first.x() - 8.0
        return self.width() - (130.0 if self._props.scale.diverging else 8.0)

    def _word(
        self,
        p: QPainter,
        text: str,
        x: float,
        pixels: int,
        weight: QFont.Weight,
        token: str,
        end: float,
    ) -> float:
        if not text or x >= end:
            return x
        font = text_font(pixels, weight)
        width = min(text_width(text, font) + 1, end - x)
        box = QRectF(x, 0, width, self.height() - 1)
        draw_text(p, box, text, font, self.theme.color(token), elide=True)
        return x + width + 8

    def _tag(
        self,
        p: QPainter,
        text: str,
        x: float,
        end: float,
        *,
        fill: str,
        ink: str,
        icon: str = "",
        dot: str = "",
    ) -> float:
        font = text_font(11, MEDIUM)
        width = text_width(text, font) + 12 + (16 if icon else 10 if dot else 0)
        if x + width > end:
            return x
        t = self.theme
        box = QRectF(x, (self.height() - 1) / 2 - 10, width, 20)
        rounded(p, box, 4, t.color(fill), None)
        left = x + 6
        if icon:
            draw_icon(p, t, icon, ink, left - 1, box.y() + 3, 14)
            left += 16
        if dot:
            p.setPen(Qt.PenStyle.NoPen)
            p.setBrush(t.color(dot))
            p.drawEllipse(QPointF(left + 3, box.center().y()), 3, 3)
            left += 10
        draw_text(p, QRectF(left, box.y(), width, 20), text, font, t.color(ink))
        return x + width + 8

    def _small_bar(self, p: QPainter, scale: ColourScale) -> None:
        t = self.theme
        low, high = short_range(scale)
        font = text_font(11)
        right = self.width() - 8.0
        wide = text_width(high, font)
        y = (self.height() - 1) / 2
        draw_text(p, QRectF(right - wide, y - 8, wide + 2, 16), high, font, t.color("text_2"))
        strip = QRectF(right - wide - 8 - 88, y - 4, 88, 8)
        p.drawImage(strip, colormaps.ramp(scale.cmap, 88))
        wide = text_width(low, font)
        box = QRectF(strip.left() - 8 - wide, y - 8, wide + 2, 16)
        draw_text(p, box, low, font, t.color("text_2"))


def _title_key(props: PanelProps) -> tuple[object, ...]:
    return (
        props.badge,
        props.title,
        props.subtitle,
        props.pins,
        props.live,
        props.tag,
        props.scale,
        props.metric,
    )
