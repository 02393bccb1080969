"""Ties state, threads and data together: resolve what is shown, ask for it, say what changed.

The controller knows no widget. It turns wishes into state changes, state changes
into questions for the I/O thread, and answers into ``changed`` signals; the
window reads props from :mod:`presenter`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from diffcam_core.events import Event, Failure, Notice, Progress
from diffcam_studio.arrivals import Arrivals
from diffcam_studio.file_trouble import file_trouble
from diffcam_studio.following import followed
from diffcam_studio.jobs import (
    Jobs,
    JobState,
    JobView,
    Picture,
    free_name,
    new_job,
    resuming,
    seconds_per_map,
    view_of,
)
from diffcam_studio.landing import first_view, kept_view
from diffcam_studio.questions import export_query, neighbours_of, questions_of
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.settings import Places, Settings
from diffcam_studio.state.source import RunFacts, RunSource, default_step
from diffcam_studio.state.store import Store
from diffcam_studio.state.view_state import ViewState
from diffcam_studio.worker.desk import RunDesk
from diffcam_studio.worker.engine_thread import CoreRunner, JobRequest, JobRunner, ModelFacts
from diffcam_studio.worker.io_thread import IoThread
from diffcam_studio.worker.queries import (
    CopyQuery,
    FilesQuery,
    FolderQuery,
    FoundFiles,
    FoundRun,
    ImageQuery,
    LoadedImage,
    OpenedRun,
    OpenQuery,
    Query,
    Refused,
    Thumbnail,
    ThumbnailQuery,
    Written,
)
from diffcam_studio.worker.writing_desk import WritingDesk

log = logging.getLogger(__name__)

RUN_SUFFIXES = (".dcam", ".part")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
STEPS_PER_SECOND = 5.0
_DATA_FIELDS = frozenset({"run", "step", "layer", "tokens", "grid", "method", "refinement",
                          "appearance", "panels", "active_panel", "mode", "hold"})  # fmt: skip


class Controller(QObject):
    """The application without its window.

    Signals
    -------
    changed(parts)
        Names of what must be shown anew: "state", "facts", "canvas", "timeline",
        "layers", "ladder", "runs", "job", "queue", "picture", "model", "recent", "files".
    told(level, title, detail, action, callback)
        A message for the user, where it happened.
    """

    changed = Signal(object)
    told = Signal(str, str, str, str, object)
    demo_picture = Signal(str, object)
    demo_read = Signal(str, object)  # key, the Picture to run on or None if it cannot be read
    opened = Signal(str)
    job_ended = Signal(str)
    written = Signal(str)
    folder_wanted = Signal(str)

    def __init__(
        self,
        *,
        places: Places | None = None,
        make_runner: Callable[[], JobRunner] = CoreRunner,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.settings = Settings(places)
        view, self._restore, recent, self.preferences = self.settings.load()
        self._restored_view = view
        start = replace(
            ViewState(),
            theme=view.theme,
            docks=view.docks,
            appearance=view.appearance,
            refinement=view.refinement,
        )
        self.store = Store(start)
        self.store.listen(self._on_state)
        self.recent: tuple[str, ...] = recent
        self.files = FoundFiles()
        self.thumbnails: dict[str, Thumbnail] = {}
        self.model: ModelFacts | None = None
        self.model_error = ""
        self.picture: Picture | None = None
        self.runs: dict[str, RunFacts] = {}
        self.layer_metric = ""
        self.saved_at = ""
        self._wanted_run = ""
        self._open_then: dict[str, ViewState | None] = {}
        self._takes_over: dict[str, str] = {}
        self._folders: set[str] = set()
        self._resume_after: set[str] = set()
        # What jobs write, for both desks to read.
        self._live: dict[str, RunSource] = {}
        self.io = IoThread(RunDesk(self._live))
        self.io.answered.connect(self._on_answer)
        self.writer = IoThread(WritingDesk(self._live), "writer")
        self.writer.answered.connect(self._on_answer)
        self.arrivals = Arrivals(self.io, self._tell)
        self.jobs = Jobs(make_runner, self)
        self.jobs.started.connect(self._on_started)
        self.jobs.happened.connect(self._on_event)
        self.jobs.ended.connect(self._on_ended)
        self.engine = self.jobs.engine
        self.engine.queue_changed.connect(lambda: self._tell("queue", "runs"))
        self.engine.warmed.connect(self._on_model)
        self.engine.refused.connect(self._on_model_refused)
        self._play = QTimer(self)
        self._play.timeout.connect(self._play_on)
        self._parts: set[str] = set()
        # Several changes in one turn of the event loop are shown once.
        self._flush = QTimer(self)
        self._flush.setSingleShot(True)
        self._flush.setInterval(0)
        self._flush.timeout.connect(self._emit_changed)
        self._closed = False

    # --- what there is ----------------------------------------------------------------------------

    @property
    def state(self) -> ViewState:
        """The present view."""
        return self.store.state

    @property
    def facts(self) -> RunFacts | None:
        """The run that is shown."""
        return self.runs.get(self.state.run)

    @property
    def job(self) -> JobState | None:
        """The job that runs now."""
        return self.jobs.current

    @property
    def shown_job(self) -> JobState | None:
        """The job that writes the run that is shown."""
        job = self.job
        return job if job is not None and job.key == self.state.run else None

    @property
    def job_view(self) -> JobView:
        """What the views must know of the shown run's job."""
        return view_of(self.shown_job, self.facts)

    @property
    def runs_folder(self) -> Path:
        """Where new runs are written."""
        return Path(self.preferences.runs_folder or self.settings.places.runs)

    # --- wishes: view -----------------------------------------------------------------------------

    def apply(self, new: ViewState, key: str | None = None) -> None:
        """Make a state the present one."""
        self.store.apply(new, key=key)

    def go_to(self, step: int, *, key: str | None = "step", follow: bool = False) -> None:
        """Move the cursor; by hand this ends following the job."""
        facts = self.facts
        if facts is None or facts.n_steps == 0:
            return
        state = vs.go_to_step(self.state, step, facts.n_steps)
        if not follow and self.shown_job is not None and state.playback.follow_job:
            state = vs.set_playback(state, follow_job=False)
        self.apply(state, key)

    def select_positions(self, positions: tuple[int, ...], *, add: bool = False) -> None:
        """Select a word; positions of end marks and masked tokens select what they are."""
        if not positions:
            return
        change = vs.toggle_tokens if add else vs.select_tokens
        self.apply(change(self.state, positions))

    def select_word_at(self, position: int, *, add: bool = False) -> None:
        """Select the whole word that a position belongs to."""
        facts = self.facts
        word = facts.word_at(position) if facts is not None else None
        self.select_positions(word.positions if word is not None else (position,), add=add)

    def undo(self) -> None:
        """Take the last change of the view back."""
        self.store.undo()

    def redo(self) -> None:
        """Do it again."""
        self.store.redo()

    # --- wishes: files ----------------------------------------------------------------------------

    def open_path(self, path: str) -> None:
        """Open a run or an image; a folder offers its newest run."""
        file = Path(path).expanduser()
        if file.is_dir():
            self._folders.add(str(file))
            self.io.ask(f"folder:{file}", FolderQuery(str(file)), 1)
        elif file.suffix.lower() in RUN_SUFFIXES:
            self.open_run(str(file))
        else:
            self.load_image(str(file))

    def open_run(self, path: str, view: ViewState | None = None, *, show: bool = True) -> None:
        """Open a run file on the I/O thread and show it."""
        path = str(Path(path).expanduser().absolute())
        if show:
            self._wanted_run = path
        self._open_then[path] = view
        self.io.ask(f"open:{path}", OpenQuery(path, self.jobs.scene_of(path)), 1)

    def copy_run(self, key: str, path: str) -> None:
        """Write a copy of a finished run elsewhere, on the writing thread."""
        self.writer.ask(f"copy:{path}", CopyQuery(key, path))

    def export_view(self, path: str) -> None:
        """Write what the canvas shows as a figure or as data."""
        state, facts = self.state, self.facts
        if facts is not None:
            query = export_query(state, facts, self.arrivals.ladder, self._version(), path)
            self.writer.ask(f"export:{path}", query)

    def close_run(self, key: str | None = None) -> None:
        """Take a run out of the session, and its job out of the queue; one that runs stays."""
        key = key or self.state.run
        job = self.job
        if job is not None and job.key == key:
            self._say("info", "The job still writes this run", "Cancel the job first.")
            return
        self.jobs.discard(key)
        self._live.pop(key, None)
        self.runs.pop(key, None)
        if self.state.run == key:
            others = list(self.runs)
            if others:
                self.show_run(others[-1])
            else:
                self.apply(replace(self.state, run="", page="welcome"))
        self._tell("runs")

    def load_image(self, path: str) -> None:
        """Read an image for the next run."""
        self.io.ask("picture", ImageQuery(path), 1)

    def load_demo(self, key: str, path: str) -> None:
        """Read the picture of a demo that is to be run; :attr:`demo_read` brings it.

        It has a slot of its own: an image that is opened meanwhile is another wish.
        """
        self.io.ask(f"run-demo:{key}", ImageQuery(path), 1)

    def set_picture(self, pixels: npt.NDArray[np.uint8], name: str) -> None:
        """Take an image from the clipboard for the next run."""
        self.picture = Picture(pixels, name)
        self._tell("picture")

    def show_run(self, key: str, view: ViewState | None = None) -> None:
        """Show a run that is open."""
        facts = self.runs.get(key)
        if facts is None:
            return
        if view is not None:
            state = kept_view(view, key, facts)
        else:
            state = first_view(self.state, key, facts)
            job = self.job
            if job is not None and job.key == key:
                job.chosen = state.tokens
                state = vs.set_playback(state, follow_job=True)
        self.arrivals.clear()
        self.apply(state)
        self._tell("facts", "canvas", "timeline", "layers", "ladder", "runs")

    # --- wishes: jobs -----------------------------------------------------------------------------

    def start_job(
        self,
        *,
        prompt: str,
        picture: Picture,
        layers: tuple[int, ...] | None = None,
        steps: str | tuple[int, ...] = "all",
        tokens: tuple[int | str, ...] | None = None,
        method: str = "diffusion-cam",
        contrast: str = "none",
        generation: dict[str, Any] | None = None,
        seed: int = 0,
        model: str = "",
    ) -> str:
        """Queue a run on an image; its live run is shown when the job begins."""
        folder = self.runs_folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._say("error", f"Cannot write runs to {folder}: {error.strerror or error}",
                      "Choose another folder.")  # fmt: skip
            return ""
        request = JobRequest(
            job=new_job(),
            title=Path(picture.name).stem or "run",
            prompt=prompt,
            out=str(free_name(folder, picture.name)),
            image=picture.pixels,
            image_path=picture.path,
            layers=layers,
            steps=steps,
            tokens=tokens,
            method=method,
            contrast=contrast,
            model=model or (self.model.source if self.model is not None else "embedded"),
            generation=generation or {},
            seed=seed,
            scene=picture.scene,
        )
        return self._submit(request, picture)

    def resume_job(self, part: str) -> None:
        """Finish an unfinished run from its file alone."""
        part = str(Path(part).expanduser().absolute())
        facts = self.runs.get(part)
        if facts is None:
            # Its picture is needed first; the file is opened without showing it.
            self._resume_after.add(part)
            self.open_run(part, show=False)
            return
        request = resuming(part)
        picture = (
            Picture(facts.image, facts.title, scene=facts.scene)
            if facts.image is not None
            else None
        )
        self.runs.pop(part, None)
        self._submit(request, picture)
        if self.state.run == part:
            self.show_run(f"live:{request.job}")

    def _submit(self, request: JobRequest, picture: Picture | None) -> str:
        job = self.jobs.prepare(request, picture)
        job.waited = self.job is not None
        live = job.live
        self._live[live.key] = live
        self.runs[live.key] = live.facts()
        self.engine.submit(request)
        self._tell("runs", "queue")
        return request.job

    def cancel_job(self) -> None:
        """Cancel the running job; what is finished is kept."""
        self.engine.cancel()
        self._tell("job")

    def remove_job(self, job: str) -> None:
        """Take a waiting job out of the queue; the run that it was to write goes with it."""
        state = self.jobs.states.get(job)
        if state is not None:
            self.close_run(state.key)

    def warm_up(self, source: str = "embedded") -> None:
        """Load a model in the background."""
        self.engine.warm_up(source)

    # --- start and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads that read and write files."""
        self.io.start()
        self.writer.start()

    def restore_session(self) -> None:
        """Open what was open when the program was closed, where it was left."""
        view = self._restored_view
        runs = [p for p in self._restore if Path(p).exists()]
        for path in runs:
            shown = path == view.run
            self.open_run(path, view if shown else None, show=shown)

    def save_session(self) -> None:
        """Write view, open runs and recent files."""
        files = tuple(k for k in self.runs if not k.startswith("live:"))
        self.settings.save(self.state, files, self.recent, self.preferences)

    def stop(self) -> None:
        """Keep the session and ask every thread to end, without waiting; nothing more is told."""
        if self._closed:
            return
        self._closed = True
        self._play.stop()
        self._flush.stop()
        self.save_session()
        self.jobs.stop()
        self.io.stop()
        self.writer.stop()

    def close(self) -> bool:
        """End every thread; True if nothing was left running."""
        self.stop()
        ended = [self.jobs.close(), self.io.close(), self.writer.close()]
        return all(ended)

    def add_recent(self, path: str) -> None:
        """Put a file at the top of the recent ones."""
        path = str(Path(path).absolute())
        self.recent = (path, *(p for p in self.recent if p != path))[:30]
        self._tell("recent")

    def ask_thumbnails(self, paths: tuple[str, ...]) -> None:
        """Fetch small pictures for the recent list and for recovery."""
        for path in paths:
            if path not in self.thumbnails:
                self.io.ask(f"thumb:{path}", ThumbnailQuery(path), 8)

    def ask_demo_picture(self, key: str, path: str) -> None:
        """Fetch the picture of a demo scene."""
        self.io.ask(f"demo:{key}", ImageQuery(path, 448), 7)

    def look_for_files(self) -> None:
        """Look anew which recent files and unfinished runs there are."""
        self.io.ask("files", FilesQuery(self.recent, str(self.runs_folder)), 3)

    def unfinished(self) -> tuple[str, ...]:
        """Run files that a killed job left, newest first, as last seen."""
        return self.jobs.without_busy(self.files.unfinished)

    def is_settled(self) -> bool:
        """Whether everything that the view needs has arrived."""
        still = not self._parts and not self._open_then and not self._folders
        return still and self.arrivals.is_complete and self.io.is_idle()

    # --- state -> questions -----------------------------------------------------------------------

    def _on_state(self, old: ViewState, new: ViewState, changed: frozenset[str]) -> None:
        if old.playback != new.playback:
            self._set_playing(new)
        if changed & _DATA_FIELDS:
            self.ask()
        self._tell("state", *(["canvas"] if changed & _DATA_FIELDS else []))

    def ask(self) -> None:
        """Ask for everything that the present view needs and does not have."""
        state, facts = self.state, self.facts
        if facts is None or not facts.is_planned or state.page == "welcome":
            return
        version = self._version()
        for question in questions_of(state, facts, version, self.layer_metric):
            self.arrivals.want(question)
        self.arrivals.keep_panels({panel.letter for panel in vs.shown_panels(state)})
        if not facts.live:
            for question in neighbours_of(state, facts, version):
                self.arrivals.prefetch(question)

    def ask_anew(self) -> None:
        """Ask for everything again: something went wrong before."""
        self.arrivals.ask_anew()
        self.ask()

    def _version(self) -> int:
        job = self.jobs.of_run(self.state.run)
        return job.live.version if job is not None else 0

    # --- answers ----------------------------------------------------------------------------------

    @Slot(str, object, object)
    def _on_answer(self, slot: str, query: Query, answer: Any) -> None:
        if self._closed:
            return
        kind, _, rest = slot.partition(":")
        if kind == "near":
            return
        if kind == "open":
            self._on_opened(rest, answer)
        elif kind == "folder":
            self._on_folder(rest, answer)
        elif kind == "files":
            if isinstance(answer, FoundFiles):
                self.files = answer
                self._tell("files")
        elif kind == "thumb":
            if isinstance(answer, Thumbnail):
                self.thumbnails[rest] = answer
                self._tell("recent")
        elif kind == "demo":
            if isinstance(answer, LoadedImage):
                self.demo_picture.emit(rest, answer)
        elif kind == "run-demo":
            self.demo_read.emit(rest, self._picture_of(query, answer))
        elif kind == "picture":
            self._on_picture(query, answer)
        elif kind in ("copy", "export"):
            self._on_written(rest, answer)
        else:
            self.arrivals.take(slot, query, answer)

    def _on_folder(self, folder: str, answer: FoundRun | Refused) -> None:
        self._folders.discard(folder)
        if isinstance(answer, Refused):
            name = Path(folder).name
            self._say("error", f"Cannot open {name}: {answer.cause}", f"{answer.mend}.")
        else:
            self.open_run(answer.path)

    def _on_opened(self, path: str, answer: OpenedRun | Refused) -> None:
        view = self._open_then.pop(path, None)
        live_key = self._takes_over.pop(path, "")
        if isinstance(answer, Refused):
            self._say("error", file_trouble("open", path, answer.cause), answer.mend)
            return
        facts = answer.facts
        self.runs[path] = facts
        self.add_recent(path)
        if live_key:
            self._hand_over(live_key, path)
        if path in self._resume_after:
            self._resume_after.discard(path)
            self.resume_job(path)
            return
        if self._wanted_run == path:
            self._wanted_run = ""
            self.show_run(path, view)
        # The end of a job has said what there is to say of its file.
        if not facts.complete and not live_key:
            # After the page has changed: a message shows on the page that is open when it comes.
            done = int(facts.computed.any(axis=1).sum())
            self._say("warning", f"{facts.title} is unfinished",
                      f"{done} of {facts.n_steps} steps are safe.",
                      "Resume", lambda: self.resume_job(path))  # fmt: skip
        self._tell("runs")
        self.opened.emit(path)

    def _on_written(self, path: str, answer: Written | Refused) -> None:
        name = Path(path).name
        if isinstance(answer, Refused):
            self._say("error", file_trouble("write", path, answer.cause), answer.mend)
        else:
            folder = Path(answer.path).parent
            self._say("success", f"{name} is written", answer.detail,
                      "Show in folder", lambda: self.folder_wanted.emit(str(folder)))  # fmt: skip
        self.written.emit(path)

    def _on_picture(self, query: Query, answer: LoadedImage | Refused) -> None:
        picture = self._picture_of(query, answer)
        if picture is not None:
            self.picture = picture
            self._tell("picture")

    def _picture_of(self, query: Query, answer: LoadedImage | Refused) -> Picture | None:
        path = query.path if isinstance(query, ImageQuery) else ""
        if isinstance(answer, Refused):
            self._say("error", file_trouble("open", path, answer.cause), answer.mend)
            return None
        name = Path(path).name if not path.startswith("scene:") else path.replace(":", "-")
        real = "" if path.startswith("scene:") else str(Path(path).absolute())
        return Picture(answer.pixels, name, real, answer.scene)

    # --- engine -----------------------------------------------------------------------------------

    @Slot(object)
    def _on_model(self, facts: ModelFacts) -> None:
        self.model, self.model_error = facts, ""
        self._tell("model")

    @Slot(str)
    def _on_model_refused(self, cause: str) -> None:
        self.model_error = cause
        self._say("error", f"Cannot load the model: {cause}", "")
        self._tell("model")

    @Slot(object)
    def _on_started(self, job: JobState) -> None:
        # Who asked for a run wants to see it; one that had to wait begins behind what is explored.
        if not job.waited or self.state.page == "welcome" or self.facts is None:
            self.show_run(job.key)
        elif self.state.run == job.key:
            self.apply(vs.set_playback(self.state, follow_job=True))
        self._tell("job", "runs")

    @Slot(object, object, bool)
    def _on_event(self, job: JobState, event: Event, changed: bool) -> None:
        if isinstance(event, Notice):
            self._say("warning", event.message[:1].upper() + event.message[1:], event.mend)
        elif isinstance(event, Failure):
            self._on_failure(job, event)
        if isinstance(event, Progress):
            self._tell("job")
            return
        if not changed:
            return
        self.runs[job.key] = job.live.facts()
        parts = ["job", "runs"]
        if self.state.run == job.key:
            self._follow(job, event)
            self.ask()
            parts += ["facts", "canvas"]
        self._tell(*parts)

    def _follow(self, job: JobState, event: Event) -> None:
        free = self.state.tokens == job.chosen
        state = followed(self.state, self.runs[job.key], event, free=free)
        if state.tokens != self.state.tokens:
            job.chosen = state.tokens
        self.store.follow(state)

    def _on_failure(self, state: JobState, event: Failure) -> None:
        title = f"{state.request.title} failed: {event.message}"
        if event.kept_path:
            kept = event.kept_path
            self._say("error", title, "The finished steps are kept.",
                      "Resume", lambda: self.resume_job(kept))  # fmt: skip
        else:
            self._say("error", title, "")

    @Slot(object)
    def _on_ended(self, job: JobState) -> None:
        live = job.live
        done = live.done
        path = done.path if done is not None else ""
        if live.failure is not None and live.failure.kept_path:
            path = live.failure.kept_path
        if done is not None and not done.cancelled:
            pace = seconds_per_map(job, self.runs.get(job.key))
            if pace is not None:
                self.preferences = replace(self.preferences, seconds_per_map=pace)
                self._tell("model")
        if path and Path(path).exists():
            self.saved_at = time.strftime("%H:%M")
            key = str(Path(path).expanduser().absolute())
            self._takes_over[key] = live.key
            self._open_then[key] = None
            self.io.ask(f"open:{key}", OpenQuery(key, live.scene), 1)
        if done is not None and done.cancelled:
            self._say_cancelled(job, path)
        self._tell("job", "runs", "queue")
        self.job_ended.emit(job.request.job)

    def _say_cancelled(self, job: JobState, kept: str) -> None:
        facts = self.runs.get(job.key)
        title = f"{job.request.title} was cancelled"
        if kept and facts is not None:
            done = int(facts.computed.any(axis=1).sum())
            self._say("info", title, f"{done} of {facts.n_steps} steps are safe.",
                      "Resume", lambda: self.resume_job(kept))  # fmt: skip
        else:
            self._say("info", title, "It had no finished step.")

    def _hand_over(self, live_key: str, path: str) -> None:
        """Let a file take the place of the live run; the view stays where it is."""
        live = self.runs.pop(live_key, None)
        self._live.pop(live_key, None)
        if self.state.run != live_key:
            return
        view = self.state
        if live is not None and view.playback.follow_job:
            # Nobody took the cursor in hand: end where the word was written.
            view = vs.go_to_step(view, default_step(live, view.tokens), max(1, live.n_steps))
        self.arrivals.keep_until_new()
        self.apply(kept_view(view, path, self.runs[path]))
        self._tell("facts", "canvas", "timeline", "layers", "ladder", "runs")

    # --- playing ----------------------------------------------------------------------------------

    def _set_playing(self, state: ViewState) -> None:
        if state.playback.playing:
            self._play.start(round(1000 / (STEPS_PER_SECOND * state.playback.speed)))
        else:
            self._play.stop()

    def _play_on(self) -> None:
        """One step on, but only when the last one is on the screen: frames are never queued."""
        facts, state = self.facts, self.state
        if facts is None:
            return
        active = state.panels[state.active_panel].letter
        if active not in self.arrivals.fresh and not facts.live:
            return
        step = vs.next_step(state.playback, state.step, facts.n_steps)
        if step is None:
            self.apply(vs.set_playback(state, playing=False))
        else:
            self.go_to(step, key="play")

    # --- telling ----------------------------------------------------------------------------------

    def _tell(self, *parts: str) -> None:
        self._parts.update(parts)
        if not self._closed and not self._flush.isActive():
            self._flush.start()

    def _emit_changed(self) -> None:
        parts, self._parts = frozenset(self._parts), set()
        self.changed.emit(parts)

    def _say(
        self,
        level: str,
        title: str,
        detail: str,
        action: str = "",
        callback: Callable[[], object] | None = None,
    ) -> None:
        note = logging.ERROR if level == "error" else logging.INFO
        log.log(note, "%s. %s", title, detail)
        self.told.emit(level, title, detail, action, callback)
