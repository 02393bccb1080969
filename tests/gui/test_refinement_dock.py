"""The right dock on the whole window: parameters of every preset, and whose they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driving import press, settle, show_active, wait_for_run
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from diffcam_studio.demos import DEMOS
from diffcam_studio.main_window import MainWindow
from diffcam_studio.state import view_state as vs
from diffcam_studio.views.ladder import ParameterRow

Make = Callable[..., MainWindow]


def explored(qtbot: Any, make_window: Make) -> MainWindow:
    """Return a window that shows a finished run."""
    window = make_window()
    show_active(qtbot, window)
    window.run_demo(DEMOS[0].key)
    wait_for_run(qtbot, window)
    return window


def opened_row(window: MainWindow, stage: str, parameter: str) -> ParameterRow:
    """Open a stage of the ladder and return one of its parameters."""
    view = window.inspector.ladder.stages[stage]
    view.set_open(True)
    return view.parameters[parameter]


def test_every_stage_of_every_preset_opens_and_a_seed_is_typed(
    qtbot: Any, make_window: Make
) -> None:
    window = explored(qtbot, make_window)
    c = window.controller
    for preset in ("studio", "paper", "released"):
        c.apply(vs.set_preset(c.state, preset))
        settle(qtbot, window)
        for view in window.inspector.ladder.stages.values():
            view.set_open(True)
            assert list(view.parameters) == [p.name for p in view.row.parameters]
    field = opened_row(window, "akd", "noise_seed").field
    assert field is not None
    field.setFocus()
    field.selectAll()
    QTest.keyClicks(field, "4294967295")
    assert c.state.refinement.changes == ()
    # The arrows of a field are its own: the layer of the view stays.
    layer = c.state.layer
    press(window, Qt.Key.Key_Return)
    press(window, Qt.Key.Key_Down)
    assert c.state.refinement.changes == (("akd", "noise_seed", 4294967294.0),)
    assert c.state.layer == layer
    settle(qtbot, window)
    shown = opened_row(window, "akd", "noise_seed")
    assert shown.parameter.value == 4294967294
    assert shown.field is not None
    assert shown.field.number == 4294967294


def test_small_steps_keep_their_digits(qtbot: Any, make_window: Make) -> None:
    window = explored(qtbot, make_window)
    window.controller.apply(vs.set_preset(window.controller.state, "released"))
    settle(qtbot, window)
    noise = opened_row(window, "akd", "noise")
    assert noise.field is not None
    assert noise.field.decimals() == 6
