# ruff: noqa: D102 - Qt overrides keep the names and signatures of Qt
"""The window: regions, actions, and the way from the controller's changes to props."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PySide6.QtCore import QByteArray, QEvent, QSize, Qt, QTimer, QUrl
from PySide6.QtGui import (
    QCloseEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDropEvent,
    QFocusEvent,
    QGuiApplication,
    QImage,
    QKeyEvent,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QFileDialog,
    QInputDialog,
    QLineEdit,
    QMainWindow,
    QMenu,
    QMessageBox,
    QPlainTextEdit,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from diffcam_core import __version__
from diffcam_studio import presenter
from diffcam_studio.actions import Context, Registry, key_text
from diffcam_studio.chrome import (
    Message,
    MessageStack,
    SessionList,
    SessionRow,
    StatusBar,
    StatusLine,
    StatusProps,
    TopBar,
    rounded_menu,
)
from diffcam_studio.controller import IMAGE_SUFFIXES, Controller
from diffcam_studio.jobs import JobState, Picture, share_of
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import ViewState
from diffcam_studio.theme import Theme, ThemeName, app_icon, apply_theme, load_theme, system_theme
from diffcam_studio.views.canvas import Canvas
from diffcam_studio.views.controls import FocusRing, Section, set_reduce_motion, spread_theme
from diffcam_studio.views.inspector import Inspector
from diffcam_studio.views.job_panel import JobPanel, JobProps, QueueRow, clock
from diffcam_studio.views.layer_list import LayersSection
from diffcam_studio.views.log_pane import LogPane, QtLogHandler
from diffcam_studio.views.palette import Command, KeyList, Palette
from diffcam_studio.views.props import Readout
from diffcam_studio.views.run_sheet import RunSheet, RunWish, SheetFacts
from diffcam_studio.views.timeline import LANES, Lane, Timeline
from diffcam_studio.views.token_strip import TokenStrip
from diffcam_studio.views.welcome import DemoCard, RecentRow, Recovery, Welcome

log = logging.getLogger(__name__)

LEFT_WIDTH, RIGHT_WIDTH = 263, 303
NARROW_LEFT, NARROW_RIGHT = 224, 272
NARROW, FOLD = 1360, 1280
LOW, CRAMPED = 780, 700
_TYPING = (QLineEdit, QPlainTextEdit)
_HOLDS = {"hold.blink": "blink", "hold.difference": "difference", "hold.image": "image"}


class MainWindow(QMainWindow):
    """All regions of the window. State lives in the controller, looks in the theme."""

    def __init__(self, controller: Controller, demos: tuple[DemoCard, ...] = ()) -> None:
        super().__init__()
        self.controller = controller
        self.demos = {card.key: card for card in demos}
        self.demo_paths: dict[str, str] = {}
        self.theme = load_theme(self._theme_name())
        self.setWindowTitle("Diffusion-CAM Studio")
        self.setObjectName("MainWindow")
        self.setWindowIcon(app_icon())
        self.setAcceptDrops(True)
        self.resize(1440, 900)
        self.registry = Registry(self)
        self._build()
        self._connect()
        self._bind()
        self._ask_shown = False
        self._quitting = False
        self._readout: Readout | None = None
        self._links = {"zoom": True, "cursor": True, "colour": True}
        self._columns: int | None = None
        self._key_list: KeyList | None = None
        self._demo_waiting = ""
        self._tick = QTimer(self)
        self._tick.setInterval(1000)
        self._tick.timeout.connect(self._every_second)
        self._process = psutil.Process()
        hints = QGuiApplication.styleHints()
        hints.colorSchemeChanged.connect(self._system_theme_changed)
        set_reduce_motion(controller.preferences.reduce_motion)
        self._restore_window()
        self._show_state(frozenset({"state", "runs", "recent", "model", "queue", "picture"}))
        self.welcome.setFocus()

    # --- regions ----------------------------------------------------------------------------------

    def _build(self) -> None:
        theme = self.theme
        self.top_bar = TopBar(theme, self.registry)
        self.setMenuWidget(self.top_bar)
        self.welcome = Welcome(theme)
        self.canvas = Canvas(theme)
        self.strip = TokenStrip(theme)
        self.strip.setFixedHeight(84)
        workspace = QWidget()
        column = QVBoxLayout(workspace)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.canvas, 1)
        column.addWidget(self.strip)
        self.messages = MessageStack(theme, self.canvas)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.welcome)
        self.stack.addWidget(workspace)
        self.welcome_messages = MessageStack(theme, self.welcome)
        self.setCentralWidget(self.stack)

        self.session = SessionList(theme)
        self.layer_section = LayersSection(theme)
        left = QWidget()
        left.setObjectName("DockBody")
        left_column = QVBoxLayout(left)
        left_column.setContentsMargins(0, 0, 0, 0)
        left_column.setSpacing(0)
        left_column.addWidget(self.session)
        left_column.addWidget(self.layer_section)
        left_column.addStretch(1)
        self.left_scroll = _scrolled(left)
        self.left_dock = self._dock("LeftDock", "Session", self.left_scroll, LEFT_WIDTH)

        self.inspector = Inspector(theme)
        self.job_panel = JobPanel(theme)
        job_scroll = _scrolled(self.job_panel)
        self.job_panel.setObjectName("DockBody")
        self.right_stack = QStackedWidget()
        self.right_stack.addWidget(self.inspector)
        self.right_stack.addWidget(job_scroll)
        self.right_dock = self._dock("RightDock", "Appearance", self.right_stack, RIGHT_WIDTH)

        self.timeline = Timeline(theme)
        self.log_pane = LogPane(theme)
        self.log_pane.setFixedHeight(180)
        bottom = QWidget()
        bottom.setObjectName("DockBody")
        bottom_column = QVBoxLayout(bottom)
        bottom_column.setContentsMargins(0, 0, 0, 0)
        # The dock is never taller than what is in it.
        bottom_column.setSizeConstraint(QVBoxLayout.SizeConstraint.SetMinAndMaxSize)
        bottom_column.setSpacing(0)
        bottom_column.addWidget(self.log_pane)
        bottom_column.addWidget(self.timeline)
        self.log_pane.hide()
        self.bottom_dock = self._dock("BottomDock", "Timeline", bottom, 0)

        for corner in (Qt.Corner.BottomLeftCorner, Qt.Corner.BottomRightCorner):
            self.setCorner(corner, Qt.DockWidgetArea.BottomDockWidgetArea)
        self.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, self.left_dock)
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.right_dock)
        self.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, self.bottom_dock)

        self.status = StatusLine(theme)
        self.setStatusBar(StatusBar(self.status))

        self.palette_card = Palette(theme, self)
        self.run_sheet = RunSheet(theme, self)
        self.focus_ring = FocusRing(self, theme)
        self.log_handler = QtLogHandler()
        self.log_handler.bridge.logged.connect(self.log_pane.add)
        logging.getLogger("diffcam_studio").addHandler(self.log_handler)
        logging.getLogger("diffcam_core").addHandler(self.log_handler)

    def _dock(self, name: str, title: str, body: QWidget, width: int) -> QDockWidget:
        dock = QDockWidget(title, self)
        dock.setObjectName(name)
        dock.setTitleBarWidget(QWidget(dock))
        dock.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
        dock.setWidget(body)
        if width:
            body.setFixedWidth(width)
        return dock

    # --- connections ------------------------------------------------------------------------------

    def _connect(self) -> None:
        c = self.controller
        c.changed.connect(self._show_state)
        c.told.connect(self.tell)
        for name in ("diffcam_studio", "diffcam_core"):
            logging.getLogger(name).setLevel(logging.INFO)
        c.demo_picture.connect(self._on_demo_picture)
        c.job_ended.connect(self._on_job_ended)
        c.folder_wanted.connect(lambda f: QDesktopServices.openUrl(QUrl.fromLocalFile(f)))
        top = self.top_bar
        top.mode_chosen.connect(lambda mode: self.registry.trigger(f"view.{mode}"))
        top.search.connect(partial(self.registry.trigger, "edit.palette"))
        top.run_clicked.connect(partial(self.registry.trigger, "run.sheet"))
        top.run_menu.connect(self._open_run_menu)
        w = self.welcome
        w.open_image.connect(partial(self.registry.trigger, "file.open_image"))
        w.open_run.connect(partial(self.registry.trigger, "file.open_run"))
        w.open_path.connect(self.open_path)
        w.dropped.connect(self.open_paths)
        w.demo_chosen.connect(self.run_demo)
        w.show_all.connect(self._open_recent_menu)
        w.recovery_open.connect(c.open_run)
        w.recovery_resume.connect(c.resume_job)
        w.recovery_discard.connect(self._discard)
        w.link.connect(self._on_link)
        s = self.session
        s.chosen.connect(c.show_run)
        s.add_clicked.connect(partial(self.registry.trigger, "file.open"))
        s.search_clicked.connect(self._open_run_palette)
        s.close_clicked.connect(c.close_run)
        s.folded.connect(partial(self._folded, "session"))
        self.layer_section.layer_requested.connect(self._select_layer)
        self.layer_section.metric_requested.connect(self._choose_layer_metric)
        self.layer_section.folded.connect(partial(self._folded, "layers"))
        self._connect_canvas()
        t = self.timeline
        t.step_requested.connect(c.go_to)
        t.step_settled.connect(lambda _step: c.store.end_gesture())
        t.commit_clicked.connect(self._on_commit)
        t.compute_requested.connect(self._compute_step)
        t.play_toggled.connect(lambda on: self._play(on))
        t.loop_toggled.connect(lambda on: c.apply(vs.set_playback(c.state, loop=on)))
        t.loop_changed.connect(self._set_loop)
        t.speed_changed.connect(lambda v: c.apply(vs.set_playback(c.state, speed=v)))
        t.follow_toggled.connect(self._follow)
        t.marker_toggled.connect(self._toggle_marker)
        t.thin_toggled.connect(self._thin)
        self.strip.token_clicked.connect(self._on_token)
        self.strip.end_run_clicked.connect(lambda p: c.select_positions((p,)))
        self._connect_inspector()
        j = self.job_panel
        j.cancel.connect(partial(self.registry.trigger, "run.cancel"))
        j.remove.connect(c.engine.remove)
        j.add.connect(partial(self.registry.trigger, "run.sheet"))
        self.status.cancel.connect(partial(self.registry.trigger, "run.cancel"))
        self.status.log_clicked.connect(partial(self.registry.trigger, "view.log"))
        self.log_pane.close_clicked.connect(partial(self.registry.trigger, "view.log"))
        self.palette_card.chosen.connect(self._on_command)
        self.run_sheet.run_requested.connect(self._on_wish)
        self.run_sheet.choose_image.connect(partial(self.registry.trigger, "file.open_image"))

    def _connect_canvas(self) -> None:
        c, canvas = self.controller, self.canvas
        canvas.panel_activated.connect(lambda i: c.apply(vs.activate_panel(c.state, i)))
        canvas.panel_toggled.connect(self._on_panel_toggled)
        canvas.panel_asked.connect(self._on_panel_asked)
        canvas.action_requested.connect(self._on_canvas_action)
        canvas.cursor_moved.connect(self._on_cursor)
        canvas.wipe_moved.connect(lambda v: c.apply(replace(c.state, wipe=v), "wipe"))
        canvas.split_requested.connect(self._split_by)
        canvas.grid_requested.connect(self._set_grid)
        canvas.link_toggled.connect(self._set_link)
        canvas.peek_changed.connect(self._on_peek)

    def _connect_inspector(self) -> None:
        c = self.controller
        look = self.inspector.appearance
        end = c.store.end_gesture
        look.cmap_requested.connect(
            lambda name: c.apply(vs.set_appearance(c.state, colour_map=name))
        )
        look.opacity_changed.connect(
            lambda v: c.apply(vs.set_appearance(c.state, opacity=v), "opacity")
        )
        look.opacity_settled.connect(lambda _v: end())
        look.range_changed.connect(
            lambda lo, hi: c.apply(vs.set_appearance(c.state, low=lo, high=hi), "range")
        )
        look.range_settled.connect(lambda _lo, _hi: end())
        look.normalise_requested.connect(
            lambda scope: c.apply(vs.set_appearance(c.state, scope=scope))
        )
        ladder = self.inspector.ladder
        ladder.preset_requested.connect(lambda name: c.apply(vs.set_preset(c.state, name)))
        ladder.stage_toggled.connect(lambda stage, on: c.apply(vs.switch_stage(c.state, stage, on)))
        ladder.parameter_changed.connect(self._change_parameter)
        ladder.parameter_settled.connect(lambda *_: end())
        self.inspector.provenance.copy_requested.connect(self._copy_text)
        sections: dict[str, Section] = {
            "appearance": look,
            "refinement": ladder,
            "metrics": self.inspector.metrics,
            "provenance": self.inspector.provenance,
        }
        for name, section in sections.items():
            section.set_open(name not in c.state.docks.folded)
            section.folded.connect(partial(self._folded, name))

    def _bind(self) -> None:
        c = self.controller
        scope = c.apply
        bound: dict[str, Callable[[], object]] = {
            "file.open": partial(self._ask_open, "any"),
            "file.open_image": partial(self._ask_open, "image"),
            "file.open_run": partial(self._ask_open, "run"),
            "file.paste": self._paste,
            "file.save": self._save,
            "file.save_as": self._save_as,
            "file.close_run": lambda: c.close_run(),
            "file.welcome": lambda: scope(replace(c.state, page="welcome")),
            "file.quit": self.close,
            "edit.undo": c.undo,
            "edit.redo": c.redo,
            "edit.copy_panel": self._copy_panel,
            "edit.copy_code": self._copy_code,
            "edit.swap": lambda: scope(vs.swap_panels(c.state)),
            "edit.palette": self.open_palette,
            "view.split": lambda: scope(vs.split_panel(c.state)),
            "view.close_panel": lambda: scope(vs.close_panel(c.state)),
            "view.pin": lambda: scope(vs.toggle_pin(c.state)),
            "view.link": lambda: scope(vs.toggle_link(c.state)),
            "view.fit": self.canvas.fit,
            "view.zoom_selection": self._zoom_selection,
            "view.opacity_less": partial(self._more_opacity, -0.05),
            "view.opacity_more": partial(self._more_opacity, 0.05),
            "view.range_less": lambda: scope(vs.scale_range(c.state, 0.9), "range-key"),
            "view.range_more": lambda: scope(vs.scale_range(c.state, 1 / 0.9), "range-key"),
            "view.scope": lambda: scope(vs.next_scope(c.state)),
            "view.colour_bar": partial(self._flip, "colour_bar"),
            "view.contour": partial(self._flip, "contour"),
            "view.region": partial(self._flip, "region"),
            "view.grey": partial(self._flip, "grey_image"),
            "view.raw": lambda: scope(vs.set_raw(c.state, not c.state.refinement.raw)),
            "view.left": lambda: scope(vs.toggle_dock(c.state, "left")),
            "view.right": lambda: scope(vs.toggle_dock(c.state, "right")),
            "view.log": lambda: scope(vs.toggle_dock(c.state, "log")),
            "view.thin": lambda: self._thin(not c.state.docks.thin_timeline),
            "view.next_pane": self._next_pane,
            "run.sheet": self.open_run_sheet,
            "run.cancel": c.cancel_job,
            "run.play": lambda: self._play(not c.state.playback.playing),
            "run.step_back": lambda: c.go_to(c.state.step - 1),
            "run.step_forward": lambda: c.go_to(c.state.step + 1),
            "run.previous_computed": partial(self._next_computed, -1),
            "run.next_computed": partial(self._next_computed, 1),
            "run.previous_commit": partial(self._next_commit, -1),
            "run.next_commit": partial(self._next_commit, 1),
            "run.first": partial(self._end_step, 0),
            "run.last": partial(self._end_step, -1),
            "run.word_step": self._word_step,
            "run.shuttle_back": partial(self._shuttle, -1),
            "run.shuttle_stop": lambda: self._play(False),
            "run.shuttle_forward": partial(self._shuttle, 1),
            "run.loop": lambda: scope(vs.set_playback(c.state, loop=not c.state.playback.loop)),
            "run.loop_in": partial(self._loop_end, "loop_in"),
            "run.loop_out": partial(self._loop_end, "loop_out"),
            "run.marker": lambda: scope(vs.toggle_marker(c.state)),
            "run.go_to": self._ask_step,
            "run.follow": lambda: self._follow(not c.state.playback.follow_job),
            "run.layer_less": partial(self._move_layer, -1),
            "run.layer_more": partial(self._move_layer, 1),
            "run.previous_word": partial(self._next_word, -1, False),
            "run.next_word": partial(self._next_word, 1, False),
            "run.previous_noun": partial(self._next_word, -1, True),
            "run.next_noun": partial(self._next_word, 1, True),
            "figure.export": self._export,
            "figure.export_data": self._export_data,
            "figure.screenshot": self._ask_screenshot,
            "help.keys": self.show_keys,
            "help.guide": self._open_guide,
            "help.about": self._about,
        }
        for mode in vs.MODES:
            bound[f"view.{mode}"] = partial(self._set_mode, mode)
        for split in vs.SPLITS:
            bound[f"view.split_{split}"] = partial(self._split_by, split)
        for number in range(1, 5):
            bound[f"view.stage_{number}"] = partial(self._toggle_stage, number - 1)
        for choice in ("dark", "light", "system"):
            bound[f"view.{choice}"] = partial(self._choose_theme, choice)
        self.registry.bind(bound)
        self.registry.ask_context(self._context)

    # --- showing ----------------------------------------------------------------------------------

    def _show_state(self, parts: frozenset[str]) -> None:
        c = self.controller
        state, facts = c.state, c.facts
        if parts & {"state", "job", "model", "runs", "facts"}:
            self._show_frame(state)
        if parts & {"state", "canvas", "facts", "job"} and state.page == "workspace":
            job = c.job_view
            self.canvas.set_props(
                presenter.canvas_props(
                    state,
                    facts,
                    c.arrivals.frames,
                    frozenset(c.arrivals.fresh),
                    job,
                    self._stage_names(),
                    self._links,
                    self._columns,
                )
            )
            active = c.arrivals.frames.get(state.panels[state.active_panel].letter)
            self.inspector.set_props(appearance=presenter.appearance_props(state, facts, active))
        if parts & {"state", "facts"} and state.page == "workspace":
            self.strip.set_props(presenter.strip_props(state, facts))
            self.inspector.set_props(provenance=presenter.provenance_props(state, facts))
        if parts & {"state", "facts", "timeline", "job"} and state.page == "workspace":
            self.timeline.set_props(
                presenter.timeline_props(state, facts, c.arrivals.timeline, c.job_view)
            )
        if parts & {"state", "facts", "layers"} and state.page == "workspace":
            self.layer_section.set_props(presenter.layer_props(state, facts, c.arrivals.layers))
        if parts & {"state", "facts", "ladder"} and state.page == "workspace":
            panel = f"Panel {state.panels[state.active_panel].letter}"
            self.inspector.set_props(
                ladder=presenter.ladder_props(state, facts, c.arrivals.ladder, panel),
                metrics=presenter.metrics_props(c.arrivals.ladder),
            )
        if parts & {"runs", "state", "job", "queue"}:
            self._show_runs()
        if parts & {"job", "queue", "state"}:
            self._show_job()
        if parts & {"recent", "runs", "model"} and state.page == "welcome":
            self._show_welcome()
        if "picture" in parts:
            self._show_picture()
        if parts & {"state", "job", "runs", "picture", "facts", "canvas"}:
            self._refresh_actions()

    def _show_frame(self, state: ViewState) -> None:
        workspace = state.page == "workspace"
        index = 1 if workspace else 0
        if self.stack.currentIndex() != index:
            self.stack.setCurrentIndex(index)
            if workspace:
                self.canvas.setFocus()
            else:
                self._show_welcome()
        narrow = self.width() < FOLD
        self.left_dock.setVisible(workspace and state.docks.left and not narrow)
        self.right_dock.setVisible(workspace and state.docks.right)
        self.log_pane.setVisible(state.docks.log)
        self.timeline.setVisible(workspace)
        self.bottom_dock.setVisible(workspace or state.docks.log)
        if self.timeline.is_thin != state.docks.thin_timeline:
            self.timeline.set_thin(state.docks.thin_timeline)
        self.top_bar.modes.setVisible(workspace)
        self.top_bar.modes.set_current(state.mode)
        name = self._theme_name()
        if name != self.theme.name:
            self.set_theme(load_theme(name))
        self._show_status()
        facts = self.controller.facts
        title = "Diffusion-CAM Studio"
        shown = f"{facts.title} – {title}" if workspace and facts is not None else title
        if self.windowTitle() != shown:
            self.setWindowTitle(shown)

    def _stage_names(self) -> tuple[str, ...]:
        ladder = self.controller.arrivals.ladder
        return tuple(stage.title for stage in ladder.stages) if ladder is not None else ()

    def _show_status(self) -> None:
        c = self.controller
        state, facts, job = c.state, c.facts, c.job
        model = c.model
        device = _device_text(model.device if model is not None else "cpu")
        if state.page == "welcome" and job is None:
            ready = model is not None
            text = (
                "Embedded model ready" if ready
                else "The model could not be loaded" if c.model_error
                else "Loading the embedded model"
            )  # fmt: skip
            self.status.show_props(
                StatusProps(
                    icon="check" if ready else "warning" if c.model_error else "",
                    saved=text,
                    device=device,
                    version=f"Version {__version__}",
                )
            )
            return
        props = StatusProps(
            device=device,
            memory=self._memory_text(),
            model=self._model_text(facts),
            document="" if facts is None else Path(facts.key).name.removeprefix("live:"),
            saved=f"Saved {c.saved_at}" if c.saved_at else "",
            icon="check" if c.saved_at else "",
        )
        if job is not None:
            count = len(c.engine.waiting)
            props = replace(
                props,
                job=f"{job.request.title}, {self._job_position(job)[0].lower()}",
                share=share_of(job),
                left=f"{clock(self._time_left(job))} left",
                waiting=f"{count} waiting" if count else "",
            )
        readout = self._readout
        if readout is not None:
            props = replace(
                props,
                cursor=f"x {readout.x:.0f}, y {readout.y:.0f}",
                patch="" if readout.row is None else f"patch {readout.row}, {readout.col}",
            )
        self.status.show_props(props)

    def _model_text(self, facts: RunFacts | None) -> str:
        if facts is None or not facts.layers:
            return ""
        name = "Embedded model" if facts.model == "embedded" else facts.model
        return name if "layers" in name else f"{name}, {len(facts.layers)} layers"

    def _memory_text(self) -> str:
        return f"{self._process.memory_info().rss / 2**20:.0f} MB"

    def _show_runs(self) -> None:
        c = self.controller
        rows = []
        live = {job.key: job for job in c.jobs.states.values()}
        for key, facts in c.runs.items():
            job = live.get(key)
            meta, share, icon = f"{facts.n_steps} steps", None, "check-circle"
            if job is not None and job.live.done is None and job.live.failure is None:
                if c.job is job:
                    share = share_of(job)
                    meta = f"{round(share * 100)}\u00a0%"
                else:
                    meta, icon = "Queued", "clock"
            elif job is not None and job.live.failure is not None:
                meta, icon = "failed", "error"
            elif not facts.complete:
                kept = int(facts.computed.any(axis=1).sum())
                meta, icon = f"{kept} steps kept", "warning"
            method = facts.methods[0] if facts.methods else "diffusion-cam"
            rows.append(
                SessionRow(
                    key,
                    facts.title,
                    _method_title(method),
                    meta,
                    icon,
                    share,
                    facts.image,
                    key == c.state.run,
                )
            )
        self.session.show_rows(rows)

    def _show_job(self) -> None:
        c = self.controller
        job = c.job
        shown = job is not None and (job.key == c.state.run)
        self.right_stack.setCurrentIndex(1 if shown else 0)
        if job is None:
            self._tick.stop()
            return
        if not self._tick.isActive():
            self._tick.start()
        if not shown:
            return
        position, detail = self._job_position(job)
        facts = c.runs[job.key]
        total = len(c.engine.waiting) + 1
        progress = job.live.progress
        plan = job.live.plan
        rows: list[tuple[str, str]] = []
        if progress is not None and progress.phase == "explain":
            rows.append(("Steps explained", f"{progress.done} of {progress.total}"))
            seconds = time.monotonic() - job.explain_started
            if progress.done and seconds > 0:
                rows.append(("Speed", f"{progress.done / seconds:.2f} steps per second"))
        model = c.model
        rows.append(("Device", _device_text(model.device if model is not None else "cpu")))
        total_memory = psutil.virtual_memory().total / 2**30
        used = self._process.memory_info().rss / 2**30
        rows.append(("Memory", f"{used:.1f} of {total_memory:.1f} GB"))
        kept = int(facts.computed.any(axis=1).sum()) if facts.computed.size else 0
        if plan is not None and plan.bytes_on_disk:
            safe = np.flatnonzero(facts.computed.any(axis=1))
            size = f"{plan.bytes_on_disk / 1e6:.1f} MB"
            rows.append(("On disk", f"{size}, safe to step {int(safe[-1])}" if kept else size))
        self.job_panel.show_job(
            JobProps(
                title=job.request.title,
                place=f"1 of {total}" if total > 1 else "",
                left=self._time_left(job),
                share=share_of(job),
                position=f"{position}, {detail}" if detail else position,
                elapsed=time.monotonic() - job.started if job.started else 0.0,
                rows=tuple(rows),
                promise=f"Cancelling keeps the {kept} finished steps.",
                cancelling=c.engine.is_cancelling,
            )
        )
        self.job_panel.show_queue([QueueRow(r.job, r.title, "", r.image) for r in c.engine.waiting])
        self.job_panel.show_events(job.lines)

    def _job_position(self, job: JobState) -> tuple[str, str]:
        progress, facts = job.live.progress, self.controller.runs.get(job.key)
        if progress is None or facts is None or not facts.n_steps:
            return "Preparing", ""
        if progress.phase == "generate":
            return f"Writing step {max(0, progress.done - 1)} of 0–{facts.n_steps - 1}", ""
        if progress.phase == "explain":
            view = self.controller.job_view
            step = view.computing if view.computing is not None else facts.n_steps - 1
            return f"Step {step} of 0–{facts.n_steps - 1}", f"{len(facts.targets)} tokens"
        return {"load": "Loading the model", "write": "Closing the file"}.get(
            progress.phase, "Preparing"
        ), ""

    def _time_left(self, job: JobState) -> float | None:
        progress = job.live.progress
        if progress is not None and progress.phase == "explain":
            return progress.eta_seconds
        facts = self.controller.runs.get(job.key)
        per_map = self.controller.preferences.seconds_per_map
        if facts is None or not facts.n_steps or per_map <= 0:
            return None
        tokens = len(facts.targets) or facts.n_positions
        return per_map * len(facts.layers) * facts.n_steps * tokens

    def _every_second(self) -> None:
        self._show_job()
        self._show_status()

    def _show_welcome(self) -> None:
        c = self.controller
        c.ask_thumbnails(c.recent[:6])
        rows = []
        for path in c.recent:
            thumbnail = c.thumbnails.get(path)
            rows.append(
                RecentRow(
                    path,
                    Path(path).name.removesuffix(".dcam"),
                    thumbnail.line if thumbnail is not None else "",
                    _when(path),
                    thumbnail.pixels if thumbnail is not None else None,
                )
            )
        self.welcome.show_recent([row for row in rows if Path(row.path).exists()])
        found = c.unfinished()
        c.ask_thumbnails(found)
        self.welcome.show_recoveries(
            [
                Recovery(path, _stem(path), f"{_stem(path)}, {c.thumbnails[path].line}")
                for path in found
                if path in c.thumbnails
            ]
        )
        per_map = c.preferences.seconds_per_map
        model = c.model
        if model is not None and per_map > 0:
            length = int(model.generation.get("max_new_tokens") or 32)
            steps = int(model.generation.get("steps") or length // 2)
            seconds = max(1, round(per_map * model.layers * steps * length))
            self.welcome.set_model_line(f"Embedded model, about {seconds} s on this computer")
        else:
            self.welcome.set_model_line("Embedded model")

    def set_demos(self, cards: tuple[DemoCard, ...], paths: dict[str, str]) -> None:
        """Offer demo scenes; ``paths`` says where each picture comes from."""
        self.demos = {card.key: card for card in cards}
        self.demo_paths = paths
        self.welcome.show_demos(cards)
        for key, path in paths.items():
            self.controller.ask_demo_picture(key, path)

    def _on_demo_picture(self, key: str, loaded: Any) -> None:
        self.welcome.show_picture(key, loaded.pixels)

    def _show_picture(self) -> None:
        c = self.controller
        picture = c.picture
        if picture is None:
            return
        if self._demo_waiting and picture.path + picture.name:
            card = self.demos[self._demo_waiting]
            self._demo_waiting = ""
            named = replace(picture, name=card.title.lower().replace(", ", "-").replace(" ", "-"))
            c.start_job(prompt=card.prompt, picture=named)
            return
        self._fill_sheet(picture)
        self.run_sheet.open()

    def _fill_sheet(self, picture: Picture | None) -> None:
        c = self.controller
        model = c.model
        facts = SheetFacts(seconds_per_map=c.preferences.seconds_per_map)
        if model is not None:
            name = "Embedded model" if model.source == "embedded" else model.source
            facts = replace(
                facts,
                model=f"{name}, {model.layers} layers",
                layers=model.layers,
                generation=model.generation,
                methods=model.methods or facts.methods,
                device=_device_text(model.device),
            )
        self.run_sheet.set_facts(facts)
        if picture is not None:
            embedded = model is None or model.source == "embedded"
            warning = ""
            if embedded and not picture.scene:
                warning = (
                    "This model reads sticker scenes only. The photograph still runs, "
                    "but the answer may be wrong."
                )
            self.run_sheet.set_image(picture.pixels, picture.name, warning)

    def _context(self) -> Context:
        c = self.controller
        facts = c.facts
        return Context(
            page=c.state.page,
            has_run=facts is not None,
            has_maps=facts is not None and bool(facts.computed.any()),
            job_running=c.job is not None,
            can_undo=c.store.can_undo,
            can_redo=c.store.can_redo,
            panels=len(c.state.panels),
            has_file=facts is not None and not facts.key.startswith("live:"),
        )

    def _refresh_actions(self) -> None:
        c = self.controller
        state, facts = c.state, c.facts
        self.registry.refresh(self._context())
        look, docks = state.appearance, state.docks
        checks = {f"view.{mode}": state.mode == mode for mode in vs.MODES}
        checks |= {f"view.{name}": state.theme == name for name in ("dark", "light", "system")}
        checks |= {
            "view.colour_bar": look.colour_bar,
            "view.contour": look.contour,
            "view.region": look.region,
            "view.grey": look.grey_image,
            "view.raw": state.refinement.raw,
            "view.left": docks.left,
            "view.right": docks.right,
            "view.log": docks.log,
            "view.thin": docks.thin_timeline,
            "run.loop": state.playback.loop,
            "run.follow": state.playback.follow_job,
        }
        stages = c.arrivals.ladder.stages if c.arrivals.ladder is not None else ()
        for number in range(1, 5):
            action = self.registry.action(f"view.stage_{number}")
            if number <= len(stages):
                stage = stages[number - 1]
                action.setText(stage.title)
                checks[f"view.stage_{number}"] = stage.enabled and not state.refinement.raw
            else:
                checks[f"view.stage_{number}"] = False
        self.registry.check(checks)
        self.top_bar.set_run_enabled(facts is not None or c.picture is not None)

    # --- messages ---------------------------------------------------------------------------------

    def tell(
        self,
        level: str,
        title: str,
        detail: str = "",
        action: str = "",
        callback: Callable[[], object] | None = None,
    ) -> None:
        """Show a message where the eyes are: over the canvas or the welcome page."""
        message = Message(level, title, detail, action, callback)  # type: ignore[arg-type]
        welcome = self.controller.state.page == "welcome"
        (self.welcome_messages if welcome else self.messages).add(message)

    # --- theme ------------------------------------------------------------------------------------

    def _theme_name(self) -> ThemeName:
        choice = self.controller.state.theme
        return system_theme() if choice == "system" else choice

    def set_theme(self, theme: Theme) -> None:
        """Give everything other colours, live."""
        self.theme = theme
        app = QApplication.instance()
        assert isinstance(app, QApplication)  # a window cannot exist without it
        apply_theme(app, theme)
        spread_theme(self, theme)
        for widget in (self.palette_card, self.run_sheet, self.focus_ring):
            widget.set_theme(theme)
        if self._key_list is not None:
            self._key_list.set_theme(theme)

    def _choose_theme(self, choice: vs.ThemeChoice) -> None:
        if choice == "system":
            # Following the system needs the scheme that it asks for, not the one we set.
            QGuiApplication.styleHints().unsetColorScheme()
        self.controller.apply(replace(self.controller.state, theme=choice))
        self._refresh_actions()

    def _system_theme_changed(self) -> None:
        if self.controller.state.theme == "system":
            self._show_frame(self.controller.state)

    # --- files ------------------------------------------------------------------------------------

    def open_path(self, path: str) -> None:
        """Open a run, an image or a folder."""
        self.controller.open_path(path)

    def open_paths(self, paths: list[str]) -> None:
        """Open what was dropped: every run, or the first image."""
        images = [p for p in paths if Path(p).suffix.lower() in IMAGE_SUFFIXES]
        others = [p for p in paths if p not in images]
        for path in [*others, *images[:1]]:
            self.open_path(path)

    def _ask_open(self, kind: str) -> None:
        images = " ".join(f"*{suffix}" for suffix in IMAGE_SUFFIXES)
        filters = {
            "any": f"Runs and images (*.dcam *.part {images})",
            "image": f"Images ({images})",
            "run": "Runs (*.dcam *.part)",
        }
        titles = {"any": "Open", "image": "Open image", "run": "Open run"}
        folder = str(self.controller.settings.places.runs) if kind == "run" else ""
        path, _ = QFileDialog.getOpenFileName(self, titles[kind], folder, filters[kind])
        if path:
            self.open_path(path)

    def _paste(self) -> None:
        data = QGuiApplication.clipboard().mimeData()
        if data is not None and data.hasUrls():
            self.open_paths([url.toLocalFile() for url in data.urls() if url.isLocalFile()])
            return
        image = QGuiApplication.clipboard().image()
        if image.isNull():
            self.tell("info", "There is no image in the clipboard", "Copy an image first.")
            return
        self.controller.set_picture(_pixels(image), "pasted image")

    def _save(self) -> None:
        # A run is written while it is computed; saving keeps the view with it.
        self.controller.save_session()
        self.controller.saved_at = time.strftime("%H:%M")
        self._show_status()
        self.tell("success", "The view is saved", "The run itself was saved when it was made.")

    def _save_as(self) -> None:
        facts = self.controller.facts
        if facts is None:
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Save a copy", f"{facts.title}.dcam", "Runs (*.dcam)"
        )
        if path:
            self.controller.copy_run(facts.key, path)

    def _discard(self, path: str) -> None:
        question = f"Discard {_stem(path)}? Its finished steps are deleted."
        if self.confirm("Discard run", question, "Discard"):
            try:
                Path(path).unlink(missing_ok=True)
            except OSError as error:
                self.tell("error", f"Cannot delete {Path(path).name}: {error.strerror}", "")
            self._show_welcome()

    def confirm(self, title: str, text: str, verb: str) -> bool:
        """Ask before something is lost; the button says what happens."""
        box = QMessageBox(self)
        box.setWindowTitle(title)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(text)
        yes = box.addButton(verb, QMessageBox.ButtonRole.DestructiveRole)
        box.addButton("Keep", QMessageBox.ButtonRole.RejectRole)
        box.exec()
        chosen = box.clickedButton() is yes
        box.deleteLater()
        return chosen

    def run_demo(self, key: str) -> None:
        """Start a run on a demo scene: one click, no questions."""
        path = self.demo_paths.get(key)
        if path is not None and not self._demo_waiting:
            self._demo_waiting = key
            self.controller.load_image(path)

    def _open_run_menu(self) -> None:
        button = self.top_bar.run_button
        menu = rounded_menu("Run", self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for action_id in ("run.sheet", "run.cancel"):
            menu.addAction(self.registry.action(action_id))
        menu.addSeparator()
        for key, card in self.demos.items():
            menu.addAction(card.title, partial(self.run_demo, key))
        menu.popup(button.mapToGlobal(button.rect().bottomLeft()))

    def open_run_sheet(self) -> None:
        """Open the sheet on the image at hand."""
        c = self.controller
        facts = c.facts
        if c.picture is None and facts is not None and facts.image is not None:
            c.picture = Picture(facts.image, facts.title, scene=facts.scene)
        self._fill_sheet(c.picture)
        if facts is not None and facts.prompt:
            self.run_sheet.set_prompt(facts.prompt)
        self.run_sheet.open()

    def _on_wish(self, wish: RunWish) -> None:
        picture = self.controller.picture
        if picture is not None:
            self.controller.start_job(
                prompt=wish.prompt,
                picture=picture,
                layers=wish.layers,
                steps=wish.steps,
                tokens=wish.tokens,
                method=wish.method,
                contrast=wish.contrast,
                generation=wish.generation,
                seed=wish.seed,
            )

    def _on_job_ended(self, job: str) -> None:
        state = self.controller.jobs.states.get(job)
        if state is not None and state.live.done is not None and not state.live.done.cancelled:
            done = state.live.done
            detail = f"{done.seconds:.0f} s, {Path(done.path).name}"
            self.tell("success", f"{state.request.title} is done", detail)
        if self._quitting and self.controller.job is None:
            self.close()

    # --- view -------------------------------------------------------------------------------------

    def _set_mode(self, mode: vs.Mode) -> None:
        c = self.controller
        state = vs.set_mode(c.state, mode)
        if mode == "tile" and len(state.panels) < 2:
            self._split_by("stage")
            return
        c.apply(state)

    def _split_by(self, split: vs.Split) -> None:
        c = self.controller
        facts = c.facts
        if facts is None:
            return
        steps = tuple(int(s) for s in np.flatnonzero(facts.computed.any(axis=1)))
        words = tuple(
            w.positions
            for w in facts.words
            if set(w.positions) & set(facts.targets) and (w.is_noun or len(facts.words) <= 8)
        )
        stages = len(c.arrivals.ladder.stages) if c.arrivals.ladder is not None else 4
        c.apply(
            vs.split_by(
                c.state, split, layers=facts.layers, steps=steps, words=words, stages=stages
            )
        )
        self._columns = None

    def _set_grid(self, _rows: int, columns: int) -> None:
        self._columns = columns
        self._show_state(frozenset({"canvas"}))

    def _set_link(self, key: str, on: bool) -> None:
        self._links[key] = on
        self._show_state(frozenset({"canvas"}))

    def _more_opacity(self, change: float) -> None:
        c = self.controller
        value = round(c.state.appearance.opacity + change, 3)
        c.apply(vs.set_appearance(c.state, opacity=value), "opacity-key")

    def _flip(self, name: str) -> None:
        c = self.controller
        c.apply(vs.set_appearance(c.state, **{name: not getattr(c.state.appearance, name)}))

    def _toggle_stage(self, index: int) -> None:
        c = self.controller
        stages = c.arrivals.ladder.stages if c.arrivals.ladder is not None else ()
        if index < len(stages):
            stage = stages[index]
            c.apply(vs.switch_stage(c.state, stage.stage, not stage.enabled))

    def _change_parameter(self, stage: str, name: str, value: float) -> None:
        c = self.controller
        found: float | str = value
        for entry in c.arrivals.ladder.stages if c.arrivals.ladder is not None else ():
            for parameter in entry.parameters:
                if entry.stage == stage and parameter.name == name and parameter.choices:
                    found = dict(parameter.choices).get(float(round(value)), str(value))
        c.apply(vs.change_parameter(c.state, stage, name, found), f"{stage}.{name}")

    def _select_layer(self, layer: int) -> None:
        c = self.controller
        if c.facts is not None:
            c.apply(vs.select_layer(c.state, layer, c.facts.layers), "layer")

    def _move_layer(self, change: int) -> None:
        c = self.controller
        if c.facts is not None:
            c.apply(vs.move_layer(c.state, change, c.facts.layers), "layer")

    def _choose_layer_metric(self, name: str) -> None:
        self.controller.layer_metric = name
        self.controller.ask()

    def _on_panel_toggled(self, key: str, what: str, on: bool) -> None:
        c = self.controller
        if what in ("contour", "regions"):
            field = "contour" if what == "contour" else "region"
            c.apply(vs.set_appearance(c.state, **{field: on}))
            return
        self._activate(key)
        c.apply(vs.toggle_pin(c.state) if what == "pin" else vs.toggle_link(c.state))

    def _activate(self, key: str) -> None:
        c = self.controller
        letters = [panel.letter for panel in c.state.panels]
        if key in letters:
            c.apply(vs.activate_panel(c.state, letters.index(key)))

    def _on_panel_asked(self, key: str, what: str) -> None:
        self._activate(key)
        if what == "split":
            self.registry.trigger("view.split")
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for action_id in (
            "edit.copy_panel", "edit.copy_code", "figure.export", "figure.export_data",
            "view.fit", "view.close_panel",
        ):  # fmt: skip
            menu.addAction(self.registry.action(action_id))
        menu.popup(self.cursor().pos())

    def _on_canvas_action(self, _key: str, action: str) -> None:
        c = self.controller
        if action == "open":
            self._ask_open("any")
        elif action.startswith("step:") and action[5:].isdigit():
            c.go_to(int(action[5:]))
        elif action == "retry":
            c.ask_anew()

    def _on_cursor(self, readout: Readout | None) -> None:
        self._readout = readout
        self._show_status()

    def _on_peek(self, peek: str) -> None:
        c = self.controller
        hold = "" if peek == "none" else peek
        if hold in ("blink", "difference") and len(c.state.panels) < 2:
            c.apply(vs.split_for_peek(c.state))
        c.apply(replace(c.state, hold=hold))  # type: ignore[arg-type]

    def _zoom_selection(self) -> None:
        self.canvas.zoom_by(2.0)

    def _thin(self, thin: bool) -> None:
        c = self.controller
        c.apply(replace(c.state, docks=replace(c.state.docks, thin_timeline=thin)))

    def _folded(self, name: str, folded: bool) -> None:
        self.controller.apply(vs.fold_section(self.controller.state, name, folded))

    def _next_pane(self) -> None:
        panes: list[QWidget] = [
            self.canvas, self.strip, self.timeline.lanes, self.layer_section.list,
            self.inspector.appearance.header,
        ]  # fmt: skip
        panes = [p for p in panes if p.isVisible()]
        focus = QApplication.focusWidget()
        at = next((i for i, p in enumerate(panes) if focus is p or p.isAncestorOf(focus)), -1)
        if panes:
            panes[(at + 1) % len(panes)].setFocus(Qt.FocusReason.ShortcutFocusReason)

    # --- cursor -----------------------------------------------------------------------------------

    def _on_commit(self, step: int, position: int) -> None:
        c = self.controller
        facts = c.facts
        if facts is None:
            return
        word = facts.word_at(position)
        positions = word.positions if word is not None else (position,)
        state = vs.go_to_step(vs.select_tokens(c.state, positions), step, facts.n_steps)
        c.apply(vs.set_playback(state, follow_job=False))

    def _on_token(self, position: int, modifiers: Qt.KeyboardModifier) -> None:
        add = bool(modifiers & Qt.KeyboardModifier.ControlModifier)
        self.controller.select_word_at(position, add=add)

    def _next_computed(self, way: int) -> None:
        c = self.controller
        if c.facts is not None:
            steps = np.flatnonzero(c.facts.computed.any(axis=1))
            self._go_beyond(steps, way)

    def _next_commit(self, way: int) -> None:
        c = self.controller
        facts = c.facts
        if facts is None:
            return
        steps = {
            int(s)
            for p, s in enumerate(facts.commit_step.tolist())
            if s >= 0 and int(facts.token_ids[p]) not in facts.end_ids
        }
        self._go_beyond(np.array(sorted(steps), np.int64), way)

    def _go_beyond(self, steps: np.ndarray, way: int) -> None:
        step = self.controller.state.step
        found = steps[steps > step] if way > 0 else steps[steps < step]
        if found.size:
            self.controller.go_to(int(found[0] if way > 0 else found[-1]))

    def _end_step(self, index: int) -> None:
        c = self.controller
        if c.facts is not None and c.facts.valid.size:
            good = np.flatnonzero(c.facts.valid.any(axis=1))
            if good.size:
                c.go_to(int(good[index]))

    def _word_step(self) -> None:
        c = self.controller
        if c.facts is not None and c.state.tokens:
            steps = [int(c.facts.commit_step[t]) for t in c.state.tokens]
            if max(steps) >= 0:
                c.go_to(max(steps))

    def _next_word(self, way: int, nouns: bool) -> None:
        c = self.controller
        facts = c.facts
        if facts is None:
            return
        words = [w for w in facts.words if w.is_noun or not nouns]
        if not words:
            return
        here = c.state.tokens[0] if c.state.tokens else -1
        after = [w for w in words if w.positions[0] > here]
        before = [w for w in words if w.positions[-1] < here]
        ahead = [*after, words[0]] if way > 0 else [*reversed(before), words[-1]]
        c.select_positions(ahead[0].positions)

    def _play(self, on: bool) -> None:
        c = self.controller
        state = c.state
        facts = c.facts
        if on and facts is not None and state.step >= facts.n_steps - 1:
            state = vs.go_to_step(state, 0, facts.n_steps)
        c.apply(vs.set_playback(state, playing=on, direction=1))

    def _shuttle(self, direction: int) -> None:
        c = self.controller
        play = c.state.playback
        speed = play.speed
        if play.playing and play.direction == direction:
            faster = [s for s in vs.SPEEDS if s > speed]
            speed = faster[0] if faster else speed
        c.apply(vs.set_playback(c.state, playing=True, direction=direction, speed=speed))

    def _set_loop(self, start: int, end: int) -> None:
        c = self.controller
        c.apply(vs.set_playback(c.state, loop_in=start, loop_out=end, loop=True))

    def _loop_end(self, name: str) -> None:
        c = self.controller
        c.apply(vs.set_playback(c.state, loop=True, **{name: c.state.step}))

    def _toggle_marker(self, step: int) -> None:
        c = self.controller
        marks = tuple(sorted(set(c.state.markers) ^ {step}))
        c.apply(replace(c.state, markers=marks))

    def _follow(self, on: bool) -> None:
        c = self.controller
        c.apply(vs.set_playback(c.state, follow_job=on))
        facts = c.facts
        if on and facts is not None and facts.live:
            known = np.flatnonzero(facts.computed.any(axis=1))
            c.go_to(int(known[-1]) if known.size else facts.steps_known - 1, follow=True)

    def _ask_step(self) -> None:
        facts = self.controller.facts
        if facts is None:
            return
        step, ok = QInputDialog.getInt(
            self,
            "Go to step",
            f"Step, 0 to {facts.n_steps - 1}",
            self.controller.state.step,
            0,
            facts.n_steps - 1,
        )
        if ok:
            self.controller.go_to(step)

    def _compute_step(self, step: int) -> None:
        """Compute a step that the run lacks, as a run of its own."""
        c = self.controller
        facts = c.facts
        if facts is None or facts.image is None or facts.live:
            return
        if not facts.complete:
            c.resume_job(facts.key)
            return
        picture = Picture(facts.image, facts.title, scene=facts.scene)
        c.start_job(prompt=facts.prompt, picture=picture, layers=facts.layers, steps=(step,))

    # --- copy and export --------------------------------------------------------------------------

    def _copy_text(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self.tell("success", "Copied")

    def _copy_code(self) -> None:
        facts = self.controller.facts
        if facts is not None:
            self._copy_text(presenter.code_of(self.controller.state, facts))

    def _copy_panel(self) -> None:
        panels = self.canvas.panels
        if panels:
            at = min(self.controller.state.active_panel, len(panels) - 1)
            QGuiApplication.clipboard().setPixmap(panels[at].grab())
            self.tell("success", "Copied the panel as image")

    def _export(self) -> None:
        facts = self.controller.facts
        if facts is None:
            return
        name = f"{facts.title}-{facts.phrase(self.controller.state.tokens) or 'map'}.pdf"
        path, _ = QFileDialog.getSaveFileName(
            self,
            "Export this view",
            name.replace(" ", "-"),
            "PDF (*.pdf);;SVG (*.svg);;PNG (*.png)",
        )
        if path:
            self.controller.export_view(path)

    def _export_data(self) -> None:
        facts = self.controller.facts
        if facts is None:
            return
        path, _ = QFileDialog.getSaveFileName(
            self,
            "Export data",
            f"{facts.title}.npz",
            "NumPy (*.npz);;JSON (*.json);;CSV (*.csv)",
        )
        if path:
            self.controller.export_view(path)

    def _ask_screenshot(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save a picture of the window", "studio.png", "PNG (*.png)"
        )
        if path and not self.save_screenshot(path):
            self.tell("error", f"Cannot write {Path(path).name}", "Choose another folder.")

    def save_screenshot(self, path: str) -> bool:
        """Write a picture of the window as it is."""
        return self.grab().save(path)

    # --- palette and help -------------------------------------------------------------------------

    def commands(self) -> list[Command]:
        """Every action as a line of the palette."""
        return [
            Command(
                spec.id,
                self.registry.action(spec.id).text().rstrip("…"),
                key_text(spec),
                spec.icon,
                spec.menu,
                self.registry.reason(spec.id),
            )
            for spec in self.registry.specs()
        ]

    def open_palette(self) -> None:
        """Open the palette over the window."""
        found = [c for c in self.commands() if not self.registry.spec(c.id).hold]
        self.palette_card.open([*found, *self._run_commands()])

    def _run_commands(self) -> list[Command]:
        return [
            Command(f"show:{key}", f"Show {facts.title}", "", "open-run", "Session")
            for key, facts in self.controller.runs.items()
        ]

    def _open_run_palette(self) -> None:
        self.palette_card.open(self._run_commands())

    def _open_recent_menu(self) -> None:
        self.palette_card.open(
            [
                Command(f"open:{p}", _stem(p), _when(p), "open-run", str(Path(p).parent))
                for p in self.controller.recent
                if Path(p).exists()
            ]
        )

    def _on_command(self, command: str) -> None:
        kind, _, rest = command.partition(":")
        if kind == "show" and rest:
            self.controller.show_run(rest)
        elif kind == "open" and rest:
            self.open_path(rest)
        else:
            self.registry.trigger(command)

    def show_keys(self) -> None:
        """Show every key."""
        if self._key_list is None:
            self._key_list = KeyList(self.theme, self.commands())
        self._key_list.show()
        self._key_list.raise_()

    def _open_guide(self) -> None:
        guide = Path(__file__).resolve().parent.parent / "docs" / "user-guide.md"
        if guide.exists():
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(guide)))
        else:
            self.tell("info", "The guide is in the folder docs of the source", "")

    def _about(self) -> None:
        self.tell(
            "info",
            f"Diffusion-CAM Studio {__version__}",
            f"Python {platform.python_version()}, Apache License 2.0",
        )

    def _on_link(self, key: str) -> None:
        if key == "keys":
            self.registry.trigger("help.keys")
        elif key == "guide":
            self.registry.trigger("help.guide")
        else:
            folder = QFileDialog.getExistingDirectory(self, "Load a model from a folder")
            if folder:
                self.controller.warm_up(folder)

    # --- events of the window ---------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self._plain_key(event, down=True):
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if not self._plain_key(event, down=False):
            super().keyReleaseEvent(event)

    def _plain_key(self, event: QKeyEvent, *, down: bool) -> bool:
        """Keys without Ctrl act while a view has the focus, never while text is typed."""
        if isinstance(QApplication.focusWidget(), _TYPING):
            return False
        if not self.controller.preferences.single_keys:
            return False
        action_id = self.registry.find_key(event.key(), event.modifiers())
        if not action_id:
            return False
        if action_id in _HOLDS:
            if not event.isAutoRepeat() and not self.registry.reason(action_id):
                self._peek(_HOLDS[action_id] if down else "none")
            return True
        return not down or self.registry.trigger(action_id)

    def _peek(self, peek: str) -> None:
        if peek in ("blink", "difference") and len(self.controller.state.panels) < 2:
            self.controller.apply(vs.split_for_peek(self.controller.state))
            self._show_state(frozenset({"canvas"}))
        self.canvas.set_peek(peek)  # type: ignore[arg-type]

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self.canvas.set_peek("none")
        super().focusOutEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            self.open_paths(paths)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        wide = self.width() >= NARROW
        left, right = (LEFT_WIDTH, RIGHT_WIDTH) if wide else (NARROW_LEFT, NARROW_RIGHT)
        self.left_scroll.setFixedWidth(left)
        self.right_stack.setFixedWidth(right)
        lanes = _lanes_for(self.height())
        if event.oldSize().height() < 0 or lanes != _lanes_for(event.oldSize().height()):
            self.timeline.set_lanes(lanes)
        crossed = (event.oldSize().width() < FOLD) != (event.size().width() < FOLD)
        if crossed:
            self._show_frame(self.controller.state)
        if self.run_sheet.isVisible():
            self.run_sheet.open()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.ActivationChange and not self.isActiveWindow():
            # A key released in another window is never told to us.
            self.canvas.set_peek("none")

    def _restore_window(self) -> None:
        kept = self.controller.settings.geometry()
        if kept is not None:
            geometry, docks = kept
            if self.restoreGeometry(geometry):
                self.restoreState(QByteArray(docks))
        if self.width() < 640 or self.height() < 400:
            self.resize(1440, 900)

    def sizeHint(self) -> QSize:
        return QSize(1440, 900)

    def close_now(self) -> None:
        """Close without asking; a running job is cancelled and keeps what it finished."""
        self._quitting = True
        self.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        c = self.controller
        if c.job is not None and not self._quitting:
            text = "A job runs. Its finished steps are kept and can be resumed."
            if not self.confirm("Close while a job runs", text, "Cancel job and close"):
                event.ignore()
                return
        self._quitting = True
        self._tick.stop()
        c.settings.save_geometry(self.saveGeometry(), self.saveState())
        for name in ("diffcam_studio", "diffcam_core"):
            logging.getLogger(name).removeHandler(self.log_handler)
        self.messages.clear()
        self.welcome_messages.clear()
        if self._key_list is not None:
            self._key_list.close()
            self._key_list.deleteLater()
            self._key_list = None
        self.setEnabled(False)
        if not c.close():
            log.warning("A thread did not end in time")
        event.accept()


def _lanes_for(height: int) -> tuple[Lane, ...]:
    """Lanes that a window of this height has room for: first the maps go, then the curve."""
    gone = {"maps", "curve"} if height < CRAMPED else {"maps"} if height < LOW else set()
    return tuple(lane for lane in LANES if lane not in gone)


def _scrolled(body: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setWidgetResizable(True)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(body)
    return area


def _pixels(image: QImage) -> np.ndarray:
    rgb = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(rgb.constBits(), np.uint8).reshape(rgb.height(), rgb.bytesPerLine())
    return np.ascontiguousarray(rows[:, : rgb.width() * 3].reshape(rgb.height(), rgb.width(), 3))


def _device_text(device: str) -> str:
    if device.startswith("cuda"):
        return device.upper()
    count = psutil.cpu_count() or 1
    return f"CPU, {count} threads" if count > 1 else "CPU, 1 thread"


def _method_title(name: str) -> str:
    return "-".join(
        part.upper() if part == "cam" else part.capitalize() for part in name.split("-")
    )


def _stem(path: str) -> str:
    return Path(path).name.removesuffix(".part").removesuffix(".dcam")


def _when(path: str) -> str:
    try:
        moment = time.localtime(Path(path).stat().st_mtime)
    except OSError:
        return ""
    now = time.localtime()
    day = time.strftime("%Y-%m-%d", moment)
    if day == time.strftime("%Y-%m-%d", now):
        return time.strftime("Today %H:%M", moment)
    age = (time.mktime(now) - time.mktime(moment)) / 86400
    if age < 2:
        return "Yesterday"
    if age < 7:
        return time.strftime("%A", moment)
    return time.strftime("%d %b", moment).lstrip("0")
