"""An evaluation from plan to finished items: what is done already is left, the rest is computed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from diffcam_core.errors import CancelledError
from diffcam_core.evaluation.executors import Executor, MakeWorker
from diffcam_core.evaluation.store import Store

Progress = Callable[[int, int, float | None], None]
"""(items done, all items, seconds left or None)."""


@dataclass(frozen=True)
class Work:
    """What a call did.

    Attributes
    ----------
    computed : int
        Items of this call.
    failures : int
        Recorded in all items of the folder.
    cancelled : bool
        Items are missing because the call was stopped.
    """

    computed: int
    failures: int
    cancelled: bool


def evaluate_items(
    store: Store,
    executor: Executor,
    make_worker: MakeWorker,
    *,
    on_progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Work:
    """Compute the items that a results folder lacks, and keep each as it comes.

    Parameters
    ----------
    store : Store
    executor : Executor
    make_worker : callable
        See `executors.base`.
    on_progress : callable, optional
        At the start and after every item.
    cancel : callable, optional
        Asked after every item. What is under way then is given up, everything before is kept.
    """
    done = store.done()
    missing = [item for item in store.plan.items if item not in done]
    total, finished, computed = len(store.plan.items), len(done), 0
    begin = time.monotonic()
    cancelled = False
    tell = on_progress or (lambda *_: None)
    tell(finished, total, None)
    outcomes = executor.run(missing, make_worker)
    try:
        for outcome in outcomes:
            # Slurm's jobs keep their items themselves.
            if not store.has(outcome.item):
                store.write(outcome)
            computed += 1
            left = (time.monotonic() - begin) / computed * (len(missing) - computed)
            tell(finished + computed, total, left)
            if cancel is not None and cancel() and computed < len(missing):
                cancelled = True
                break
    except CancelledError:
        cancelled = True
    finally:
        close = getattr(outcomes, "close", None)
        if close is not None:
            close()
    return Work(computed, len(store.failures()), cancelled)
