"""One sentence for a file that could not be opened or written."""

from __future__ import annotations

from pathlib import Path


def file_trouble(verb: str, path: str, cause: str) -> str:
    """Return what went wrong with a file, naming it once.

    The engine's messages are whole sentences on the command line, too, so most of them name the
    file themselves; those stand alone.
    """
    name = Path(path).name
    text = cause.strip()
    if name and name in text:
        return f"{text[:1].upper()}{text[1:]}" if not text.startswith(name) else text
    return f"Cannot {verb} {name}: {text}"
