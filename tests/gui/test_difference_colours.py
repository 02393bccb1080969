"""Whose colours the Appearance section shows, and what the pin button stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driving import press, settle, show_active, wait_for_run
from PySide6.QtCore import Qt

from diffcam_studio.commands import look
from diffcam_studio.demos import DEMOS
from diffcam_studio.main_window import MainWindow
from diffcam_studio.state import view_state as vs

Make = Callable[..., MainWindow]


def explored(qtbot: Any, make_window: Make) -> MainWindow:
    """Return a window that shows a finished run."""
    window = make_window()
    show_active(qtbot, window)
    window.run_demo(DEMOS[0].key)
    wait_for_run(qtbot, window)
    return window


def test_the_difference_has_its_own_colours(qtbot: Any, make_window: Make) -> None:
    window = explored(qtbot, make_window)
    c, colours = window.controller, window.inspector.appearance
    window.registry.trigger("view.difference")
    settle(qtbot, window)
    scale = window.canvas.panels[0].props.scale
    assert scale.diverging
    assert colours.cmap.current == scale.cmap == "berlin"
    assert colours.range.range == (scale.low, scale.high)
    assert not colours.range.isEnabled()
    colours.cmap_requested.emit("vik")
    settle(qtbot, window)
    assert window.canvas.panels[0].props.scale.cmap == "vik"
    assert c.state.appearance.colour_map == "inferno"
    window.registry.trigger("view.single")
    settle(qtbot, window)
    assert colours.cmap.current == "inferno"
    assert colours.range.isEnabled()


def test_the_section_names_the_active_panel(qtbot: Any, make_window: Make) -> None:
    window = explored(qtbot, make_window)
    c = window.controller
    window.registry.trigger("view.split_stage")
    look.activate_panel(c, "C")
    window.registry.trigger("view.single")
    settle(qtbot, window)
    assert window.inspector.appearance.target.text() == "Panel C"


def test_the_pin_button_is_what_its_key_does(qtbot: Any, make_window: Make) -> None:
    window = explored(qtbot, make_window)
    c = window.controller
    window.registry.trigger("view.split_stage")
    look.activate_panel(c, "B")
    window.registry.trigger("view.single")
    settle(qtbot, window)
    pin = window.canvas.panels[0].header.pin
    assert not pin.isChecked()
    window.canvas.setFocus()
    for wanted in (True, False):
        press(window, Qt.Key.Key_P)
        settle(qtbot, window)
        assert vs.active_panel(c.state).is_pinned is wanted
        assert pin.isChecked() is wanted
    assert vs.active_panel(c.state).stage == 1
