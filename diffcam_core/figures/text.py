"""Spans of text with a look: what captions, titles and labels are made of (plain data)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffcam_core.figures.styles import INK


@dataclass(frozen=True)
class Span:
    """A piece of text in one look; spaces and line ends separate words."""

    text: str
    bold: bool = False
    italic: bool = False
    colour: str = INK


Text = tuple[Span, ...]


def as_text(value: str | Span | Sequence[Span]) -> Text:
    """Return spans; a string becomes one plain span."""
    if isinstance(value, str):
        return (Span(value),) if value else ()
    return (value,) if isinstance(value, Span) else tuple(value)


def plain(text: Text) -> str:
    """Return the words without their looks."""
    return "".join(span.text for span in text)


def coloured(text: Text, colour: str) -> Text:
    """Return spans in another colour."""
    return tuple(replace(span, colour=colour) for span in text)
