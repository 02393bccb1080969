"""Actors on a Ray cluster: one for each GPU, or one for each worker on processors."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from diffcam_core.errors import DiffcamError, InputError, ResourceError
from diffcam_core.evaluation.executors.base import ATTEMPTS, MakeWorker, lost
from diffcam_core.evaluation.outcome import ItemOutcome

_PATIENCE: Final = 10.0  # seconds


@dataclass(frozen=True)
class RayExecutor:
    """Evaluates on a Ray cluster.

    Parameters
    ----------
    workers : int
        Actors. With `gpu`, 0 means one for each GPU of the cluster.
    address : str, optional
        Of a running cluster, such as "auto" or "ray://head:10001"; None: one on this machine, which
        ends with the work.
    gpu : bool
        Give every actor a GPU of its own.
    threads : int
        Processors of each actor.
    """

    workers: int
    address: str | None = None
    gpu: bool = False
    threads: int = 1

    def run(self, items: Sequence[str], make_worker: MakeWorker) -> Iterator[ItemOutcome]:
        """Evaluate items; see `Executor`."""
        if not items:
            return
        ray = _ray()
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray)
        try:
            count = self.workers or int(ray.cluster_resources().get("GPU", 0)) or 1
            pool = _Pool(ray, make_worker, items, self._options())
            try:
                for _ in range(min(count, len(items))):
                    pool.start_one()
                while pool.is_busy():
                    yield from pool.step()
            finally:
                pool.stop()
        finally:
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        try:
            _knock(self.address)
            if self.address is None:
                ray.init(
                    num_cpus=max(1, self.workers) * self.threads,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                )
            else:
                ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise InputError(
                f"no Ray cluster can be reached at {self.address or 'this machine'} ({error})",
                "Check --ray-address, or leave it out for a cluster on this machine.",
            ) from error

    def _options(self) -> dict[str, Any]:
        return {"num_cpus": self.threads, "num_gpus": 1 if self.gpu else 0, "max_restarts": 0}


class _Pool:
    def __init__(
        self, ray: Any, make_worker: MakeWorker, items: Sequence[str], options: dict[str, Any]
    ) -> None:
        self._ray = ray
        self._actor = ray.remote(_Actor).options(**options)
        self._make_worker = make_worker
        self._waiting = deque(items)
        self._tries: dict[str, int] = {}
        self._at_work: dict[Any, tuple[Any, str | None]] = {}  # reference -> actor, item
        self._idle: list[Any] = []
        self._stillborn = 0

    def is_busy(self) -> bool:
        return bool(self._waiting) or any(item is not None for _, item in self._at_work.values())

    def start_one(self) -> None:
        actor = self._actor.remote()
        self._at_work[actor.start.remote(self._make_worker)] = (actor, None)

    def step(self) -> Iterator[ItemOutcome]:
        """Wait until something is ready, and deal with it."""
        done, _ = self._ray.wait(list(self._at_work), num_returns=1)
        for reference in done:
            actor, item = self._at_work.pop(reference)
            try:
                result = self._ray.get(reference)
            except self._ray.exceptions.RayActorError as error:
                yield from self._lose(item, str(error).splitlines()[0][:120])
                continue
            if isinstance(result, DiffcamError):
                raise result
            self._give(actor)
            if item is not None:
                yield result

    def stop(self) -> None:
        for actor in {actor for actor, _ in self._at_work.values()} | set(self._idle):
            self._ray.kill(actor)
        self._at_work.clear()
        self._idle.clear()

    def _give(self, actor: Any) -> None:
        if not self._waiting:
            self._idle.append(actor)
            return
        item = self._waiting.popleft()
        self._at_work[actor.evaluate.remote(item)] = (actor, item)

    def _lose(self, item: str | None, how: str) -> Iterator[ItemOutcome]:
        if item is None:
            self._stillborn += 1
            if self._stillborn >= ATTEMPTS:
                raise ResourceError(
                    "a Ray actor was lost while loading the model",
                    "Use fewer --workers, or look whether memory runs out.",
                )
        else:
            tries = self._tries[item] = self._tries.get(item, 0) + 1
            if tries < ATTEMPTS:
                self._waiting.appendleft(item)
            else:
                yield lost(item, how)
        if self._waiting:
            if self._idle:
                self._give(self._idle.pop())
            else:
                self.start_one()


class _Actor:
    """Lives on the cluster."""

    def start(self, make_worker: MakeWorker) -> DiffcamError | None:
        """Load the model; say what keeps it from being loaded."""
        try:
            self._worker = make_worker()
        except DiffcamError as error:
            return type(error)(error.cause, error.mend)
        return None

    def evaluate(self, item: str) -> ItemOutcome:
        """Evaluate one item."""
        return self._worker(item)


def _knock(address: str | None) -> None:
    """See at once whether anybody listens; Ray itself would try for many minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "Ray is not installed", "Run pip install 'diffusion-cam-studio[ray]'."
        ) from error
    return ray
