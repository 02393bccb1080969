"""What the job panel says of the job that runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from diffcam_studio.jobs import JobState, share_of, view_of
from diffcam_studio.state.source import RunFacts
from diffcam_studio.views.job_panel import JobProps, QueueRow
from diffcam_studio.worker.engine_thread import JobRequest


def job_props(
    job: JobState,
    facts: RunFacts,
    *,
    device: str,
    memory: str,
    seconds_per_map: float,
    waiting: int,
    cancelling: bool,
) -> JobProps:
    """Everything about one job.

    Parameters
    ----------
    job
        The job that runs.
    facts
        What is known of its run.
    device, memory
        Where it runs and what it takes, in words.
    seconds_per_map
        How long a map took last time; 0 if that is not known.
    waiting
        How many jobs wait.
    cancelling
        Whether it was asked to stop.
    """
    position, detail = job_position(job, facts)
    progress, plan = job.live.progress, job.live.plan
    rows: list[tuple[str, str]] = []
    if progress is not None and progress.phase == "explain":
        rows.append(("Steps explained", f"{progress.done} of {progress.total}"))
        seconds = time.monotonic() - job.explain_started
        if progress.done and seconds > 0:
            rows.append(("Speed", f"{progress.done / seconds:.2f} steps per second"))
    rows += [("Device", device), ("Memory", memory)]
    kept = int(facts.computed.any(axis=1).sum()) if facts.computed.size else 0
    if plan is not None and plan.bytes_on_disk:
        safe = np.flatnonzero(facts.computed.any(axis=1))
        size = f"{plan.bytes_on_disk / 1e6:.1f} MB"
        rows.append(("On disk", f"{size}, safe to step {int(safe[-1])}" if kept else size))
    return JobProps(
        title=job.request.title,
        place=f"1 of {waiting + 1}" if waiting else "",
        left=time_left(job, facts, seconds_per_map),
        share=share_of(job),
        position=f"{position}, {detail}" if detail else position,
        elapsed=time.monotonic() - job.started if job.started else 0.0,
        rows=tuple(rows),
        promise=f"Cancelling keeps the {kept} finished steps.",
        cancelling=cancelling,
    )


def queue_rows(waiting: Sequence[JobRequest]) -> list[QueueRow]:
    """The jobs that wait, next first."""
    return [QueueRow(request.job, request.title, "", request.image) for request in waiting]


def job_position(job: JobState, facts: RunFacts | None) -> tuple[str, str]:
    """Where a job is, and a detail of it."""
    progress = job.live.progress
    if progress is None or facts is None or not facts.n_steps:
        return "Preparing", ""
    if progress.phase == "generate":
        return f"Writing step {max(0, progress.done - 1)} of 0–{facts.n_steps - 1}", ""
    if progress.phase == "explain":
        computing = view_of(job, facts).computing
        step = computing if computing is not None else facts.n_steps - 1
        return f"Step {step} of 0–{facts.n_steps - 1}", f"{len(facts.targets)} tokens"
    return {"load": "Loading the model", "write": "Closing the file"}.get(
        progress.phase, "Preparing"
    ), ""


def time_left(job: JobState, facts: RunFacts | None, seconds_per_map: float) -> float | None:
    """Seconds until a job is done; None while nothing can be said."""
    progress = job.live.progress
    if progress is not None and progress.phase == "explain":
        return progress.eta_seconds
    if facts is None or not facts.n_steps or seconds_per_map <= 0:
        return None
    tokens = len(facts.targets) or facts.n_positions
    return seconds_per_map * len(facts.layers) * facts.n_steps * tokens
