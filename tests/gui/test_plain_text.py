"""Strings of strangers are shown as they are, never as markup."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QTextDocument

from diffcam_studio.plain_text import tooltip


@pytest.mark.parametrize(
    "text",
    ["<h1>big</h1>", "a < b && c > d", '<img src="file:///etc/passwd">', "two\nlines", "plain"],
)
def test_tooltips_show_every_letter(qapp: object, text: str) -> None:
    document = QTextDocument()
    document.setHtml(tooltip(text))
    assert document.toPlainText() == text


def test_no_text_no_tooltip() -> None:
    assert tooltip("") == ""
