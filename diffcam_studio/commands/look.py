"""Wishes about panels, their look and their refinement: functions of the controller."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from diffcam_studio.controller import Controller
from diffcam_studio.state import view_state as vs


def set_mode(c: Controller, mode: vs.Mode) -> None:
    """Show the panels in another mode; tiles need more than one panel."""
    state = vs.set_mode(c.state, mode)
    if mode == "tile" and len(state.panels) < 2:
        split_by(c, "stage")
        return
    c.apply(state)


def split_by(c: Controller, split: vs.Split) -> None:
    """Show one panel for each of several stages, presets, layers, steps or words."""
    facts = c.facts
    if facts is None:
        return
    steps = tuple(int(s) for s in np.flatnonzero(facts.computed.any(axis=1)))
    words = tuple(
        w.positions
        for w in facts.words
        if set(w.positions) & set(facts.targets) and (w.is_noun or len(facts.words) <= 8)
    )
    stages = len(c.arrivals.stages) if c.arrivals.ladder is not None else 4
    c.apply(
        vs.split_by(c.state, split, layers=facts.layers, steps=steps, words=words, stages=stages)
    )


def activate_panel(c: Controller, letter: str) -> None:
    """Make the panel of a letter the active one."""
    letters = [panel.letter for panel in c.state.panels]
    if letter in letters:
        c.apply(vs.activate_panel(c.state, letters.index(letter)))


def toggle_panel(c: Controller, letter: str, what: str, on: bool) -> None:
    """Answer a button in a panel's header."""
    if what in ("contour", "regions"):
        field = "contour" if what == "contour" else "region"
        c.apply(vs.set_appearance(c.state, **{field: on}))
        return
    activate_panel(c, letter)
    c.apply(vs.toggle_pin(c.state) if what == "pin" else vs.toggle_link(c.state))


def more_opacity(c: Controller, change: float) -> None:
    """Make the maps more or less opaque."""
    value = round(c.state.appearance.opacity + change, 3)
    c.apply(vs.set_appearance(c.state, opacity=value), "opacity-key")


def choose_colour_map(c: Controller, name: str) -> None:
    """Colour the maps, or the difference where that is shown, by another table."""
    field = "difference_map" if c.state.mode == "difference" else "colour_map"
    c.apply(vs.set_appearance(c.state, **{field: name}))


def flip(c: Controller, name: str) -> None:
    """Switch one thing of the appearance."""
    c.apply(vs.set_appearance(c.state, **{name: not getattr(c.state.appearance, name)}))


def toggle_stage(c: Controller, index: int) -> None:
    """Switch a refinement stage by its place on the ladder."""
    stages = c.arrivals.stages
    if index < len(stages):
        stage = stages[index].stage
        # The state, not the last answer: of two quick presses both must count.
        c.apply(vs.switch_stage(c.state, stage, not vs.is_stage_on(c.state, stage)))


def change_parameter(c: Controller, stage: str, name: str, value: float) -> None:
    """Change a parameter of a refinement stage; a choice goes by its name."""
    found: float | str = value
    for entry in c.arrivals.stages:
        for parameter in entry.parameters:
            if entry.stage == stage and parameter.name == name and parameter.choices:
                found = dict(parameter.choices).get(float(round(value)), str(value))
    c.apply(vs.change_parameter(c.state, stage, name, found), f"{stage}.{name}")


def choose_layer_metric(c: Controller, name: str) -> None:
    """Let the list of layers show another measure."""
    c.layer_metric = name
    c.ask()


def set_thin(c: Controller, thin: bool) -> None:
    """Show the timeline as one row, or whole."""
    c.apply(replace(c.state, docks=replace(c.state.docks, thin_timeline=thin)))


def hold(c: Controller, peek: str) -> None:
    """Hold a peek, "none" for none."""
    c.apply(replace(c.state, hold="" if peek == "none" else peek))  # type: ignore[arg-type]
