"""A Slurm job array through submitit: every job loads the model once and takes its share of items.

Jobs and this process share the results folder, and a job keeps every item there as soon as it is
done. So nothing is lost when this process, or a job at its time limit, ends: whatever a job left
out is sent once more, one item a job, and what is still missing then is recorded as a failure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from diffcam_core.errors import DiffcamError, InputError
from diffcam_core.evaluation.executors.base import MakeWorker, lost
from diffcam_core.evaluation.outcome import ItemOutcome
from diffcam_core.evaluation.store import read_store

_LOOK_EVERY: Final = 1.0  # seconds; Slurm is asked no more often than that
_LOGS: Final = "slurm"


@dataclass(frozen=True)
class SlurmExecutor:
    """Evaluates in jobs of a cluster.

    Parameters
    ----------
    folder : path
        The results folder, on a disk that the nodes share.
    jobs : int
        Most jobs at a time, each with a part of the items.
    cluster : {"slurm", "local"}
        "local" runs the jobs as processes of this machine (submitit's own stand-in).
    gpu : bool
        Ask for one GPU a job.
    threads : int
        Processors of each job.
    minutes : int
        Time limit of a job.
    options : dict of str to str
        Further parameters of submitit, such as ``slurm_partition``.
    """

    folder: Path
    jobs: int
    cluster: str = "slurm"
    gpu: bool = False
    threads: int = 1
    minutes: int = 240
    options: dict[str, str] = field(default_factory=dict)

    def run(self, items: Sequence[str], make_worker: MakeWorker) -> Iterator[ItemOutcome]:
        """Evaluate items; see `Executor`."""
        missing = list(items)
        ended = ""
        for part in (_shares(items, self.jobs), None):
            if not missing:
                return
            shares = [[item] for item in missing] if part is None else part
            ended = yield from self._round(shares, missing, make_worker)
        for item in missing:
            yield lost(item, ended)

    def _round(
        self, shares: Sequence[Sequence[str]], missing: list[str], make_worker: MakeWorker
    ) -> Generator[ItemOutcome, None, str]:
        """Send jobs and give back what they finish, taking it from the list of missing items."""
        executor = self._executor()
        with executor.batch():
            jobs = [
                executor.submit(_evaluate, str(self.folder), list(share), make_worker)
                for share in shares
            ]
        try:
            while True:
                over = [job.done() for job in jobs]
                yield from self._take(missing)
                if all(over):
                    break
                time.sleep(_LOOK_EVERY)
        finally:
            for job in jobs:
                if not job.done():
                    job.cancel(check=False)
        return _how(jobs)

    def _take(self, missing: list[str]) -> Iterator[ItemOutcome]:
        store = read_store(self.folder)
        ready = store.done() & set(missing)
        for item in [item for item in missing if item in ready]:
            missing.remove(item)
            yield store.read(item)

    def _executor(self) -> Any:
        submitit = _submitit()
        logs = self.folder / _LOGS
        try:
            executor = submitit.AutoExecutor(folder=logs, cluster=self.cluster)
        except RuntimeError as error:
            raise InputError(
                f"Slurm cannot be used here ({error})", "Run it where sbatch is, or elsewhere."
            ) from error
        executor.update_parameters(
            timeout_min=self.minutes,
            cpus_per_task=self.threads,
            **({"gpus_per_node": 1} if self.gpu else {}),
            **({"slurm_array_parallelism": self.jobs} if self.cluster == "slurm" else {}),
            **self.options,
        )
        return executor


def _evaluate(folder: str, items: Sequence[str], make_worker: MakeWorker) -> str | None:
    """Run in the job: evaluate and keep items; return what kept it from starting."""
    try:
        worker: Callable[[str], ItemOutcome] = make_worker()
    except DiffcamError as error:
        return str(error)
    store = read_store(folder)
    for item in items:
        if not store.has(item):
            store.write(worker(item))
    return None


def _how(jobs: Sequence[Any]) -> str:
    """Why the last job ended that did not end well, in one line."""
    for job in reversed(jobs):
        error = job.exception()
        said = str(error).strip().splitlines()[-1] if error is not None else job.result()
        if said:
            return str(said)[:200]
    return "its job ended early"


def _shares(items: Sequence[str], count: int) -> list[list[str]]:
    """Deal items out, so that dear first items do not all come to one job."""
    shares = [list(items[start::count]) for start in range(min(count, len(items)))]
    return [share for share in shares if share]


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise InputError(
            "submitit is not installed", "Run pip install 'diffusion-cam-studio[slurm]'."
        ) from error
    return submitit
