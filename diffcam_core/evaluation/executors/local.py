"""In this process, one item after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diffcam_core.evaluation.executors.base import MakeWorker
from diffcam_core.evaluation.outcome import ItemOutcome


@dataclass(frozen=True)
class LocalExecutor:
    """Evaluates in this process."""

    def run(self, items: Sequence[str], make_worker: MakeWorker) -> Iterator[ItemOutcome]:
        """Evaluate items in their order; see `Executor`."""
        if not items:
            return
        worker = make_worker()
        for item in items:
            yield worker(item)
