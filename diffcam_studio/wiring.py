"""Signals of the views to wishes: what a click, a drag or a choice asks of the controller."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from PySide6.QtCore import Qt

from diffcam_studio.commands import cursor, look, playing
from diffcam_studio.controller import Controller
from diffcam_studio.regions import Regions
from diffcam_studio.state import view_state as vs
from diffcam_studio.views.canvas import Canvas
from diffcam_studio.views.controls import Section
from diffcam_studio.views.inspector import Inspector
from diffcam_studio.views.timeline import Timeline
from diffcam_studio.views.token_strip import TokenStrip


def connect_views(r: Regions, c: Controller) -> None:
    """Connect every view whose wishes concern the controller alone."""
    connect_canvas(r.canvas, c)
    connect_timeline(r.timeline, c)
    connect_strip(r.strip, c)
    connect_inspector(r.inspector, c)
    r.layer_section.layer_requested.connect(partial(cursor.select_layer, c))
    r.layer_section.metric_requested.connect(partial(look.choose_layer_metric, c))
    r.session.chosen.connect(c.show_run)
    r.session.close_clicked.connect(c.close_run)
    r.session.folded.connect(partial(fold, c, "session"))
    r.layer_section.folded.connect(partial(fold, c, "layers"))
    r.welcome.recovery_open.connect(c.open_run)
    r.welcome.recovery_resume.connect(c.resume_job)
    r.job_panel.remove.connect(c.remove_job)


def connect_canvas(canvas: Canvas, c: Controller) -> None:
    """Connect panels, wipe line and held keys."""
    canvas.panel_activated.connect(lambda i: c.apply(vs.activate_panel(c.state, i)))
    canvas.panel_toggled.connect(partial(look.toggle_panel, c))
    canvas.wipe_moved.connect(lambda v: c.apply(replace(c.state, wipe=v), "wipe"))
    canvas.peek_changed.connect(partial(look.hold, c))


def connect_timeline(timeline: Timeline, c: Controller) -> None:
    """Connect transport and lanes."""
    t = timeline
    t.step_requested.connect(c.go_to)
    t.step_settled.connect(lambda _step: c.store.end_gesture())
    t.commit_clicked.connect(partial(cursor.select_commit, c))
    t.compute_requested.connect(partial(cursor.compute_step, c))
    t.play_toggled.connect(partial(playing.play, c))
    t.loop_toggled.connect(lambda on: c.apply(vs.set_playback(c.state, loop=on)))
    t.loop_changed.connect(partial(playing.set_loop, c))
    t.speed_changed.connect(lambda v: c.apply(vs.set_playback(c.state, speed=v)))
    t.follow_toggled.connect(partial(playing.follow, c))
    t.marker_toggled.connect(partial(playing.toggle_marker, c))
    t.thin_toggled.connect(partial(look.set_thin, c))


def connect_strip(strip: TokenStrip, c: Controller) -> None:
    """Connect the chips; Ctrl adds a word to those that are selected."""

    def select(position: int, modifiers: Qt.KeyboardModifier) -> None:
        add = bool(modifiers & Qt.KeyboardModifier.ControlModifier)
        c.select_word_at(position, add=add)

    strip.token_clicked.connect(select)
    strip.end_run_clicked.connect(lambda position: c.select_positions((position,)))


def connect_inspector(inspector: Inspector, c: Controller) -> None:
    """Connect appearance and refinement; each drag is one step of undo."""
    colours, ladder = inspector.appearance, inspector.ladder
    end = c.store.end_gesture
    colours.cmap_requested.connect(partial(look.choose_colour_map, c))
    colours.opacity_changed.connect(
        lambda v: c.apply(vs.set_appearance(c.state, opacity=v), "opacity")
    )
    colours.opacity_settled.connect(lambda _v: end())
    colours.range_changed.connect(
        lambda lo, hi: c.apply(vs.set_appearance(c.state, low=lo, high=hi), "range")
    )
    colours.range_settled.connect(lambda _lo, _hi: end())
    colours.normalise_requested.connect(
        lambda scope: c.apply(vs.set_appearance(c.state, scope=scope))
    )
    ladder.preset_requested.connect(lambda name: c.apply(vs.set_preset(c.state, name)))
    ladder.stage_toggled.connect(lambda stage, on: c.apply(vs.switch_stage(c.state, stage, on)))
    ladder.parameter_changed.connect(partial(look.change_parameter, c))
    ladder.parameter_settled.connect(lambda *_: end())
    sections: dict[str, Section] = {
        "appearance": colours,
        "refinement": ladder,
        "metrics": inspector.metrics,
        "provenance": inspector.provenance,
    }
    for name, section in sections.items():
        section.set_open(name not in c.state.docks.folded)
        section.folded.connect(partial(fold, c, name))


def fold(c: Controller, name: str, folded: bool) -> None:
    """Remember that a section is folded."""
    c.apply(vs.fold_section(c.state, name, folded))
