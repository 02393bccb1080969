"""Standard output that says what is wrong with it: a full disk behind ``>`` is no fault of ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from diffcam_core.errors import DiffcamError


class OutputError(DiffcamError):
    """Standard output cannot be written."""


class _Told:
    """A text stream whose failures are :class:`OutputError`; a closed pipe stays what it is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text."""
        with _in_one_line():
            return self._stream.write(text)

    def flush(self) -> None:
        """Send everything on."""
        with _in_one_line():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"the output cannot be written: {error.strerror or error}",
            "Free some space, or send it elsewhere.",
        ) from error


@contextmanager
def told_output() -> Iterator[None]:
    """Raise :class:`OutputError` while the block runs if standard output cannot be written."""
    stream = sys.stdout
    sys.stdout = cast(TextIO, _Told(stream))
    try:
        yield
    finally:
        sys.stdout = stream


def forget_output() -> None:
    """Send the rest of standard output nowhere, or Python complains again when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
