"""Theme files: contrast, completeness, and that nothing else names a colour."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PySide6.QtCore import QFile
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication

import diffcam_studio
from diffcam_studio import theme as themes
from diffcam_studio.assets import asset
from diffcam_studio.theme import (
    THEME_NAMES,
    ThemeName,
    build_style_sheet,
    icon_names,
    icon_pixmap,
    load_theme,
)

TEXT = (
    "text_1", "text_2", "text_3", "accent_text", "valid_text", "computing_text", "failed_text",
    "commit_text", "warning_text",
)  # fmt: skip
SURFACES = ("window", "canvas", "panel", "raised", "overlay", "hover", "pressed", "selected")
PARTS = (
    "strong", "accent_line", "valid", "invalid", "computed", "computing", "failed", "commit",
    "warning", "text_disabled",
)  # fmt: skip


def luminance(color: QColor) -> float:
    """Relative luminance of WCAG 2.1."""
    parts = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (color.redF(), color.greenF(), color.blueF())
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a: QColor, b: QColor) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", THEME_NAMES)
def test_text_and_parts_stand_out(name: ThemeName) -> None:
    theme = load_theme(name)
    for surface in SURFACES:
        for text in TEXT:
            assert contrast(theme.color(text), theme.color(surface)) >= 4.5, (text, surface)
    for fill in ("accent", "accent_hover", "accent_pressed"):
        assert contrast(theme.color("on_accent"), theme.color(fill)) >= 4.5, fill
    for chip in ("chip_low", "chip_high"):
        for text in ("text_1", "commit_text"):
            assert contrast(theme.color(text), theme.color(chip)) >= 4.5, (text, chip)
    for part in PARTS:
        assert contrast(theme.color(part), theme.color("panel")) >= 3.0, part


def test_the_printed_contrast_is_found_again() -> None:
    dark, light = load_theme("dark"), load_theme("light")
    assert contrast(dark.color("text_3"), dark.color("pressed")) == pytest.approx(4.76, abs=0.01)
    assert contrast(light.color("text_1"), light.color("raised")) == pytest.approx(17.93, abs=0.01)


def test_both_themes_have_the_same_tokens() -> None:
    dark, light = load_theme("dark"), load_theme("light")
    assert set(dark.tokens) == set(light.tokens)
    for theme in (dark, light):
        assert all(QColor(value).isValid() for value in theme.tokens.values())
        sheet = build_style_sheet(theme)
        assert not re.search(r"\{\w+\}", sheet)


def test_no_code_names_a_colour() -> None:
    root = Path(diffcam_studio.__file__).parent
    for path in root.rglob("*.py"):
        found = re.findall(r"[\"'](#[0-9A-Fa-f]{6,8})[\"']", path.read_text(encoding="utf-8"))
        assert not found, f"{path.name} names {found}"


def test_every_icon_draws_something() -> None:
    names = list(icon_names())
    assert len(names) == 75  # 74 icons and the mark
    for name in names:
        image = icon_pixmap(name, "white", 16, 1.0).toImage()
        inked = sum(
            image.pixelColor(x, y).alpha() > 0
            for x in range(image.width())
            for y in range(image.height())
        )
        assert inked > 5, name
    assert asset("fonts", "Inter-OFL.txt").is_file()


def test_a_cache_that_cannot_be_written_stops_nobody(
    qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = tmp_path / "wall"
    wall.write_text("no folder can be made in a file", encoding="utf-8")
    monkeypatch.setattr(themes.platformdirs, "user_cache_path", lambda *_: wall / "cache")
    themes._sheet_icon_folder.cache_clear()
    try:
        themes.apply_theme(qapp, load_theme("dark"))
        assert QFile.exists("icon:chevron-down.svg")
    finally:
        themes._sheet_icon_folder.cache_clear()
