"""Ties state, threads and data together: resolve what is shown, ask for it, say what changed.

The controller knows no widget. It turns wishes into state changes, state changes
into questions for the I/O thread, and answers into ``changed`` signals; the
window reads props from :mod:`presenter`.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QObject, QTimer, Signal, Slot

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
from diffcam_studio.presenter import JobView, caption_of, preset_title, scope_words
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.live_run import LiveRun
from diffcam_studio.state.settings import Places, Settings
from diffcam_studio.state.source import (
    RunFacts,
    default_layer,
    default_position,
    default_step,
)
from diffcam_studio.state.store import Store
from diffcam_studio.state.view_state import ViewState
from diffcam_studio.worker.desk import RunDesk
from diffcam_studio.worker.engine_thread import (
    CoreRunner,
    Engine,
    JobRequest,
    JobRunner,
    ModelFacts,
)
from diffcam_studio.worker.io_thread import IoThread
from diffcam_studio.worker.queries import (
    CopyQuery,
    ExportQuery,
    ImageQuery,
    LadderFrame,
    LadderQuery,
    LayersFrame,
    LayersQuery,
    LoadedImage,
    MapAddress,
    OpenedRun,
    OpenQuery,
    PanelFrame,
    PanelQuery,
    Query,
    Refused,
    Thumbnail,
    ThumbnailQuery,
    TimelineFrame,
    TimelineQuery,
    Written,
)

log = logging.getLogger(__name__)

RUN_SUFFIXES = (".dcam", ".part")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
STEPS_PER_SECOND = 5.0
_DATA_FIELDS = frozenset({"run", "step", "layer", "tokens", "grid", "method", "refinement",
                          "appearance", "panels", "active_panel", "mode"})  # fmt: skip


@dataclass
class JobState:
    """A job as the window sees it."""

    request: JobRequest
    live: LiveRun
    started: float = 0.0
    lines: list[tuple[str, str]] = field(default_factory=list)
    chosen: tuple[int, ...] = ()
    explain_started: float = 0.0

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


class Controller(QObject):
    """The application without its window.

    Signals
    -------
    changed(parts)
        Names of what must be shown anew: "state", "facts", "canvas", "timeline",
        "layers", "ladder", "runs", "job", "queue", "picture", "model", "recent".
    told(level, title, detail, action, callback)
        A message for the user, where it happened.
    """

    changed = Signal(object)
    told = Signal(str, str, str, str, object)
    demo_picture = Signal(str, object)
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
        self.thumbnails: dict[str, Thumbnail] = {}
        self.model: ModelFacts | None = None
        self.model_error = ""
        self.picture: Picture | None = None
        self.runs: dict[str, RunFacts] = {}
        self.jobs: dict[str, JobState] = {}
        self.frames: dict[str, PanelFrame | Refused] = {}
        self.fresh: set[str] = set()
        self.timeline: TimelineFrame | None = None
        self.layers: LayersFrame | None = None
        self.ladder: LadderFrame | None = None
        self.layer_metric = ""
        self.saved_at = ""
        self._asked: dict[str, Query] = {}
        self._arrived: set[str] = set()
        self._wanted_run = ""
        self._open_then: dict[str, ViewState | None] = {}
        self._resume_after: set[str] = set()
        self._desk = RunDesk()
        self.io = IoThread(self._desk)
        self.io.answered.connect(self._on_answer)
        self.engine = Engine(make_runner)
        self.engine.event.connect(self._on_event)
        self.engine.started.connect(self._on_started)
        self.engine.finished.connect(self._on_finished)
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
        current = self.engine.current
        return self.jobs.get(current.job) if current is not None else None

    @property
    def shown_job(self) -> JobState | None:
        """The job that writes the run that is shown."""
        job = self.job
        return job if job is not None and job.key == self.state.run else None

    def job_view(self) -> JobView:
        """What the views must know of the shown run's job."""
        job = self.shown_job
        if job is None:
            return JobView()
        progress = job.live.progress
        phase = progress.phase if progress is not None else ""
        computing = None
        facts = self.runs.get(job.key)
        if phase == "explain" and facts is not None and facts.computed.size:
            wanted = facts.requested_steps or tuple(range(facts.n_steps))
            computing = next((s for s in wanted if not facts.computed[s].any()
                              and facts.valid[s].any()), None)  # fmt: skip
        return JobView(True, phase, self.job_share(job), computing)

    def job_share(self, job: JobState) -> float:
        """Share of a job that is done; generating counts as a tenth."""
        progress = job.live.progress
        if progress is None or progress.total <= 0:
            return 0.0
        part = progress.done / progress.total
        spans = {"generate": (0.02, 0.08), "explain": (0.1, 0.89), "write": (0.99, 0.01)}
        start, width = spans.get(progress.phase, (0.0, 0.02))
        return start + width * part

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
            found = sorted(file.glob("*.dcam"), key=lambda p: p.stat().st_mtime)
            if not found:
                self._say("error", f"Cannot open {file.name}: there is no run in this folder",
                          "Choose a .dcam file or an image.")  # fmt: skip
                return
            file = found[-1]
        if file.suffix.lower() in RUN_SUFFIXES:
            self.open_run(str(file))
        else:
            self.load_image(str(file))

    def open_run(self, path: str, view: ViewState | None = None, *, show: bool = True) -> None:
        """Open a run file on the I/O thread and show it."""
        path = str(Path(path).expanduser().absolute())
        if show:
            self._wanted_run = path
        self._open_then[path] = view
        self.io.ask(f"open:{path}", OpenQuery(path, self._scene_of(path)), 1)

    def copy_run(self, key: str, path: str) -> None:
        """Write a copy of a finished run elsewhere, on the I/O thread."""
        self.io.ask(f"copy:{path}", CopyQuery(key, path), 6)

    def export_view(self, path: str) -> None:
        """Write what the canvas shows as a figure or as data."""
        state, facts = self.state, self.facts
        if facts is None:
            return
        version = self._version(state.run)
        panels = state.panels if state.mode != "single" else (state.panels[state.active_panel],)
        if state.mode in ("wipe", "blink", "difference"):
            panels = tuple(state.panels[i] for i in vs.compared(state))
        titled = tuple(
            (self._panel_query(panel, version), self._panel_title(panel, facts)) for panel in panels
        )
        look = state.appearance
        query = ExportQuery(
            target=path,
            panels=titled,
            caption=caption_of(state, facts),
            colour_map=look.colour_map,
            low=look.low,
            high=look.high,
            opacity=look.opacity,
            scope=scope_words(look.scope, facts),
            mode=state.mode,
            wipe=state.wipe,
            grey_image=look.grey_image,
            show_contour=look.contour,
            show_region=look.region,
        )
        self.io.ask(f"export:{path}", query, 6)

    def _panel_title(self, panel: vs.Panel, facts: RunFacts) -> str:
        step, layer, tokens, refinement = vs.resolved(self.state, panel)
        name = preset_title(refinement)
        if panel.stage is not None and self.ladder is not None:
            names = ("Raw", *(s.title for s in self.ladder.stages))
            name = names[min(panel.stage, len(names) - 1)]
        return f"{facts.phrase(tokens)}, t = {step}, layer {layer}, {name.lower()}"

    def close_run(self, key: str | None = None) -> None:
        """Take a run out of the session; a run that a job writes stays."""
        key = key or self.state.run
        job = self.job
        if job is not None and job.key == key:
            self._say("info", "The job still writes this run", "Cancel the job first.")
            return
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
            state = replace(view, run=key, page="workspace", hold="")
            state = self._fitted(state, facts)
        else:
            tokens = default_position(facts)
            layer = self.state.layer
            if layer not in facts.layers or self.state.run != key:
                layer = default_layer(facts)
            state = vs.show_run(
                self.state,
                key,
                n_steps=facts.n_steps,
                layer=layer,
                step=default_step(facts, tokens),
                tokens=tokens,
            )
        self._forget_frames()
        self.apply(state)
        self._tell("facts", "canvas", "timeline", "layers", "ladder", "runs")

    def _fitted(self, state: ViewState, facts: RunFacts) -> ViewState:
        """Keep a restored view inside the run that it is shown on."""
        tokens = tuple(t for t in state.tokens if t < facts.n_positions)
        if not set(tokens) & set(facts.targets):
            tokens = default_position(facts)
        layer = state.layer if state.layer in facts.layers else default_layer(facts)
        step = min(state.step, max(0, facts.n_steps - 1))
        return replace(state, tokens=tokens, layer=layer, step=step)

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
        job = uuid.uuid4().hex[:12]
        folder = Path(self.preferences.runs_folder or self.settings.places.runs)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._say("error", f"Cannot write runs to {folder}: {error.strerror or error}",
                      "Choose another folder.")  # fmt: skip
            return ""
        out = _free_name(folder, picture.name)
        request = JobRequest(
            job=job,
            title=Path(picture.name).stem or "run",
            prompt=prompt,
            out=str(out),
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
        out = part.removesuffix(".part")
        request = JobRequest(
            job=uuid.uuid4().hex[:12], title=Path(out).stem, prompt="", out=out, resume=part
        )
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
        key = f"live:{request.job}"
        pixels = picture.pixels if picture is not None else None
        live = LiveRun(
            key, pixels, title=request.title, scene=picture.scene if picture is not None else ""
        )
        self.jobs[request.job] = JobState(request, live)
        self._desk.add(key, live)
        self.runs[key] = live.facts()
        self.engine.submit(request)
        self._tell("runs", "queue")
        return request.job

    def cancel_job(self) -> None:
        """Cancel the running job; what is finished is kept."""
        self.engine.cancel()
        self._tell("job")

    def warm_up(self, source: str = "embedded") -> None:
        """Load a model in the background."""
        self.engine.warm_up(source)

    # --- start and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the I/O thread."""
        self.io.start()

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

    def close(self) -> bool:
        """End both threads; True if nothing was left running."""
        if self._closed:
            return True
        self._closed = True
        self._play.stop()
        self._flush.stop()
        self.save_session()
        engine = self.engine.close()
        io = self.io.close()
        return engine and io

    def add_recent(self, path: str) -> None:
        """Put a file at the top of the recent ones."""
        path = str(Path(path).absolute())
        self.recent = (path, *(p for p in self.recent if p != path))[:30]
        self._tell("recent")

    def ask_thumbnails(self, paths: tuple[str, ...]) -> None:
        """Fetch small pictures for the recent list and for recovery."""
        for path in paths:
            if path not in self.thumbnails and Path(path).exists():
                self.io.ask(f"thumb:{path}", ThumbnailQuery(path), 8)

    def ask_demo_picture(self, key: str, path: str) -> None:
        """Fetch the picture of a demo scene."""
        self.io.ask(f"demo:{key}", ImageQuery(path, 448), 7)

    def unfinished(self) -> tuple[str, ...]:
        """Run files that a killed job left, newest first."""
        folder = Path(self.preferences.runs_folder or self.settings.places.runs)
        busy = {f"{job.request.out}.part" for job in self.jobs.values() if job.live.done is None}
        try:
            found = [p for p in folder.glob("*.dcam.part") if str(p) not in busy]
            return tuple(str(p) for p in sorted(found, key=lambda p: -p.stat().st_mtime))
        except OSError:
            return ()

    def is_settled(self) -> bool:
        """Whether everything that the view needs has arrived."""
        waiting = set(self._asked) - self._arrived
        return not waiting and not self._parts and not self._open_then and self.io.is_idle()

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
        if facts is None or facts.n_steps == 0 or not facts.layers or state.page == "welcome":
            return
        version = self._version(state.run)
        letters = set()
        for panel in self._visible_panels():
            letters.add(panel.letter)
            self._want(f"panel:{panel.letter}", self._panel_query(panel, version), 2)
        for gone in set(self.frames) - {p.letter for p in state.panels}:
            self.frames.pop(gone, None)
        self.fresh &= {p.letter for p in state.panels}
        address = self._address(state.tokens, state.layer, version)
        refinement, scope = state.refinement, state.appearance.scope
        self._want("ladder", LadderQuery(address, state.step, refinement, scope), 3)
        self._want("timeline", TimelineQuery(address, refinement, scope), 4)
        layers = LayersQuery(
            replace(address, layer=facts.layers[0]), state.step, refinement, scope,
            self.layer_metric,
        )  # fmt: skip
        self._want("layers", layers, 5)
        if not facts.live:
            self._prefetch(state, facts, version)

    def _visible_panels(self) -> tuple[vs.Panel, ...]:
        state = self.state
        if state.mode == "tile":
            return state.panels
        pair = tuple(state.panels[i] for i in vs.compared(state))
        return tuple(dict.fromkeys((state.panels[state.active_panel], *pair)))

    def _panel_query(self, panel: vs.Panel, version: int) -> PanelQuery:
        state = self.state
        step, layer, tokens, refinement = vs.resolved(state, panel)
        return PanelQuery(
            self._address(tokens, layer, version),
            step,
            refinement,
            state.appearance.scope,
            panel.stage,
            True,
        )

    def _address(self, tokens: tuple[int, ...], layer: int, version: int) -> MapAddress:
        state = self.state
        return MapAddress(state.run, tokens, layer, state.grid, state.method, version)

    def _version(self, key: str) -> int:
        job = next((j for j in self.jobs.values() if j.key == key), None)
        return job.live.version if job is not None else 0

    def _want(self, slot: str, query: Query, priority: int) -> None:
        if self._asked.get(slot) == query:
            return
        self._asked[slot] = query
        self._arrived.discard(slot)
        known = self.io.peek(query)
        if known is not None:
            self.io.forget(slot)
            self._take(slot, known)
            return
        self.fresh.discard(slot.removeprefix("panel:"))
        self.io.ask(slot, query, priority)

    def _prefetch(self, state: ViewState, facts: RunFacts, version: int) -> None:
        """Have the neighbouring steps ready before anyone asks for them."""
        panel = state.panels[state.active_panel]
        if panel.step is not None:
            return
        query = self._panel_query(panel, version)
        for change in (1, -1, 2):
            step = state.step + change
            if 0 <= step < facts.n_steps:
                near = replace(query, step=step)
                if self.io.peek(near) is None:
                    self.io.ask(f"near:{change}", near, 9)

    def _forget_frames(self) -> None:
        self.frames.clear()
        self.fresh.clear()
        self._asked.clear()
        self._arrived.clear()
        self.timeline = self.layers = self.ladder = None

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
        elif kind == "thumb":
            if isinstance(answer, Thumbnail):
                self.thumbnails[rest] = answer
                self._tell("recent")
        elif kind == "demo":
            if isinstance(answer, LoadedImage):
                self.demo_picture.emit(rest, answer)
        elif kind == "picture":
            self._on_picture(query, answer)
        elif kind in ("copy", "export"):
            self._on_written(rest, answer)
        elif self._asked.get(slot) == query:
            # Anything else is stale: the view has moved on.
            self._take(slot, answer)

    def _take(self, slot: str, answer: Any) -> None:
        self._arrived.add(slot)
        kind, _, rest = slot.partition(":")
        if kind == "panel":
            self.frames[rest] = answer
            self.fresh.add(rest)
            self._tell("canvas")
            return
        value = None if isinstance(answer, Refused) else answer
        if isinstance(answer, Refused):
            log.warning("%s. %s", answer.cause, answer.mend)
        if kind == "ladder":
            self.ladder = value
        elif kind == "timeline":
            self.timeline = value
        elif kind == "layers":
            self.layers = value
        self._tell(kind)

    def _on_opened(self, path: str, answer: OpenedRun | Refused) -> None:
        view = self._open_then.pop(path, None)
        if isinstance(answer, Refused):
            self._say("error", f"Cannot open {Path(path).name}: {answer.cause}", answer.mend)
            return
        facts = answer.facts
        self.runs[path] = facts
        self.add_recent(path)
        if path in self._resume_after:
            self._resume_after.discard(path)
            self.resume_job(path)
            return
        if self._wanted_run == path:
            self._wanted_run = ""
            self.show_run(path, view)
        if not facts.complete:
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
            self._say("error", f"Cannot write {name}: {answer.cause}", answer.mend)
        else:
            folder = Path(answer.path).parent
            self._say("success", f"{name} is written", answer.detail,
                      "Show in folder", lambda: self.folder_wanted.emit(str(folder)))  # fmt: skip
        self.written.emit(path)

    def _scene_of(self, path: str) -> str:
        """A run of this session knows its scene even where the file does not say it."""
        for job in self.jobs.values():
            if job.request.out == path.removesuffix(".part"):
                return job.live.scene
        return ""

    def _on_picture(self, query: Query, answer: LoadedImage | Refused) -> None:
        path = query.path if isinstance(query, ImageQuery) else ""
        if isinstance(answer, Refused):
            self._say("error", f"Cannot open {Path(path).name}: {answer.cause}", answer.mend)
            return
        name = Path(path).name if not path.startswith("scene:") else path.replace(":", "-")
        real = "" if path.startswith("scene:") else str(Path(path).absolute())
        self.picture = Picture(answer.pixels, name, real, answer.scene)
        self._tell("picture")

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

    @Slot(str)
    def _on_started(self, job: str) -> None:
        state = self.jobs[job]
        state.started = time.monotonic()
        if (
            self.state.page == "welcome"
            or self.state.run == ""
            or self.facts is None
            or (not self.facts.live)
        ):
            self.show_run(state.key)
        self.apply(vs.set_playback(self.state, follow_job=True, playing=False))
        self._tell("job", "runs")

    @Slot(str, object)
    def _on_event(self, job: str, event: Event) -> None:
        state = self.jobs.get(job)
        if state is None or self._closed:
            return
        live = state.live
        before = live.version
        live.apply(event)
        self._note(state, event)
        if isinstance(event, Progress):
            if event.phase == "explain" and not state.explain_started:
                state.explain_started = time.monotonic()
            self._tell("job")
            return
        if live.version == before:
            return
        self.runs[live.key] = live.facts()
        parts = ["job", "runs"]
        if self.state.run == live.key:
            self._follow(live, event)
            self.ask()
            parts += ["facts", "canvas"]
        self._tell(*parts)

    def _follow(self, live: LiveRun, event: Event) -> None:
        """Keep the cursor on what the job does, until someone takes it in hand."""
        facts = self.runs[live.key]
        state = self.state
        job = self.job
        chosen_by_us = job is not None and state.tokens == job.chosen
        if isinstance(event, Plan) and facts.layers:
            state = replace(state, layer=default_layer(facts))
        if isinstance(event, (Answer, CanvasStep)) and (chosen_by_us or not state.tokens):
            best = default_position(facts) if isinstance(event, Answer) else _noun(facts, event)
            state = replace(state, tokens=best or state.tokens)
            if job is not None:
                job.chosen = state.tokens
        step = event.step if isinstance(event, (CanvasStep, MapStep)) else None
        if step is not None and state.playback.follow_job:
            state = vs.go_to_step(state, step, facts.n_steps)
        # What a job does is nothing to undo.
        self.store.apply(state, key="follow")

    def _note(self, state: JobState, event: Event) -> None:
        clock = time.strftime("%H:%M:%S")
        text = ""
        if isinstance(event, Plan):
            size = event.bytes_on_disk / 1e6
            valid = int(event.valid.any(axis=1).sum())
            text = f"Planned: {valid} valid steps, {size:.1f} MB"
        elif isinstance(event, CanvasStep):
            words = [t.strip() for t, c in zip(event.texts, event.committed, strict=True) if c]
            shown = [w for w in words if w and not w.startswith("<")]
            if shown:
                text = f"Step {event.step}: {' '.join(shown)} written"
        elif isinstance(event, MapStep):
            count = len(event.layers) * len(event.targets)
            text = f"Step {event.step} stored, {count} maps"
        elif isinstance(event, Answer):
            text = f"Answer: {event.text.strip()}"
        elif isinstance(event, Notice):
            text = event.message
            self._say("warning", event.message[:1].upper() + event.message[1:], event.mend)
        elif isinstance(event, Failure):
            text = f"Failed: {event.message}"
            self._on_failure(state, event)
        elif isinstance(event, Done):
            text = "Cancelled" if event.cancelled else f"Done in {event.seconds:.0f} s"
        if text:
            state.lines.append((clock, text))
            log.info("%s: %s", state.request.title, text)

    def _on_failure(self, state: JobState, event: Failure) -> None:
        title = f"{state.request.title} failed: {event.message}"
        if event.kept_path:
            kept = event.kept_path
            self._say("error", title, "The finished steps are kept.",
                      "Open them", lambda: self.open_run(kept))  # fmt: skip
        else:
            self._say("error", title, "")

    @Slot(str)
    def _on_finished(self, job: str) -> None:
        state = self.jobs.get(job)
        if state is None or self._closed:
            return
        live = state.live
        done = live.done
        path = done.path if done is not None else ""
        if live.failure is not None and live.failure.kept_path:
            path = live.failure.kept_path
        if done is not None and not done.cancelled:
            self._measure_speed(state)
        if path and Path(path).exists():
            self.saved_at = time.strftime("%H:%M")
            # The file takes the place of the live run; the view stays where it is.
            shown = self.state.run == live.key
            self._replace_live(live, path, shown)
        if done is not None and done.cancelled:
            kept = int(self.runs[live.key].computed.any(axis=1).sum()) if live.plan else 0
            self._say("info", "The job was cancelled", f"{kept} finished steps are kept.")
        self._tell("job", "runs", "queue")
        self.job_ended.emit(job)

    def _replace_live(self, live: LiveRun, path: str, shown: bool) -> None:
        view = self.state if shown else None
        facts = self.runs.get(live.key)
        if view is not None and facts is not None and view.playback.follow_job:
            # Nobody took the cursor in hand: end where the word was written.
            view = vs.go_to_step(view, default_step(facts, view.tokens), max(1, facts.n_steps))
        key = str(Path(path).expanduser().absolute())
        self._open_then[key] = view
        if shown:
            self._wanted_run = key
        self.io.ask(f"open:{key}", OpenQuery(key, live.scene), 1)

        def drop(opened: str) -> None:
            if opened == key:
                self.opened.disconnect(drop)
                self.runs.pop(live.key, None)
                self._tell("runs")

        self.opened.connect(drop)

    def _measure_speed(self, state: JobState) -> None:
        facts = self.runs.get(state.key)
        if facts is None or not state.started:
            return
        maps = int(facts.computed.sum()) * max(1, len(facts.targets))
        seconds = time.monotonic() - state.started
        if maps > 0 and seconds > 0:
            self.preferences = replace(self.preferences, seconds_per_map=seconds / maps)
            self._tell("model")

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
        if active not in self.fresh and not facts.live:
            return
        play = state.playback
        first = play.loop_in if play.loop_in is not None else 0
        last = play.loop_out if play.loop_out is not None else facts.n_steps - 1
        first, last = min(first, last), max(first, last)
        step = state.step + play.direction
        if not first <= step <= last:
            if play.loop:
                step = first if play.direction > 0 else last
            else:
                self.apply(vs.set_playback(state, playing=False))
                return
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


def _free_name(folder: Path, image: str) -> Path:
    stem = Path(image).stem or "run"
    clean = "".join(c if c.isalnum() or c in "-_ ." else "-" for c in stem)[:80] or "run"
    path = folder / f"{clean}.dcam"
    number = 2
    while path.exists() or path.with_name(f"{path.name}.part").exists():
        path = folder / f"{clean}-{number}.dcam"
        number += 1
    return path


def _noun(facts: RunFacts, event: CanvasStep) -> tuple[int, ...]:
    """Something to look at before the answer is there: the surest noun written so far."""
    best, found = 0.0, ()
    for word in facts.words:
        written = all(event.texts[p].strip() for p in word.positions)
        sure = float(min(event.confidence[p] for p in word.positions))
        if word.is_noun and written and sure > best:
            best, found = sure, word.positions
    return found
