"""Colours, fonts, icons and the style sheet: one theme file in, one look out.

The theme files (``resources/themes/*.json``) are the only place that names a
colour. Widgets ask for a token by name and repaint when the theme changes.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import platformdirs
from PySide6.QtCore import QByteArray, QDir, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

from diffcam_studio.assets import asset, asset_root

log = logging.getLogger(__name__)

ThemeName = Literal["dark", "light"]
THEME_NAMES: tuple[ThemeName, ...] = ("dark", "light")

FAMILIES = [
    "Inter",
    "Segoe UI Variable Text",
    "Segoe UI",
    ".AppleSystemUIFont",
    "SF Pro Text",
    "Helvetica Neue",
    "Noto Sans",
    "Noto Sans CJK SC",
    "Microsoft YaHei UI",
    "PingFang SC",
    "DejaVu Sans",
]
FIXED_FAMILIES = [
    "JetBrains Mono",
    "Cascadia Mono",
    "SF Mono",
    "Menlo",
    "Noto Sans Mono",
    "DejaVu Sans Mono",
]

_ROLE = QPalette.ColorRole
_PALETTE: dict[QPalette.ColorRole, str] = {
    _ROLE.Window: "window",
    _ROLE.WindowText: "text_1",
    _ROLE.Text: "text_1",
    _ROLE.ButtonText: "text_1",
    _ROLE.Base: "raised",
    _ROLE.Button: "raised",
    _ROLE.AlternateBase: "panel",
    _ROLE.PlaceholderText: "text_3",
    _ROLE.BrightText: "on_accent",
    _ROLE.HighlightedText: "on_accent",
    _ROLE.Highlight: "accent",
    _ROLE.Accent: "accent",
    _ROLE.Link: "accent_text",
    _ROLE.LinkVisited: "accent_text",
    _ROLE.ToolTipBase: "overlay",
    _ROLE.ToolTipText: "text_1",
    _ROLE.Light: "hover",
    _ROLE.Midlight: "line",
    _ROLE.Mid: "border",
    _ROLE.Dark: "strong",
    _ROLE.Shadow: "canvas",
}
_PALETTE_DISABLED: dict[QPalette.ColorRole, str] = {
    _ROLE.WindowText: "text_disabled",
    _ROLE.Text: "text_disabled",
    _ROLE.ButtonText: "text_disabled",
    _ROLE.BrightText: "text_disabled",
    _ROLE.HighlightedText: "text_disabled",
    _ROLE.Highlight: "pressed",
    _ROLE.Accent: "pressed",
}
# Icons that the style sheet needs as files: (file name, icon, token of its colour).
_SHEET_ICONS = (
    ("chevron-down.svg", "chevron-down", "text_3"),
    ("chevron-up.svg", "chevron-up", "text_3"),
    ("chevron-right.svg", "chevron-right", "text_3"),
    ("check-on-accent.svg", "check", "on_accent"),
    ("check.svg", "check", "text_1"),
)


@dataclass(frozen=True, eq=False)
class Theme:
    """One set of colour tokens (style guide 2 and appendix A).

    ``tokens`` maps a token name to ``#RRGGBB`` or ``#AARRGGBB`` as QColor reads it.
    """

    name: ThemeName
    tokens: Mapping[str, str]

    def __getitem__(self, token: str) -> str:
        return self.tokens[token]

    def color(self, token: str) -> QColor:
        """Colour of a token; KeyError if there is no such token."""
        return QColor(self.tokens[token])

    def icon(self, name: str, token: str = "text_2") -> QIcon:
        """Icon whose rest state has the colour of ``token``; other states as style guide 6."""
        return icon(name, self, rest=token)


@cache
def load_theme(name: ThemeName) -> Theme:
    """Read one theme file; the result is shared and immutable."""
    tokens = json.loads(asset("themes", f"{name}.json").read_text(encoding="utf-8"))
    return Theme(name, MappingProxyType(tokens))


def system_theme() -> ThemeName:
    """Theme that the desktop asks for; dark where it says nothing."""
    hints = QApplication.styleHints()
    light = hints is not None and hints.colorScheme() == Qt.ColorScheme.Light
    return "light" if light else "dark"


def build_style_sheet(theme: Theme) -> str:
    """Fill the style sheet template with the colours of one theme."""
    template = asset("themes", "studio.qss").read_text(encoding="utf-8")
    return re.sub(r"\{(\w+)\}", lambda match: theme.tokens[match[1]], template)


def ui_font(pixels: int = 13, weight: QFont.Weight = QFont.Weight.Normal) -> QFont:
    """Text font with tabular figures at a size in pixels."""
    font = QFont()
    font.setFamilies(FAMILIES)
    font.setPixelSize(pixels)
    font.setWeight(weight)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def fixed_font(pixels: int = 12) -> QFont:
    """Fixed-width font, for paths, code, clock times and formulas only."""
    font = QFont()
    font.setFamilies(FIXED_FAMILIES)
    font.setPixelSize(pixels)
    return font


def apply_theme(app: QApplication, theme: Theme) -> None:
    """Give the whole application one theme: style, font, palette, style sheet, arrows."""
    _load_fonts()
    QDir.setSearchPaths("icon", [str(_sheet_icon_folder(theme))])
    if app.style().name() != "fusion":
        app.setStyle("Fusion")
    scheme = Qt.ColorScheme.Dark if theme.name == "dark" else Qt.ColorScheme.Light
    app.styleHints().setColorScheme(scheme)
    app.setFont(ui_font())
    palette = QPalette()
    for role, token in _PALETTE.items():
        palette.setColor(role, theme.color(token))
        disabled = _PALETTE_DISABLED.get(role, token)
        palette.setColor(QPalette.ColorGroup.Disabled, role, theme.color(disabled))
    app.setPalette(palette)
    app.setStyleSheet(build_style_sheet(theme))


def icon_names() -> Iterable[str]:
    """Names of all icons that exist."""
    return sorted(path.stem for path in asset("icons").glob("*.svg"))


def icon_pixmap(name: str, color: str, size: int = 16, ratio: float = 2.0) -> QPixmap:
    """Draw one icon in one colour.

    Parameters
    ----------
    name : str
        Icon name of style guide appendix B.
    color : str
        Any colour text QColor reads; it replaces ``currentColor``.
    size : int
        Side in device-independent pixels.
    ratio : float
        Device pixel ratio of the result.
    """
    return _cached_pixmap(name, color, size, ratio)


def icon(name: str, theme: Theme, *, rest: str = "text_2", on: str = "accent_text") -> QIcon:
    """Icon with the colours of its states: rest, hover, on and disabled."""
    result = QIcon()
    result.addPixmap(icon_pixmap(name, theme[rest]), QIcon.Mode.Normal, QIcon.State.Off)
    result.addPixmap(icon_pixmap(name, theme["text_1"]), QIcon.Mode.Active, QIcon.State.Off)
    result.addPixmap(icon_pixmap(name, theme[on]), QIcon.Mode.Normal, QIcon.State.On)
    result.addPixmap(icon_pixmap(name, theme[on]), QIcon.Mode.Active, QIcon.State.On)
    disabled = icon_pixmap(name, theme["text_disabled"])
    result.addPixmap(disabled, QIcon.Mode.Disabled, QIcon.State.Off)
    result.addPixmap(disabled, QIcon.Mode.Disabled, QIcon.State.On)
    return result


def mark_pixmap(theme: Theme, size: int = 20, ratio: float = 2.0) -> QPixmap:
    """Draw the program's mark (4 x 4 dots, noise at the rim, evidence at the core)."""
    return _cached_pixmap("mark", theme["rim"], size, ratio)


