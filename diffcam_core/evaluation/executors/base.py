"""What an executor is: it takes items and gives outcomes, in whatever order they come.

An executor never decides what is computed. It must give one outcome for every item: an item whose
worker is lost is tried once more, by another worker, and then given back as a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from diffcam_core.evaluation.outcome import ItemFailure, ItemOutcome

ATTEMPTS: Final = 2
"""How often an item is given to a worker that is then lost."""

LOST: Final = "WorkerLost"
"""Error type of an item that took its workers with it."""

Worker = Callable[[str], ItemOutcome]
"""Evaluates one item; records what goes wrong in the outcome instead of raising it."""

MakeWorker = Callable[[], Worker]
"""Loads the model and so on, once a worker. Must be picklable for everything but `local`."""


class Executor(Protocol):
    """Does the work of an evaluation somewhere."""

    def run(self, items: Sequence[str], make_worker: MakeWorker) -> Iterator[ItemOutcome]:
        """Evaluate items.

        Closing the iterator stops the work: what is under way is lost, no process stays behind.

        Parameters
        ----------
        items : sequence of str
        make_worker : callable

        Yields
        ------
        ItemOutcome
            One for each item, as they are ready.

        Raises
        ------
        DiffcamError
            If no worker can be made at all.
        """
        ...


def lost(item: str, how: str) -> ItemOutcome:
    """Outcome of an item whose workers were lost."""
    message = f"the worker was lost {ATTEMPTS} times on this item ({how})"
    return ItemOutcome(item, failures=(ItemFailure(item, "", LOST, message),))
