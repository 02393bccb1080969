"""Texts of strangers, shown letter by letter."""

from __future__ import annotations

from html import escape


def tooltip(text: str) -> str:
    """Markup that a tooltip shows as exactly ``text``.

    Qt guesses whether a tooltip is HTML; a prompt or file name of somebody else must never be
    (it could draw pictures or links). Always giving it escaped markup leaves nothing to guess.
    """
    return f"<span>{escape(text).replace(chr(10), '<br>')}</span>" if text else ""
