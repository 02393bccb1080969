"""Jobs as the window sees them: their requests, their live runs, and what happened so far."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QObject, Signal, Slot

from diffcam_core.events import (
    Answer,
    CanvasStep,
    Done,
    Event,
    Failure,
    MapStep,
    Notice,
    Plan,
    Progress,
)
from diffcam_studio.state.live_run import LiveRun
from diffcam_studio.state.source import RunFacts
from diffcam_studio.worker.engine_thread import Engine, JobRequest, JobRunner

log = logging.getLogger(__name__)


@dataclass
class JobState:
    """A job as the window sees it; ``waited`` if others ran when it was asked for."""

    request: JobRequest
    live: LiveRun
    started: float = 0.0
    lines: list[tuple[str, str]] = field(default_factory=list)
    chosen: tuple[int, ...] = ()
    explain_started: float = 0.0
    waited: bool = False

    @property
    def key(self) -> str:
        """Key of the live run."""
        return self.live.key


@dataclass(frozen=True, eq=False)
class Picture:
    """The image that the next run will be made on."""

    pixels: npt.NDArray[np.uint8]
    name: str
    path: str = ""
    scene: str = ""


@dataclass(frozen=True)
class JobView:
    """What the views need to know of the job that writes the shown run."""

    running: bool = False
    phase: str = ""
    share: float = 0.0
    computing: int | None = None


def free_name(folder: Path, image: str) -> Path:
    """Return a name for the run of an image that no file in the folder has."""
    stem = Path(image).stem or "run"
    clean = "".join(c if c.isalnum() or c in "-_ ." else "-" for c in stem)[:80] or "run"
    path = folder / f"{clean}.dcam"
    number = 2
    while path.exists() or path.with_name(f"{path.name}.part").exists():
        path = folder / f"{clean}-{number}.dcam"
        number += 1
    return path


def share_of(job: JobState) -> float:
    """Share of a job that is done; generating counts as a tenth."""
    progress = job.live.progress
    if progress is None or progress.total <= 0:
        return 0.0
    part = progress.done / progress.total
    spans = {"generate": (0.02, 0.08), "explain": (0.1, 0.89), "write": (0.99, 0.01)}
    start, width = spans.get(progress.phase, (0.0, 0.02))
    return start + width * part


def view_of(job: JobState | None, facts: RunFacts | None) -> JobView:
    """Return what the views must know of the shown run's job; ``facts`` are the run's."""
    if job is None:
        return JobView()
    progress = job.live.progress
    phase = progress.phase if progress is not None else ""
    computing = None
    if phase == "explain" and facts is not None and facts.computed.size:
        wanted = facts.requested_steps or tuple(range(facts.n_steps))
        computing = next((s for s in wanted if not facts.computed[s].any()
                          and facts.valid[s].any()), None)  # fmt: skip
    return JobView(True, phase, share_of(job), computing)


def line_of(event: Event) -> str:
    """Return the line that an event adds to what happened so far; most add none."""
    if isinstance(event, Plan):
        size = event.bytes_on_disk / 1e6
        valid = int(event.valid.any(axis=1).sum())
        return f"Planned: {valid} valid steps, {size:.1f} MB"
    if isinstance(event, CanvasStep):
        words = [t.strip() for t, c in zip(event.texts, event.committed, strict=True) if c]
        shown = [w for w in words if w and not w.startswith("<")]
        return f"Step {event.step}: {' '.join(shown)} written" if shown else ""
    if isinstance(event, MapStep):
        return f"Step {event.step} stored, {len(event.layers) * len(event.targets)} maps"
    if isinstance(event, Answer):
        return f"Answer: {event.text.strip()}"
    if isinstance(event, Notice):
        return event.message
    if isinstance(event, Failure):
        return f"Failed: {event.message}"
    if isinstance(event, Done):
        return "Cancelled" if event.cancelled else f"Done in {event.seconds:.0f} s"
    return ""


def seconds_per_map(job: JobState, facts: RunFacts | None) -> float | None:
    """Return how long a map took in a job that ends now; None where nothing can be said."""
    if facts is None or not job.started:
        return None
    maps = int(facts.computed.sum()) * max(1, len(facts.targets))
    seconds = time.monotonic() - job.started
    return seconds / maps if maps > 0 and seconds > 0 else None


def resuming(part: str) -> JobRequest:
    """Return the request that finishes an unfinished run from its file alone."""
    out = part.removesuffix(".part")
    return JobRequest(job=new_job(), title=Path(out).stem, prompt="", out=out, resume=part)


def new_job() -> str:
    """Return a name for a job that no other has."""
    return uuid.uuid4().hex[:12]


class Jobs(QObject):
    """The jobs of this session, from their requests to what happened in them.

    Signals
    -------
    started(job)
        A job begins.
    happened(job, event, changed)
        One engine event, and whether the live run shows something new by it.
    ended(job)
        After a job's last event.
    """

    started = Signal(object)
    happened = Signal(object, object, bool)
    ended = Signal(object)

    def __init__(self, make_runner: Callable[[], JobRunner], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.engine = Engine(make_runner)
        self.engine.started.connect(self._on_started)
        self.engine.event.connect(self._on_event)
        self.engine.finished.connect(self._on_finished)
        self.states: dict[str, JobState] = {}
        self._closed = False

    @property
    def current(self) -> JobState | None:
        """The job that runs now."""
        current = self.engine.current
        return self.states.get(current.job) if current is not None else None

    def of_run(self, key: str) -> JobState | None:
        """Return the job that writes a live run."""
        return next((job for job in self.states.values() if job.key == key), None)

    def scene_of(self, path: str) -> str:
        """A run of this session knows its scene even where the file does not say it."""
        for job in self.states.values():
            if job.request.out == path.removesuffix(".part"):
                return job.live.scene
        return ""

    def without_busy(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """Leave out the unfinished files that a job of this session is about to finish."""
        busy = {f"{job.request.out}.part" for job in self.states.values() if job.live.done is None}
        return tuple(part for part in parts if part not in busy)

    def prepare(self, request: JobRequest, picture: Picture | None) -> JobState:
        """Make the live run of a request that is about to be submitted."""
        pixels = picture.pixels if picture is not None else None
        scene = picture.scene if picture is not None else ""
        live = LiveRun(f"live:{request.job}", pixels, title=request.title, scene=scene)
        self.states[request.job] = JobState(request, live)
        return self.states[request.job]

    def discard(self, key: str) -> None:
        """Forget the job of a live run that is not wanted any more; if it waits, it never runs."""
        job = self.of_run(key)
        if job is not None:
            self.engine.remove(job.request.job)
            del self.states[job.request.job]

    def stop(self) -> None:
        """Cancel what runs, without waiting for it; nothing more is told."""
        self._closed = True
        self.engine.stop()

    def close(self) -> bool:
        """Cancel what runs; True if the engine's thread ended."""
        self.stop()
        return self.engine.close()

    @Slot(str)
    def _on_started(self, job: str) -> None:
        state = self.states[job]
        state.started = time.monotonic()
        self.started.emit(state)

    @Slot(str, object)
    def _on_event(self, job: str, event: Event) -> None:
        state = self.states.get(job)
        if state is None or self._closed:
            return
        before = state.live.version
        state.live.apply(event)
        if isinstance(event, Progress) and event.phase == "explain" and not state.explain_started:
            state.explain_started = time.monotonic()
        self.happened.emit(state, event, state.live.version != before)
        line = line_of(event)
        if line:
            state.lines.append((time.strftime("%H:%M:%S"), line))
            log.info("%s: %s", state.request.title, line)

    @Slot(str)
    def _on_finished(self, job: str) -> None:
        state = self.states.get(job)
        if state is not None and not self._closed:
            self.ended.emit(state)
