"""Fonts, measured text and line breaking, without any state that threads would share.

Every font is a file: those of the style, which come with the program or with matplotlib, and for
characters that they lack DejaVu Sans and then a font of the system.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import LoadFlags

from diffcam_core.figures.styles import PT, Style
from diffcam_core.figures.text import Span, Text
from diffcam_core.shipped import resource_path

_WIDER = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Noto Sans",
    "Arial Unicode MS",
)
"""Families of the system that are asked, in this order, for what shipped fonts lack."""

_STIX = ("STIXGeneral.ttf", "STIXGeneralBol.ttf", "STIXGeneralItalic.ttf", "STIXGeneralBolIta.ttf")
_INTER = ("Inter-Regular.ttf", "Inter-SemiBold.ttf", "Inter-Italic.ttf", "Inter-SemiBold.ttf")
_DEJAVU = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSans-BoldOblique.ttf",
)
_MEASURE = 100.0
LEADING = 1.26
"""Distance of lines, in type sizes."""


@dataclass(frozen=True)
class Piece:
    """Text in one font, ready to be placed: advance width in millimetres."""

    text: str
    font: str
    size: float
    colour: str
    width: float


@dataclass(frozen=True)
class Line:
    """One line: words of pieces, the natural width and the width of a space, in millimetres."""

    words: tuple[tuple[Piece, ...], ...]
    space: float
    last: bool = True

    @property
    def width(self) -> float:
        """Natural width in millimetres."""
        inked = sum(piece.width for word in self.words for piece in word)
        return inked + self.space * max(0, len(self.words) - 1)


def _look(bold: bool, italic: bool) -> int:
    return (1 if bold else 0) + (2 if italic else 0)


@lru_cache(maxsize=16)
def face(style_faces: str, bold: bool, italic: bool) -> str:
    """Return the path of a style's font file."""
    if style_faces == "stix":
        shipped = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / _STIX[_look(bold, italic)]
        return os.fspath(shipped)
    return os.fspath(resource_path(f"figure-styles/{_INTER[_look(bold, italic)]}"))


@lru_cache(maxsize=8)
def _spares(bold: bool, italic: bool) -> tuple[str, ...]:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    found = [os.fspath(folder / _DEJAVU[_look(bold, italic)])]
    known = {entry.name: entry.fname for entry in reversed(font_manager.fontManager.ttflist)}
    found += [known[name] for name in _WIDER if name in known]
    return tuple(found)


def _has_all(font: str, text: str) -> bool:
    table = font_manager.get_font(font)
    return all(table.get_char_index(ord(letter)) for letter in text)


@lru_cache(maxsize=4096)
def font_for(text: str, style_faces: str, bold: bool, italic: bool) -> str:
    """Return the file of the first font that has every character of a text."""
    first = face(style_faces, bold, italic)
    if _has_all(first, text):
        return first
    return next((font for font in _spares(bold, italic) if _has_all(font, text)), first)


@lru_cache(maxsize=8192)
def _advance(text: str, font: str) -> float:
    """Advance width of a text at :data:`_MEASURE` points, kerning included."""
    table = font_manager.get_font(font)

    def inked(letters: str) -> float:
        table.set_size(_MEASURE, 72.0)
        table.set_text(letters, 0.0, flags=LoadFlags.NO_HINTING)
        return float(table.get_width_height()[0]) / 64.0

    # Between two upright letters the side bearings at both ends count too.
    guard = next((mark for mark in "|lI" if table.get_char_index(ord(mark))), text[:1])
    return inked(f"{guard}{text}{guard}") - inked(f"{guard}{guard}")


def measure(text: str, font: str, size: float) -> float:
    """Return the advance width of a text in millimetres."""
    return _advance(text, font) * size / _MEASURE * PT


def pieces_of(span: Span, style: Style, size: float) -> list[Piece]:
    """Return a span without spaces as pieces of one font each."""
    whole = font_for(span.text, style.faces, span.bold, span.italic)
    if _has_all(whole, span.text):
        parts = [(span.text, whole)]
    else:
        parts = []
        for letter in span.text:
            font = font_for(letter, style.faces, span.bold, span.italic)
            if parts and parts[-1][1] == font:
                parts[-1] = (parts[-1][0] + letter, font)
            else:
                parts.append((letter, font))
    return [Piece(text, font, size, span.colour, measure(text, font, size)) for text, font in parts]


def break_lines(text: Text, style: Style, size: float, width: float | None) -> list[Line]:
    """Break text into lines of a width in millimetres (None: only at line ends).

    A word wider than the line is cut between letters, so nothing ever leaves the page.
    """
    space = measure(" ", face(style.faces, False, False), size)
    lines: list[Line] = []
    for paragraph in _paragraphs(text):
        current: list[tuple[Piece, ...]] = []
        used = 0.0
        for word in paragraph:
            for part in _cut(word, style, size, width):
                wide = sum(piece.width for piece in part)
                if current and width is not None and used + space + wide > width + 1e-6:
                    lines.append(Line(tuple(current), space, last=False))
                    current, used = [], 0.0
                used += wide + (space if current else 0.0)
                current.append(part)
        lines.append(Line(tuple(current), space))
    return lines


def height_of(lines: list[Line], size: float) -> float:
    """Return the height in millimetres of lines, from the top of the first to below the last."""
    return len(lines) * size * LEADING * PT


def _paragraphs(text: Text) -> list[list[list[Span]]]:
    """Split spans into paragraphs of words; a word may change its look inside."""
    paragraphs: list[list[list[Span]]] = [[]]
    open_word = False
    for span in text:
        for number, line in enumerate(span.text.split("\n")):
            if number:
                paragraphs.append([])
                open_word = False
            for at, part in enumerate(line.split(" ")):
                if at:
                    open_word = False
                if not part:
                    continue
                piece = Span(part, span.bold, span.italic, span.colour)
                if open_word:
                    paragraphs[-1][-1].append(piece)
                else:
                    paragraphs[-1].append([piece])
                open_word = True
    return paragraphs


def _cut(
    word: list[Span], style: Style, size: float, width: float | None
) -> list[tuple[Piece, ...]]:
    pieces = tuple(piece for span in word for piece in pieces_of(span, style, size))
    if width is None or sum(piece.width for piece in pieces) <= width:
        return [pieces]
    parts: list[list[Piece]] = [[]]
    used = 0.0
    for span in word:
        for letter in span.text:
            (piece,) = pieces_of(Span(letter, span.bold, span.italic, span.colour), style, size)
            if parts[-1] and used + piece.width > width:
                parts.append([])
                used = 0.0
            parts[-1].append(piece)
            used += piece.width
    return [tuple(_joined(part)) for part in parts]


def _joined(letters: list[Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for piece in letters:
        last = joined[-1] if joined else None
        if last is not None and (last.font, last.colour) == (piece.font, piece.colour):
            text = last.text + piece.text
            joined[-1] = Piece(
                text, last.font, last.size, last.colour, measure(text, last.font, last.size)
            )
        else:
            joined.append(piece)
    return joined
