"""Page styles: exact column widths, type and lines of the places where figures go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from diffcam_core.errors import InputError
from diffcam_core.shipped import resource_path

Width = float | Literal["column", "full"]

MM_PER_INCH = 25.4
PT_PER_INCH = 72.0
PT = MM_PER_INCH / PT_PER_INCH
"""Millimetres in a point."""

INK = "#15171C"
QUIET = "#444A57"
TICK = "#15171C"
COMMIT = "#D9982B"
CURVES = ("#3347C4", "#CC4A1C", "#006B60", "#8E3A86", "#15171C", "#8A8F9B")
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 3), (2, 3), (8, 3, 2, 3), (1, 2), (10, 4))

SMALLEST_TYPE = 6.0
"""Points; nothing in a figure is set smaller."""


@dataclass(frozen=True)
class Style:
    """Page style.

    Parameters
    ----------
    name, title : str
    column, full : float
        Widths in millimetres of one column and of the whole text.
    faces : {"stix", "inter"}
        Typeface: STIX General, or Inter.
    size, caption_size, small_size : float
        Points: titles and row labels, caption, tick labels.
    line : float
        Points, axes and ticks.
    sheet : str
        File below ``resources/figure-styles`` with the matplotlib settings.
    """

    name: str
    title: str
    column: float
    full: float
    faces: Literal["stix", "inter"] = "stix"
    size: float = 8.0
    caption_size: float = 8.0
    small_size: float = 7.0
    line: float = 0.8
    sheet: str = "paper"

    @property
    def unit(self) -> float:
        """Millimetres that grow with the type: 1 at 8 points."""
        return self.size / 8.0

    def width(self, wanted: Width | None, default: Literal["column", "full"]) -> float:
        """Width in millimetres of a figure.

        Raises
        ------
        InputError
            If it is no width that a figure can have.
        """
        choice = default if wanted is None else wanted
        if isinstance(choice, str):
            if choice not in ("column", "full"):
                raise InputError(f"there is no width {choice!r}", "Use column, full or millimetres")
            return self.column if choice == "column" else self.full
        if not 30.0 <= choice <= 1000.0:
            raise InputError(f"a figure cannot be {choice:g} mm wide", "Use 30 to 1000 mm")
        return float(choice)


_ALL = (
    Style("acl", "ACL, two columns", 77.0, 160.0),
    Style("neurips", "NeurIPS, one column", 68.0, 139.7, size=8.5, caption_size=9.0),
    Style("nature", "Nature, two columns", 89.0, 183.0, "inter", 7.0, 7.0, 6.0, 0.5, "journal"),
    Style("slide", "Slide", 150.0, 300.0, "inter", 14.0, 14.0, 12.0, 1.2, "slide"),
)
STYLES: dict[str, Style] = {style.name: style for style in _ALL}


def style_of(name: str | Style) -> Style:
    """Return a style by its name.

    Raises
    ------
    InputError
        If there is none.
    """
    if isinstance(name, Style):
        return name
    if name not in STYLES:
        raise InputError(f"there is no figure style {name!r}", f"Use one of {', '.join(STYLES)}")
    return STYLES[name]


@lru_cache(maxsize=8)
def _sheet(path: Path) -> dict[str, Any]:
    import matplotlib

    return dict(matplotlib.rc_params_from_file(str(path), use_default_template=False))


def settings(style: Style) -> dict[str, Any]:
    """Return the matplotlib settings of a style: its defaults with our sheets on top."""
    import matplotlib

    skipped = {"backend", "backend_fallback", "interactive", "toolbar", "webagg.port"}
    plain = {k: v for k, v in matplotlib.rcParamsDefault.items() if k not in skipped}
    for name in ("common", style.sheet):
        plain.update(_sheet(resource_path(f"figure-styles/{name}.mplstyle")))
    return plain
