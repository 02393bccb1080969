"""Painted parts that several views share (style guide 13.3): text, chips, cells, switches, icons.

Everything is drawn from theme tokens. The functions leave the painter's state as
they found it.
"""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPainterPath, QPen

from diffcam_studio.theme import Theme, fixed_font, icon_pixmap, ui_font
from diffcam_studio.views.props import CellState, Chip

REGULAR = QFont.Weight.Normal
MEDIUM = QFont.Weight.Medium
SEMIBOLD = QFont.Weight.DemiBold
LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
CENTRE = Qt.AlignmentFlag.AlignCenter
MINUS = "\u2212"
MASK_TEXT = "\u00b7\u00b7\u00b7"
STRIPE_PERIOD = 8  # px; 2 on, 4 off measured across, at 45 degrees


@lru_cache(maxsize=64)
def _font(pixels: int, weight: int, italic: bool, strike: bool) -> QFont:
    font = ui_font(pixels, QFont.Weight(weight))
    font.setItalic(italic)
    font.setStrikeOut(strike)
    # Grid-fitted strokes come out bolder and uneven at 11 to 13 px.
    font.setHintingPreference(QFont.HintingPreference.PreferNoHinting)
    return font


def text_font(
    pixels: int = 13,
    weight: QFont.Weight = REGULAR,
    *,
    italic: bool = False,
    strike: bool = False,
) -> QFont:
    """Return a text font (shared: do not change it)."""
    return _font(pixels, int(weight.value), italic, strike)


@lru_cache(maxsize=8)
def code_font(pixels: int = 11) -> QFont:
    """Return the fixed-width font (shared: do not change it)."""
    return fixed_font(pixels)


def text_width(text: str, font: QFont) -> float:
    """Return the advance of a line of text."""
    return float(QFontMetricsF(font).horizontalAdvance(text))


def blend(a: QColor, b: QColor, t: float) -> QColor:
    """Mix two colours linearly in sRGB; ``t`` is clipped to 0..1."""
    t = min(1.0, max(0.0, t))
    return QColor.fromRgbF(
        a.redF() + (b.redF() - a.redF()) * t,
        a.greenF() + (b.greenF() - a.greenF()) * t,
        a.blueF() + (b.blueF() - a.blueF()) * t,
        a.alphaF() + (b.alphaF() - a.alphaF()) * t,
    )


def with_alpha(color: QColor, alpha: float) -> QColor:
    """Return the colour with another opacity (0..1)."""
    result = QColor(color)
    result.setAlphaF(alpha)
    return result


