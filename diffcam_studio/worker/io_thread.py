"""One thread for file reads and refinement: the latest question wins, answers come as signals.

Questions are put into named slots (one per panel, one for the timeline, ...). A
newer question replaces an older one that waits in the same slot, so that ten
thousand moves of a slider never make a queue. Slots are served by priority.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol

from PySide6.QtCore import QObject, QThread, Signal

from diffcam_core.errors import DiffcamError
from diffcam_studio.worker.faults import fault_line
from diffcam_studio.worker.queries import Query, Refused

log = logging.getLogger(__name__)

_CACHE_LENGTH = 512


class Desk(Protocol):
    """Answers questions; lives on one thread only."""

    def answer(self, query: Query) -> Any:
        """Answer one question; raises DiffcamError."""
        ...

    def is_cacheable(self, query: Query) -> bool:
        """Whether the answer never changes."""
        ...

    def close(self) -> None:
        """Close every file."""
        ...


class IoThread(QThread):
    """A thread that answers questions at a desk; ``name`` is for the log and for debuggers.

    Signals
    -------
    answered(slot, query, answer)
        The answer, or :class:`Refused`.
    """

    answered = Signal(str, object, object)

    def __init__(self, desk: Desk, name: str = "io", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._desk = desk
        self._wake = threading.Condition()
        self._waiting: dict[str, tuple[int, int, Query]] = {}
        self._order = 0
        self._stop = False
        self._busy = False
        self._cache: OrderedDict[Hashable, Any] = OrderedDict()
        self._cache_lock = threading.Lock()

    def ask(self, slot: str, query: Query, priority: int = 5) -> None:
        """Put a question into a slot; small priorities go first.

        Safe on any thread. An answer that is in the cache is still delivered
        by the signal, never from inside this call.
        """
        with self._wake:
            self._order += 1
            self._waiting[slot] = (priority, self._order, query)
            self._wake.notify()

    def peek(self, query: Query) -> Any | None:
        """Answer from the cache, or None; costs a dictionary look-up, for the GUI thread."""
        with self._cache_lock:
            found = self._cache.get(query)
            if found is not None:
                self._cache.move_to_end(query)
            return found

    def forget(self, slot: str) -> None:
        """Drop what waits in a slot."""
        with self._wake:
            self._waiting.pop(slot, None)

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being answered."""
        with self._wake:
            return not self._waiting and not self._busy

    def pending(self) -> int:
        """How many questions wait."""
        with self._wake:
            return len(self._waiting)

    def run(self) -> None:
        """Serve questions until :meth:`close`."""
        try:
            while True:
                with self._wake:
                    while not self._waiting and not self._stop:
                        self._wake.wait()
                    if self._stop:
                        return
                    slot = min(self._waiting, key=lambda s: self._waiting[s][:2])
                    _, _, query = self._waiting.pop(slot)
                    self._busy = True
                self.answered.emit(slot, query, self._answer(query))
                with self._wake:
                    self._busy = False
        finally:
            self._desk.close()

    def stop(self) -> None:
        """End after the question at hand, without waiting for that."""
        with self._wake:
            self._stop = True
            self._waiting.clear()
            self._wake.notify()

    def close(self, timeout_ms: int = 10_000) -> bool:
        """Stop after the question at hand; True if the thread ended in time."""
        self.stop()
        return self.wait(timeout_ms)

    def _answer(self, query: Query) -> Any:
        try:
            return self._look_up(query)
        except DiffcamError as error:
            return Refused(error.cause, error.mend)
        except Exception as error:
            # Whoever asked waits for an answer, and everyone after it for this thread.
            log.exception("Could not answer %s", type(query).__name__)
            return Refused(fault_line(error))

    def _look_up(self, query: Query) -> Any:
        cached = self.peek(query)
        if cached is not None:
            return cached
        result = self._desk.answer(query)
        if self._desk.is_cacheable(query):
            with self._cache_lock:
                self._cache[query] = result
                while len(self._cache) > _CACHE_LENGTH:
                    self._cache.popitem(last=False)
        return result
