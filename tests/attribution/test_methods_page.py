"""The comparison of methods in the docs says what the registry says."""

from __future__ import annotations

from pathlib import Path

from diffcam_core.attribution import METHODS
from diffcam_core.attribution.matrix import as_markdown

DOCS = Path(__file__).parents[2] / "docs"


def test_page_holds_the_matrix_of_the_registry():
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert as_markdown() in page, "run: python -m diffcam_core.attribution.matrix docs/methods.md"
    for name in METHODS:
        assert f"`{name}`" in page


def test_page_is_linked_from_the_method_page():
    assert "(methods.md)" in (DOCS / "method.md").read_text(encoding="utf-8")
