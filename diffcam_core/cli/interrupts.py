"""Ctrl-C asks a job to stop after the work at hand; a second one stops at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from diffcam_core.cli import EXIT_INTERRUPTED, EXIT_TERMINATED


class StopRequest:
    """Set by the first signal; the engine asks :meth:`is_set`."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.exit_code = EXIT_INTERRUPTED

    def is_set(self) -> bool:
        """Whether the job shall stop."""
        return self._event.is_set()

    def __call__(self) -> bool:
        """The same as :meth:`is_set`."""
        return self._event.is_set()

    def set(self, number: int) -> None:
        """Note the signal."""
        if number == signal.SIGTERM:
            self.exit_code = EXIT_TERMINATED
        self._event.set()


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a :class:`StopRequest` while the block runs."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may handle signals; whoever runs us elsewhere handles them.
        yield request
        return
    before: dict[int, Any] = {}

    def handle(number: int, _frame: FrameType | None) -> None:
        request.set(number)
        signal.signal(number, before[number])
        if number == signal.SIGINT:
            sys.stderr.write("\nStopping after this step. Press Ctrl-C again to stop at once.\n")

    for wanted in (signal.SIGINT, signal.SIGTERM):
        before[wanted] = signal.signal(wanted, handle)
    try:
        yield request
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
