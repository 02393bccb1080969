"""A Slurm job array through submitit: every job loads the model once and takes its share of items.

Jobs and this process share the results folder, and a job keeps every item there as soon as it is
done. So nothing is lost when this process, or a job at its time limit, ends: whatever a job left
out is sent once more, one item a job, and an item at which two jobs ended is recorded as a failure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from diffcam_core.errors import DiffcamError, InputError
from diffcam_core.evaluation.executors.base import ATTEMPTS, MakeWorker, lost
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
        tries: dict[str, int] = {}
        shares = _shares(missing, self.jobs)
        while missing:
            ended = yield from self._round(shares, missing, make_worker)
            for share in shares:
                left = [item for item in share if item in missing]
                if not left:
                    continue
                # A job takes its items in order, so it ended at the first that is missing.
                tries[left[0]] = tries.get(left[0], 0) + 1
                if tries[left[0]] == ATTEMPTS:
                    missing.remove(left[0])
                    yield lost(left[0], ended)
            shares = [[item] for item in missing]

    def _round(
        self, shares: Sequence[Sequence[str]], missing: list[str], make_worker: MakeWorker
    ) -> Generator[ItemOutcome, None, str]:
        """Send jobs and give back what they finish, taking it from the list of missing items.

        Returns
        -------
        str
            How the last job ended that did not end well.
        """
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


def _evaluate(folder: str, items: Sequence[str], make_worker: MakeWorker) -> tuple[str, str] | None:
    """Run in the job: evaluate and keep items; return what kept it from starting, and the mend."""
    try:
        worker: Callable[[str], ItemOutcome] = make_worker()
    except DiffcamError as error:
        return error.cause, error.mend
    store = read_store(folder)
    for item in items:
        if not store.has(item):
            store.write(worker(item))
    return None


def _how(jobs: Sequence[Any]) -> str:
    """Say in one line how the last job ended that did not end well.

    Raises
    ------
    InputError
        If a job could not load the model: no other will.
    """
    said = ""
    for job in jobs:
        error = job.exception()
        if error is not None:
            said = (str(error).strip().splitlines() or ["its job ended early"])[-1][:200]
        elif job.result() is not None:
            cause, mend = job.result()
            raise InputError(cause, mend)
    return said


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