def signed(value: float, decimals: int) -> str:
    """Write a change: "+0.005", U+2212 for minus, no sign at zero."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0.0:
        return text
    return f"{'+' if value > 0 else MINUS}{text}"


def number(value: float, decimals: int) -> str:
    """Write a value with a fixed count of decimals and U+2212 for minus."""
    text = f"{value:.{decimals}f}"
    if text.startswith("-"):
        text = text[1:] if float(text) == 0.0 else MINUS + text[1:]
    return text


def draw_text(
    p: QPainter,
    rect: QRectF | QRect,
    text: str,
    font: QFont,
    color: QColor,
    align: Qt.AlignmentFlag = LEFT,
    *,
    elide: bool = False,
) -> None:
    """Draw one line of text."""
    p.setFont(font)
    p.setPen(color)
    if elide:
        width = QRectF(rect).width()
        text = QFontMetricsF(font).elidedText(text, Qt.TextElideMode.ElideRight, width)
    p.drawText(QRectF(rect), int(align) | int(Qt.TextFlag.TextSingleLine), text)


def draw_icon(
    p: QPainter, theme: Theme, name: str, token: str, x: float, y: float, size: int = 16
) -> None:
    """Draw an icon with its top left corner at (x, y)."""
    device = p.device()
    ratio = max(1.0, device.devicePixelRatioF() if device is not None else 1.0)
    p.drawPixmap(QPointF(x, y), icon_pixmap(name, theme[token], size, ratio))


def fitted(box: QRectF, aspect: float) -> QRectF:
    """Return the largest box of a shape (width / height) in the middle of ``box``."""
    width = min(box.width(), box.height() * aspect)
    height = min(box.height(), width / aspect)
    left = box.left() + round((box.width() - width) / 2)
    top = box.top() + round((box.height() - height) / 2)
    return QRectF(left, top, round(width), round(height))


def rounded(
    p: QPainter, rect: QRectF, radius: float, fill: QColor | None, edge: QColor | None
) -> None:
    """Draw a rounded box; the 1 px edge lies inside ``rect``."""
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    p.setPen(QPen(edge, 1) if edge is not None else Qt.PenStyle.NoPen)
    p.setBrush(fill if fill is not None else Qt.BrushStyle.NoBrush)
    box = rect.adjusted(0.5, 0.5, -0.5, -0.5) if edge is not None else rect
    p.drawRoundedRect(box, radius, radius)


def draw_focus(p: QPainter, rect: QRectF, theme: Theme, radius: float) -> None:
    """Draw the 2 px focus line inside ``rect``."""
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    p.setPen(QPen(theme.color("accent_line"), 2))
    p.setBrush(Qt.BrushStyle.NoBrush)
    p.drawRoundedRect(rect.adjusted(1, 1, -1, -1), radius, radius)


def draw_hatch(p: QPainter, rect: QRect, theme: Theme, *, phase: int = 0) -> None:
    """Fill a box with stripes, 45 degrees, that start from the same origin everywhere."""
    p.save()
    p.setClipRect(rect, Qt.ClipOperation.IntersectClip)
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    p.setPen(QPen(theme.color("hatch"), 2))
    height = rect.height()
    start = rect.left() - height - STRIPE_PERIOD + phase % STRIPE_PERIOD
    for x in range(start, rect.right() + STRIPE_PERIOD, STRIPE_PERIOD):
        p.drawLine(x, rect.bottom() + 1, x + height + 2, rect.top() - 1)
    p.restore()


def paint_cell(
    p: QPainter, rect: QRect, state: CellState, share: float, theme: Theme, phase: int = 0
) -> None:
    """Paint one cell of the lane of computed layers (style guide 8.2)."""
    p.save()
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    clip = QPainterPath()
    clip.addRoundedRect(QRectF(rect), 3, 3)
    p.setClipPath(clip, Qt.ClipOperation.IntersectClip)
    if state in ("computing", "invalid"):
        draw_hatch(p, rect, theme, phase=phase)
    filled = state in ("computed", "computing", "partly")
    if state == "computed":
        share = 1.0
    if filled and share > 0:
        height = max(1, round(rect.height() * share))
        fill = theme.color("computing" if state == "computing" else "computed")
        p.fillRect(rect.x(), rect.bottom() + 1 - height, rect.width(), height, fill)
    p.restore()
    p.save()
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    p.setBrush(Qt.BrushStyle.NoBrush)
    if state != "computed":
        edges = {"failed": "failed", "computing": "computing", "invalid": "invalid"}
        p.setPen(QPen(theme.color(edges.get(state, "border")), 1))
        p.drawRoundedRect(QRectF(rect).adjusted(0.5, 0.5, -0.5, -0.5), 3, 3)
    centre = QRectF(rect).center()
    if state == "failed":
        p.setPen(QPen(theme.color("failed_text"), 1.5))
        p.drawLine(centre + QPointF(-3, -3), centre + QPointF(3, 3))
        p.drawLine(centre + QPointF(-3, 3), centre + QPointF(3, -3))
    elif state == "queued":
        p.setPen(Qt.PenStyle.NoPen)
        p.setBrush(theme.color("text_3"))
        p.drawEllipse(centre, 1.5, 1.5)
    p.restore()


def paint_switch(
    p: QPainter, rect: QRectF, theme: Theme, *, on: bool, knob: float, enabled: bool = True
) -> None:
    """Paint a 28 x 16 switch; ``knob`` runs from 0 (off) to 1 (on) while it moves."""
    p.save()
    if on and enabled:
        rounded(p, rect, rect.height() / 2, theme.color("accent"), None)
    else:
        edge = theme.color("strong" if enabled else "line")
        rounded(p, rect, rect.height() / 2, theme.color("pressed"), edge)
    token = "text_disabled" if not enabled else "on_accent" if on else "text_2"
    p.setPen(Qt.PenStyle.NoPen)
    p.setBrush(theme.color(token))
    p.drawEllipse(QRectF(rect.x() + 2 + 12 * knob, rect.y() + 2, 12, 12))
    p.restore()


def chip_text(chip: Chip) -> str:
    """Return what stands in a chip: the word, dots while masked, a run of end marks."""
    if chip.state == "masked":
        return MASK_TEXT
    if chip.state == "end":
        return f"end \u00d7 {chip.count}" if chip.count > 1 else "end"
    text = chip.text.strip()
    return text.replace("\n", "\u21b5") if text else ("\u21b5" if "\n" in chip.text else "\u2423")


def chip_font(chip: Chip) -> QFont:
    """Return the font of a chip in its state."""
    strong = chip.selected or (chip.now and chip.state == "written")
    return text_font(
        13,
        MEDIUM if strong else REGULAR,
        italic=chip.state == "guess" and not chip.selected,
        strike=chip.state == "masked_again",
    )


def paint_chip(p: QPainter, rect: QRectF, chip: Chip, theme: Theme, *, hover: bool = False) -> None:
    """Paint one token chip (style guide 8.1); ``rect`` is 28 high."""
    p.save()
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    box = rect.adjusted(0.5, 0.5, -0.5, -0.5)
    written = chip.state == "written"
    ink = "text_1"
    if chip.selected:
        p.setPen(Qt.PenStyle.NoPen)
        p.setBrush(theme.color("accent"))
        ink = "on_accent"
        if chip.state in ("masked", "guess", "masked_again"):
            # Selected but not written yet: the dashes stay, so that the state is still read.
            p.setPen(_dashes(theme.color("on_accent")))
    elif chip.state in ("masked", "guess", "masked_again"):
        again = chip.state == "masked_again"
        p.setPen(_dashes(theme.color("warning" if again else "text_2" if hover else "strong")))
        p.setBrush(Qt.BrushStyle.NoBrush)
        ink = "warning_text" if again else "text_3"
    elif chip.state == "end":
        p.setPen(QPen(theme.color("strong" if hover else "line"), 1))
        p.setBrush(Qt.BrushStyle.NoBrush)
        ink = "text_3"
    else:
        fill = blend(theme.color("chip_low"), theme.color("chip_high"), chip.confidence)
        edge = "accent_line" if chip.same else "strong" if hover else "chip_edge"
        # On dark the edge has the colour of an empty chip and would darken a confident one.
        flat = edge == "chip_edge" and theme.color("chip_edge") == theme.color("chip_low")
        p.setPen(QPen(fill if flat else theme.color(edge), 1))
        p.setBrush(fill)
        ink = "commit_text" if chip.now else "text_1"
    p.drawRoundedRect(box, 6, 6)
    draw_text(p, rect, chip_text(chip), chip_font(chip), theme.color(ink), CENTRE)
    if chip.now and written:
        p.setPen(Qt.PenStyle.NoPen)
        p.setBrush(theme.color("commit_on_accent" if chip.selected else "commit"))
        p.drawRoundedRect(QRectF(rect.x() + 8, rect.bottom() - 4, rect.width() - 16, 2), 1, 1)
    p.restore()


def _dashes(color: QColor) -> QPen:
    pen = QPen(color, 1, Qt.PenStyle.CustomDashLine)
    pen.setDashPattern([3, 2])
    return pen
