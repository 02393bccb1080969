"""What is on the screen: after each change of the controller, the props of what it touches."""

from __future__ import annotations

import psutil
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QMainWindow

from diffcam_studio.actions import Context, Registry
from diffcam_studio.controller import Controller
from diffcam_studio.presenter import canvas, docks, frame, jobs, strip, timeline, welcome
from diffcam_studio.presenter.naming import device_text
from diffcam_studio.regions import FOLD, Regions, lanes_for
from diffcam_studio.state import view_state as vs
from diffcam_studio.views.props import Readout
from diffcam_studio.views.timeline import Lane

TITLE = "Diffusion-CAM Studio"


class Screen:
    """Hands the regions of a window their props.

    Parameters
    ----------
    window
        The window, for its width and title.
    regions
        The parts that are shown.
    controller
        What they show.
    registry
        The actions, which are enabled and checked as the state has it.
    """

    def __init__(
        self, window: QMainWindow, regions: Regions, controller: Controller, registry: Registry
    ) -> None:
        self._window = window
        self._r = regions
        self._c = controller
        self._registry = registry
        self._process = psutil.Process()
        self._readout: Readout | None = None
        self._links = {"zoom": True, "cursor": True, "colour": True}
        self._columns: int | None = None
        self._lanes: tuple[Lane, ...] = ()
        self._tick = QTimer(window)
        self._tick.setInterval(1000)
        self._tick.timeout.connect(self._every_second)

    def show(self, parts: frozenset[str]) -> None:
        """Show anew what belongs to these parts of the controller."""
        state = self._c.state
        if parts & {"state", "job", "model", "runs", "facts"}:
            self.show_frame()
        if state.page == "workspace":
            self._show_workspace(parts)
        if parts & {"runs", "state", "job", "queue"}:
            self._show_runs()
        if parts & {"job", "queue", "state"}:
            self._show_job()
        if state.page == "welcome":
            if parts & {"recent", "runs"}:
                self._c.look_for_files()
            if parts & {"recent", "runs", "model", "files"}:
                self.show_welcome()

    def _show_workspace(self, parts: frozenset[str]) -> None:
        c, r = self._c, self._r
        state, facts, arrivals = c.state, c.facts, c.arrivals
        if parts & {"state", "canvas", "facts", "job"}:
            self._show_canvas()
            colours = docks.appearance_props(state, facts, arrivals.frames)
            r.inspector.set_props(appearance=colours)
        if parts & {"state", "facts"}:
            r.strip.set_props(strip.strip_props(state, facts))
        if parts & {"state", "facts", "timeline", "job"}:
            props = timeline.timeline_props(state, facts, arrivals.timeline, c.job_view)
            r.timeline.set_props(props)
        if parts & {"state", "facts", "layers"}:
            r.layer_section.set_props(docks.layer_props(state, facts, arrivals.layers))
        if parts & {"state", "facts", "ladder"}:
            panel = f"Panel {state.panels[state.active_panel].letter}"
            r.inspector.set_props(
                ladder=docks.ladder_props(state, facts, arrivals.ladder, panel),
                metrics=docks.metrics_props(arrivals.ladder),
                provenance=docks.provenance_props(state, facts, arrivals.stage_names),
            )

    # --- canvas -----------------------------------------------------------------------------------

    def _show_canvas(self) -> None:
        c = self._c
        self._r.canvas.set_props(
            canvas.canvas_props(
                c.state,
                c.facts,
                c.arrivals.frames,
                frozenset(c.arrivals.fresh),
                c.job_view,
                tuple(stage.title for stage in c.arrivals.stages),
                self._links,
                self._columns,
            )
        )

    def set_columns(self, columns: int) -> None:
        """Lay the tiles out in so many columns."""
        self._columns = columns
        self.show(frozenset({"canvas"}))

    def forget_columns(self) -> None:
        """Leave it to the canvas again how the tiles are laid out: there are others to come."""
        self._columns = None

    def set_link(self, key: str, on: bool) -> None:
        """Link "zoom", "cursor" or "colour" of all panels, or let each have its own."""
        self._links[key] = on
        self.show(frozenset({"canvas"}))

    def set_readout(self, readout: Readout | None) -> None:
        """Say what lies under the cursor."""
        self._readout = readout
        self.show_status()

    # --- frame ------------------------------------------------------------------------------------

    def show_frame(self) -> None:
        """Show page, docks, status and title."""
        r, state, facts = self._r, self._c.state, self._c.facts
        workspace = state.page == "workspace"
        index = 1 if workspace else 0
        if r.pages.currentIndex() != index:
            r.pages.setCurrentIndex(index)
            if workspace:
                r.canvas.setFocus()
            else:
                self._c.look_for_files()
                self.show_welcome()
        narrow = self._window.width() < FOLD
        r.left_dock.setVisible(workspace and state.docks.left and not narrow)
        r.right_dock.setVisible(workspace and state.docks.right)
        r.log_pane.setVisible(state.docks.log)
        self.fit_height()
        r.timeline.setVisible(workspace)
        r.bottom_dock.setVisible(workspace or state.docks.log)
        if r.timeline.is_thin != state.docks.thin_timeline:
            r.timeline.set_thin(state.docks.thin_timeline)
        r.top_bar.modes.setVisible(workspace)
        r.top_bar.modes.set_current(state.mode)
        self.show_status()
        shown = f"{facts.title} – {TITLE}" if workspace and facts is not None else TITLE
        if self._window.windowTitle() != shown:
            self._window.setWindowTitle(shown)

    def fit_height(self) -> None:
        """Give the timeline the lanes that the window has room for; a choice by hand stays."""
        lanes = lanes_for(self._window.height(), log=self._c.state.docks.log)
        if lanes != self._lanes:
            self._lanes = lanes
            self._r.timeline.set_lanes(lanes)

    def show_status(self) -> None:
        """Show the status bar."""
        c = self._c
        job = c.job
        if c.state.page == "welcome" and job is None:
            self._r.status.show_props(frame.welcome_status(c.model, c.model_error))
            return
        props = frame.workspace_status(
            c.facts,
            self._readout,
            device=self._device(),
            memory=f"{self._process.memory_info().rss / 2**20:.0f} MB",
            saved_at=c.saved_at,
        )
        if job is not None:
            waiting, pace = len(c.engine.waiting), c.preferences.seconds_per_map
            props = frame.with_job(props, job, c.runs.get(job.key), waiting, pace)
        self._r.status.show_props(props)

    def _device(self) -> str:
        model = self._c.model
        return device_text(model.device if model is not None else "cpu")

    def _show_runs(self) -> None:
        c = self._c
        by_run = {job.key: job for job in c.jobs.states.values()}
        self._r.session.show_rows(frame.session_rows(c.runs, by_run, c.job, c.state.run))

    def _show_job(self) -> None:
        c, r = self._c, self._r
        job = c.job
        shown = job is not None and job.key == c.state.run
        r.right_stack.setCurrentIndex(1 if shown else 0)
        if job is None:
            self._tick.stop()
            return
        if not self._tick.isActive():
            self._tick.start()
        if not shown:
            return
        used = self._process.memory_info().rss / 2**30
        total = psutil.virtual_memory().total / 2**30
        r.job_panel.show_job(
            jobs.job_props(
                job,
                c.runs[job.key],
                device=self._device(),
                memory=f"{used:.1f} of {total:.1f} GB",
                seconds_per_map=c.preferences.seconds_per_map,
                waiting=len(c.engine.waiting),
                cancelling=c.engine.is_cancelling,
            )
        )
        r.job_panel.show_queue(jobs.queue_rows(c.engine.waiting))
        r.job_panel.show_events(job.lines)

    def _every_second(self) -> None:
        self._show_job()
        self.show_status()

    def show_welcome(self) -> None:
        """Show recent files, unfinished runs and the model on the welcome page."""
        c, page = self._c, self._r.welcome
        c.ask_thumbnails(tuple(path for path in c.recent[:6] if path in c.files.written))
        page.show_recent(welcome.recent_rows(c.recent, c.files.written, c.thumbnails))
        unfinished = c.unfinished()
        c.ask_thumbnails(unfinished)
        page.show_recoveries(welcome.recoveries(unfinished, c.thumbnails))
        page.set_model_line(welcome.model_line(c.model, c.preferences.seconds_per_map))

    def stop(self) -> None:
        """Show nothing more: the window closes."""
        self._tick.stop()

    # --- actions ----------------------------------------------------------------------------------

    def context(self) -> Context:
        """Return what decides which actions are possible now."""
        c = self._c
        facts = c.facts
        return Context(
            page=c.state.page,
            has_run=facts is not None,
            has_steps=facts is not None and facts.is_planned,
            has_maps=facts is not None and bool(facts.computed.any()),
            job_running=c.job is not None,
            can_undo=c.store.can_undo,
            can_redo=c.store.can_redo,
            panels=len(c.state.panels),
            has_file=facts is not None and not facts.key.startswith("live:"),
        )

    def refresh_actions(self) -> None:
        """Enable, check and name the actions as the state has it."""
        c = self._c
        self._registry.refresh(self.context())
        for number, stage in enumerate(c.arrivals.stages[: vs.MAX_STAGES], 1):
            self._registry.set_title(f"view.stage_{number}", stage.title)
        self._registry.check(frame.checked_actions(c.state, c.arrivals.stages))
        self._r.top_bar.set_run_enabled(c.facts is not None or c.picture is not None)
