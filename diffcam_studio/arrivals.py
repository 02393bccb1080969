"""The answers of the I/O thread that the present view is made of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from diffcam_studio.questions import Question
from diffcam_studio.worker.io_thread import IoThread
from diffcam_studio.worker.queries import (
    LadderFrame,
    LayersFrame,
    PanelFrame,
    Query,
    Refused,
    StageFrame,
    TimelineFrame,
)

log = logging.getLogger(__name__)


class Arrivals:
    """What the present view has asked for, and what has come of it.

    Parameters
    ----------
    io
        The thread that answers.
    tell
        Called with the name of the part of the window that an answer changes.
    """

    def __init__(self, io: IoThread, tell: Callable[[str], None]) -> None:
        self._io = io
        self._tell = tell
        self.frames: dict[str, PanelFrame | Refused] = {}
        self.fresh: set[str] = set()
        self.timeline: TimelineFrame | None = None
        self.layers: LayersFrame | None = None
        self.ladder: LadderFrame | None = None
        self._asked: dict[str, Query] = {}
        self._here: set[str] = set()

    @property
    def is_complete(self) -> bool:
        """Whether everything that was asked for is here."""
        return not set(self._asked) - self._here

    @property
    def stages(self) -> tuple[StageFrame, ...]:
        """Stages of the ladder; none before it is here."""
        return self.ladder.stages if self.ladder is not None else ()

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of these stages, in the order in which they act."""
        return tuple(stage.stage for stage in self.stages)

    def want(self, question: Question) -> None:
        """Ask unless this very question was the last one in its place."""
        slot, query = question.slot, question.query
        if self._asked.get(slot) == query:
            return
        self._asked[slot] = query
        self._here.discard(slot)
        known = self._io.peek(query)
        if known is not None:
            self._io.forget(slot)
            self._put(slot, known)
            return
        self.fresh.discard(slot.removeprefix("panel:"))
        self._io.ask(slot, query, question.priority)

    def prefetch(self, question: Question) -> None:
        """Ask for something that nobody waits for yet."""
        if self._io.peek(question.query) is None:
            self._io.ask(question.slot, question.query, question.priority)

    def take(self, slot: str, query: Query, answer: Any) -> None:
        """Take an answer; one to a question that was replaced by another is left out."""
        if self._asked.get(slot) == query:
            self._put(slot, answer)

    def keep_panels(self, letters: set[str]) -> None:
        """Drop the maps of panels that are gone, and what they asked: they may come again."""
        for gone in set(self.frames) - letters:
            del self.frames[gone]
            self._asked.pop(f"panel:{gone}", None)
            self._here.discard(f"panel:{gone}")
        self.fresh &= letters

    def ask_anew(self) -> None:
        """Let every question be asked again."""
        self._asked.clear()

    def keep_until_new(self) -> None:
        """Let everything be asked again, and show what is here until the answers come."""
        self.fresh.clear()
        self._asked.clear()
        self._here.clear()

    def clear(self) -> None:
        """Forget everything: another run is shown."""
        self.keep_until_new()
        self.frames.clear()
        self.timeline = self.layers = self.ladder = None

    def _put(self, slot: str, answer: Any) -> None:
        self._here.add(slot)
        kind, _, rest = slot.partition(":")
        if kind == "panel":
            self.frames[rest] = answer
            self.fresh.add(rest)
            self._tell("canvas")
            return
        value = None if isinstance(answer, Refused) else answer
        if isinstance(answer, Refused):
            log.warning("%s. %s", answer.cause, answer.mend)
        if kind == "ladder":
            self.ladder = value
        elif kind == "timeline":
            self.timeline = value
        elif kind == "layers":
            self.layers = value
        self._tell(kind)
