"""Which kinds of file can be exported."""

from __future__ import annotations

import os
from pathlib import Path

from diffcam_core.errors import InputError


def suffix_of(path: str | os.PathLike[str], allowed: tuple[str, ...], what: str) -> str:
    """Return the lower-case suffix without its dot.

    Raises
    ------
    InputError
        If it is not one of those allowed.
    """
    name = Path(path).name
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in allowed:
        known = ", ".join(f".{entry}" for entry in allowed)
        raise InputError(f"Cannot export {name}: {what} ends with {known}", "Choose one of these.")
    return suffix
