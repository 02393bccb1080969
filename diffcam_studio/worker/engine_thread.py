"""The background thread that owns the model: jobs in, engine events out as signals.

The worker imports ``diffcam_core.engine`` inside its own thread, so the window
is up before torch is loaded. One job runs at a time; the queue lives on the GUI
thread, where it can be looked at, reordered and emptied without locks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QObject, QThread, Signal, Slot

from diffcam_core.errors import CancelledError, DiffcamError
from diffcam_core.events import Done, Event, Failure
from diffcam_studio.worker.faults import fault_line

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class JobRequest:
    """What a job shall compute.

    ``layers`` None = all; ``steps`` "all", "commit" or step numbers; ``tokens``
    None = whole answer, else words or positions. ``generation`` holds keyword
    arguments of ``GenerationConfig``. ``resume`` names a ``.part`` file to finish.
    """

    job: str
    title: str
    prompt: str
    out: str
    image: npt.NDArray[np.uint8] | None = None
    image_path: str = ""
    layers: tuple[int, ...] | None = None
    steps: str | tuple[int, ...] = "all"
    tokens: tuple[int | str, ...] | None = None
    method: str = "diffusion-cam"
    contrast: str = "none"
    model: str = "embedded"
    generation: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    resume: str = ""
    scene: str = ""


class Cancel:
    """A cancel flag that threads share; engines may call it or ask ``is_set()``."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask the job to stop after the work unit at hand."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether the job shall stop."""
        return self._event.is_set()

    def __call__(self) -> bool:
        """The same as :meth:`is_set`."""
        return self._event.is_set()


@dataclass(frozen=True)
class ModelFacts:
    """What the window may know of a loaded model; ``layers`` 0 means unknown."""

    source: str = "embedded"
    name: str = ""
    layers: int = 0
    device: str = ""
    generation: dict[str, Any] = field(default_factory=dict)
    methods: tuple[tuple[str, str], ...] = ()


class JobRunner(Protocol):
    """Runs one job on the calling thread; tests bring their own."""

    def warm_up(self, source: str) -> ModelFacts:
        """Load a model ("embedded", a folder or a hub id) and describe it."""
        ...

    def run(self, request: JobRequest, emit: Callable[[Event], None], cancel: Cancel) -> None:
        """Run to the end, sending events; raises DiffcamError."""
        ...


class _Worker(QObject):
    """Lives on the engine thread."""

    event = Signal(str, object)
    finished = Signal(str)
    warmed = Signal(object)
    refused = Signal(str)

    def __init__(self, make_runner: Callable[[], JobRunner]) -> None:
        super().__init__()
        self._make_runner = make_runner
        self._runner: JobRunner | None = None

    @Slot(str)
    def warm_up(self, source: str) -> None:
        try:
            self.warmed.emit(self._get_runner().warm_up(source))
        except DiffcamError as error:
            log.warning("The model is not ready: %s", error)
            self.refused.emit(str(error))
        except Exception as error:
            # Nobody is above this thread to hear of it; the window waits for a word.
            log.exception("The model is not ready")
            self.refused.emit(fault_line(error))

    @Slot(object, object)
    def run(self, request: JobRequest, cancel: Cancel) -> None:
        ended = False

        def emit(event: Event) -> None:
            nonlocal ended
            ended = ended or isinstance(event, (Done, Failure))
            self.event.emit(request.job, event)
            # Gives the GUI thread a chance to take the interpreter lock between two steps.
            time.sleep(0)

        started = time.monotonic()
        try:
            if cancel.is_set():
                raise CancelledError("The job was cancelled before it began")
            self._get_runner().run(request, emit, cancel)
            if not ended:
                emit(Done(request.out, seconds=time.monotonic() - started))
        except CancelledError:
            if not ended:
                kept = _kept_file(request.out)
                emit(Done(kept, cancelled=True, seconds=time.monotonic() - started))
        except DiffcamError as error:
            log.error("%s", error)
            if not ended:
                emit(Failure(type(error).__name__, str(error), _kept_file(request.out) or None))
        except Exception as error:
            # A fault of ours or of the machine: the whole story goes to the log, one line out.
            log.exception("Job %s failed", request.title)
            if not ended:
                kept = _kept_file(request.out) or None
                emit(Failure(type(error).__name__, fault_line(error), kept))
        finally:
            self.finished.emit(request.job)

    def _get_runner(self) -> JobRunner:
        if self._runner is None:
            self._runner = self._make_runner()
        return self._runner


def _kept_file(out: str) -> str:
    for candidate in (Path(out), Path(f"{out}.part")):
        if candidate.exists():
            return str(candidate)
    return ""


class CoreRunner:
    """Runs jobs with the real engine and keeps the model between jobs."""

    def __init__(self) -> None:
        self._model: Any = None
        self._source = ""

    def warm_up(self, source: str) -> ModelFacts:
        """Load a model and describe it."""
        model = self._load(source)
        from diffcam_core.engine import method_titles

        about = model.describe()
        return ModelFacts(
            source=source,
            name=str(about.get("family", model.name)),
            layers=int(about.get("layers", model.backbone.n_layers)),
            device=str(about.get("device", model.device)),
            generation=dict(model.default_generation.to_json()),
            methods=tuple(method_titles().items()),
        )

    def run(self, request: JobRequest, emit: Callable[[Event], None], cancel: Cancel) -> None:
        """Run one job with :mod:`diffcam_core.engine`."""
        # Imported here, on the engine thread: this is what brings torch in.
        from PIL import Image

        from diffcam_core import engine
        from diffcam_core.denoising.config import GenerationConfig
        from diffcam_core.images import SCENE_KEY

        model = self._load(request.model)
        if request.resume:
            engine.resume(model, request.resume, on_event=emit, cancel=cancel).close()
            return
        image: Any = request.image_path or request.image
        if request.scene and request.image is not None:
            # A drawn scene says how it was made, as one from a file would.
            image = Image.fromarray(request.image)
            image.info[SCENE_KEY] = request.scene
        generation = GenerationConfig(**request.generation) if request.generation else None
        run = engine.explain(
            model,
            image,
            request.prompt,
            layers=request.layers,
            steps=request.steps,
            tokens=request.tokens,
            method=request.method,
            contrast=request.contrast,
            generation=generation,
            seed=request.seed,
            out=request.out,
            on_event=emit,
            cancel=cancel,
            overwrite=True,
        )
        # The window reads through its own I/O thread; this handle must not stay open.
        run.close()

    def _load(self, source: str) -> Any:
        if self._model is None or self._source != source:
            import diffcam_core

            self._model = None  # free the old one before the new one takes memory
            self._model = diffcam_core.load_model(source)
            self._source = source
        return self._model


class Engine(QObject):
    """The GUI's handle on the engine thread: a queue of jobs, one at a time.

    Signals
    -------
    event(job, event)
        One engine event.
    started(job), finished(job)
        Around each job; ``finished`` comes after its last event.
    queue_changed()
        Jobs waiting were added, moved or removed.
    warmed(facts)
        A model is loaded, as :class:`ModelFacts`.
    refused(cause)
        A model could not be loaded.
    """

    event = Signal(str, object)
    started = Signal(str)
    finished = Signal(str)
    queue_changed = Signal()
    warmed = Signal(object)
    refused = Signal(str)
    _run = Signal(object, object)
    _warm = Signal(str)

    def __init__(
        self,
        make_runner: Callable[[], JobRunner] = CoreRunner,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._thread = QThread()
        self._thread.setObjectName("engine")
        self._worker = _Worker(make_runner)
        self._worker.moveToThread(self._thread)
        self._run.connect(self._worker.run)
        self._warm.connect(self._worker.warm_up)
        self._worker.event.connect(self._on_event)
        self._worker.finished.connect(self._on_finished)
        self._worker.warmed.connect(self.warmed)
        self._worker.refused.connect(self.refused)
        self._thread.finished.connect(self._worker.deleteLater)
        self._waiting: list[JobRequest] = []
        self._current: JobRequest | None = None
        self._cancel = Cancel()
        self._closed = False

    @property
    def current(self) -> JobRequest | None:
        """The job that runs now."""
        return self._current

    @property
    def waiting(self) -> tuple[JobRequest, ...]:
        """Jobs that wait, next first."""
        return tuple(self._waiting)

    @property
    def is_cancelling(self) -> bool:
        """Whether the running job was asked to stop and has not stopped yet."""
        return self._current is not None and self._cancel.is_set()

    def warm_up(self, source: str = "embedded") -> None:
        """Load a model in the background, before anyone asks for a run."""
        self._start_thread()
        self._warm.emit(source)

    def submit(self, request: JobRequest) -> None:
        """Run a job now, or after those that wait."""
        if self._closed:
            return
        self._waiting.append(request)
        self.queue_changed.emit()
        self._next()

    def cancel(self) -> None:
        """Ask the running job to stop; what is finished is kept."""
        if self._current is not None:
            self._cancel.set()

    def remove(self, job: str) -> None:
        """Take a waiting job out of the queue."""
        self._waiting = [request for request in self._waiting if request.job != job]
        self.queue_changed.emit()

    def move(self, job: str, index: int) -> None:
        """Put a waiting job at another place of the queue."""
        found = next((r for r in self._waiting if r.job == job), None)
        if found is not None:
            self._waiting.remove(found)
            self._waiting.insert(max(0, index), found)
            self.queue_changed.emit()

    def stop(self) -> None:
        """Cancel, empty the queue and ask the thread to end, without waiting for it."""
        self._closed = True
        self._waiting.clear()
        self._cancel.set()
        self._thread.quit()

    def close(self, timeout_ms: int = 30_000) -> bool:
        """Stop, and wait for the thread.

        Returns
        -------
        bool
            Whether the thread ended within the time given. If not, the thread
            is left to run: destroying a running QThread would abort the process.
        """
        self.stop()
        return not self._thread.isRunning() or self._thread.wait(timeout_ms)

    def _start_thread(self) -> None:
        if not self._thread.isRunning() and not self._closed:
            self._thread.start(QThread.Priority.LowPriority)

    def _next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        self._start_thread()
        self._current = self._waiting.pop(0)
        self._cancel = Cancel()
        self.queue_changed.emit()
        self.started.emit(self._current.job)
        self._run.emit(self._current, self._cancel)

    @Slot(str, object)
    def _on_event(self, job: str, event: Event) -> None:
        self.event.emit(job, event)

    @Slot(str)
    def _on_finished(self, job: str) -> None:
        self._current = None
        self.finished.emit(job)
        self._next()
