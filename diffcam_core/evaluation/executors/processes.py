"""Worker processes on this machine: started anew (spawn), each with its own model.

`concurrent.futures` gives up all its work when one process dies; here a dead worker is replaced and
only its item is tried again.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final

from diffcam_core.errors import DiffcamError, ResourceError
from diffcam_core.evaluation.executors.base import ATTEMPTS, MakeWorker, lost
from diffcam_core.evaluation.outcome import ItemOutcome

_READY: Final = "ready"
_OUTCOME: Final = "outcome"
_BROKEN: Final = "broken"
_GRACE: Final = 5.0  # seconds that a stopped worker gets before it is killed


@dataclass(frozen=True)
class ProcessExecutor:
    """Evaluates in worker processes.

    Parameters
    ----------
    workers : int
    """

    workers: int

    def run(self, items: Sequence[str], make_worker: MakeWorker) -> Iterator[ItemOutcome]:
        """Evaluate items; see `Executor`."""
        if not items:
            return
        pool = _Pool(items, make_worker)
        try:
            for _ in range(min(self.workers, len(items))):
                pool.start_one()
            while pool.is_busy():
                yield from pool.step()
        finally:
            pool.stop()


@dataclass(eq=False)
class _Hand:
    """A worker process as its parent sees it."""

    process: SpawnProcess
    pipe: Connection
    item: str | None = None
    ready: bool = False


class _Pool:
    def __init__(self, items: Sequence[str], make_worker: MakeWorker) -> None:
        self._make_worker = make_worker
        self._context = multiprocessing.get_context("spawn")
        self._waiting = deque(items)
        self._tries: dict[str, int] = {}
        self._hands: list[_Hand] = []
        self._stillborn = 0

    def is_busy(self) -> bool:
        return bool(self._waiting) or any(hand.item is not None for hand in self._hands)

    def start_one(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, self._make_worker), daemon=True, name="diffcam-evaluate"
        )
        process.start()
        theirs.close()
        self._hands.append(_Hand(process, ours))

    def step(self) -> Iterator[ItemOutcome]:
        """Wait until something happens, and deal with it."""
        signs: list[Any] = []
        for hand in self._hands:
            signs += [hand.pipe, hand.process.sentinel]
        happened = set(wait(signs))
        for hand in list(self._hands):
            # A worker that died right after its last word is heard first.
            if hand.pipe in happened or hand.process.sentinel in happened:
                yield from self._listen(hand)

    def stop(self) -> None:
        for hand in self._hands:
            hand.process.terminate()
        for hand in self._hands:
            hand.process.join(_GRACE)
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()
            hand.pipe.close()
        self._hands.clear()

    def _listen(self, hand: _Hand) -> Iterator[ItemOutcome]:
        kind: str | None = None
        what: Any = None
        try:
            if hand.pipe.poll():
                kind, what = hand.pipe.recv()
        except (EOFError, OSError):
            kind = None
        if kind == _OUTCOME:
            hand.item = None
            self._give(hand)
            yield what
        elif kind == _READY:
            hand.ready = True
            self._give(hand)
        elif kind == _BROKEN:
            raise what
        else:
            yield from self._bury(hand)

    def _give(self, hand: _Hand) -> None:
        if not self._waiting:
            return
        item = self._waiting.popleft()
        try:
            hand.pipe.send(item)
        except OSError:  # it has just died, as its sentinel tells us next: not the item's fault
            self._waiting.appendleft(item)
            return
        hand.item = item

    def _bury(self, hand: _Hand) -> Iterator[ItemOutcome]:
        hand.process.join(_GRACE)
        if hand.process.is_alive():  # it closed its pipe, so nothing more will come
            hand.process.kill()
            hand.process.join()
        code = hand.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        self._hands.remove(hand)
        hand.pipe.close()
        if hand.item is not None:
            tries = self._tries[hand.item] = self._tries.get(hand.item, 0) + 1
            if tries < ATTEMPTS:
                self._waiting.appendleft(hand.item)
            else:
                yield lost(hand.item, how)
        elif not hand.ready:
            self._stillborn += 1
            if self._stillborn >= ATTEMPTS:
                raise ResourceError(
                    f"a worker process ended while loading the model ({how})",
                    "Use fewer --workers, or look whether memory runs out.",
                )
        idle = sum(h.item is None for h in self._hands)
        if len(self._waiting) > idle or (self._waiting and not self._hands):
            self.start_one()
        for other in self._hands:
            if other.ready and other.item is None:
                self._give(other)


def _work(pipe: Connection, make_worker: MakeWorker) -> None:
    """Run in the worker process."""
    # Ctrl-C reaches every process of the terminal; the parent decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        worker = make_worker()
    except DiffcamError as error:
        pipe.send((_BROKEN, _portable(error)))
        return
    pipe.send((_READY, None))
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):  # the parent has gone
            return
        outcome = worker(item)
        try:
            pipe.send((_OUTCOME, outcome))
        except OSError:
            return


def _portable(error: DiffcamError) -> DiffcamError:
    """The same error, built from what its pickled form needs."""
    return type(error)(error.cause, error.mend)
