"""A layer or step without gradient path: the picture stays, the reason and a way out are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from driving import click, settle, show_active, wait_for_run

from diffcam_studio.demos import DEMOS
from diffcam_studio.jobs import JobView
from diffcam_studio.main_window import MainWindow
from diffcam_studio.presenter.canvas import canvas_props
from diffcam_studio.presenter.docks import layer_props
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts
from diffcam_studio.views.props import CanvasProps
from diffcam_studio.worker.queries import LayersFrame, PanelFrame

Make = Callable[..., MainWindow]


def explored(qtbot: Any, make_window: Make) -> tuple[MainWindow, RunFacts]:
    """Return a window that shows a finished run, and facts whose last layer has no path at all."""
    window = make_window()
    show_active(qtbot, window)
    window.run_demo(DEMOS[0].key)
    facts = wait_for_run(qtbot, window)
    valid, computed = facts.valid.copy(), facts.computed.copy()
    valid[:, -1] = computed[:, -1] = False
    return window, replace(facts, valid=valid, computed=computed)


def without_path(state: vs.ViewState, facts: RunFacts) -> CanvasProps:
    """Return what the canvas shows when the answer to a panel is that there is no path."""
    frames = {"A": PanelFrame("no_path", "No gradient path to the image")}
    return canvas_props(state, facts, frames, frozenset("A"), JobView())


def test_a_layer_without_path_keeps_the_image_and_offers_the_nearest_layer(
    qtbot: Any, make_window: Make
) -> None:
    window, facts = explored(qtbot, make_window)
    c = window.controller
    last = facts.layers[-1]
    c.apply(vs.select_layer(vs.go_to_step(c.state, 0, facts.n_steps), last, facts.layers))
    settle(qtbot, window)
    window.canvas.set_props(without_path(c.state, facts))
    panel = window.canvas.panels[0]
    assert panel.view.isVisible()
    assert panel.view.picture.size[0] > 0
    assert panel.message.isVisible()
    assert panel.message.height() < panel.view.height() / 2
    assert panel.message.message.action == f"Go to layer {last - 1}"
    click(panel.message.button)
    assert (c.state.step, c.state.layer) == (0, last - 1)


def test_a_step_without_path_offers_the_nearest_step_of_the_layer(
    qtbot: Any, make_window: Make
) -> None:
    window, facts = explored(qtbot, make_window)
    end = facts.n_steps - 1
    state = vs.go_to_step(window.controller.state, end, facts.n_steps)
    message = without_path(state, facts).panels[0].message
    assert message is not None
    assert message.title == f"No map at step {end}"
    assert message.action_key == f"step:{end - 2}"
    # A pinned panel does not follow the cursor, so there is no way to offer.
    pinned = without_path(vs.toggle_pin(state), facts).panels[0].message
    assert pinned is not None
    assert pinned.action == ""


def test_a_layer_row_without_path_says_so(qtbot: Any, make_window: Make) -> None:
    window, facts = explored(qtbot, make_window)
    state = vs.go_to_step(window.controller.state, 0, facts.n_steps)
    count = len(facts.layers)
    frame = LayersFrame((None,) * count, (None,) * count, "F3", ("F3",))
    rows = layer_props(state, facts, frame).rows
    assert [row.reason for row in rows] == [""] * (count - 1) + ["No gradient path"]
    window.regions.layer_section.set_props(layer_props(state, facts, frame))
    assert "no gradient path" in window.regions.layer_section.list.describe(count - 1)
