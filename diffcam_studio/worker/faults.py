"""A fault of ours or of the machine, in one line for the reader; the whole story is for the log."""

from __future__ import annotations

_LONGEST = 300


def fault_line(error: Exception) -> str:
    """Return what an error says in one line; never empty, so that it is never taken for none."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