def app_icon() -> QIcon:
    """Window icon: the mark at the usual sizes."""
    result = QIcon()
    for size in (16, 20, 24, 32, 48, 64, 128, 256):
        result.addPixmap(_cached_pixmap("mark", load_theme("dark")["rim"], size, 1.0))
    return result


@lru_cache(maxsize=1024)
def _cached_pixmap(name: str, color: str, size: int, ratio: float) -> QPixmap:
    text = asset("icons", f"{name}.svg").read_text(encoding="utf-8")
    renderer = QSvgRenderer(QByteArray(text.replace("currentColor", color).encode()))
    box = renderer.viewBoxF().size()
    side = round(size * ratio)
    pixmap = QPixmap(QSize(side, side))
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    scale = side / max(box.width(), box.height())
    target = QRectF(QPointF(0, 0), box * scale)
    renderer.render(painter, target)
    painter.end()
    pixmap.setDevicePixelRatio(ratio)
    return pixmap


def clear_icon_cache() -> None:
    """Forget drawn icons; QPixmaps must not outlive the application object."""
    _cached_pixmap.cache_clear()


@cache
def _sheet_icon_folder(theme: Theme) -> Path:
    # The style sheet can only name files, so its few arrows are tinted once per theme.
    try:
        return _write_sheet_icons(
            platformdirs.user_cache_path("diffusion-cam-studio") / "icons" / theme.name, theme
        )
    except OSError as error:
        log.warning("The cache folder cannot be written: %s", error)
        return _write_sheet_icons(Path(_passing_folder().name) / theme.name, theme)


@cache
def _passing_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that lasts as long as the program, for want of a cache."""
    return tempfile.TemporaryDirectory(prefix="diffcam-studio-", ignore_cleanup_errors=True)


def _write_sheet_icons(folder: Path, theme: Theme) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file_name, name, token in _SHEET_ICONS:
        text = asset("icons", f"{name}.svg").read_text(encoding="utf-8")
        tinted = text.replace("currentColor", theme[token])
        path = folder / file_name
        if not path.exists() or path.read_text(encoding="utf-8") != tinted:
            path.write_text(tinted, encoding="utf-8")
    return folder


@cache
def _load_fonts() -> None:
    folder = asset_root() / "fonts"
    if folder.is_dir():
        for path in sorted([*folder.glob("*.otf"), *folder.glob("*.ttf")]):
            QFontDatabase.addApplicationFont(str(path))
