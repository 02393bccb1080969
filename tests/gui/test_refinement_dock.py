"""The right dock on the whole window: parameters of every preset, and whose they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from driving import CONTROL, press, settle, show_active, wait_for_run
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from diffcam_core.refinement import PRESETS
from diffcam_studio.commands import look
from diffcam_studio.demos import DEMOS
from diffcam_studio.main_window import MainWindow
from diffcam_studio.state import view_state as vs
from diffcam_studio.views.ladder import ParameterRow
from diffcam_studio.worker.queries import PanelFrame

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


def test_two_quick_presses_of_a_stage_key_cancel_out(qtbot: Any, make_window: Make) -> None:
    window = explored(qtbot, make_window)
    c = window.controller
    first = c.arrivals.stages[0].stage
    press(window, Qt.Key.Key_1)
    assert c.state.refinement.off == (first,)
    # No answer has come in between.
    press(window, Qt.Key.Key_1)
    assert c.state.refinement.off == ()


def test_every_stage_of_every_preset_has_a_key(qtbot: Any, make_window: Make) -> None:
    window = explored(qtbot, make_window)
    c = window.controller
    for preset, pipeline in PRESETS.items():
        c.apply(vs.set_preset(c.state, preset))
        settle(qtbot, window)
        for number, stage in enumerate(pipeline.stages, 1):
            press(window, Qt.Key(Qt.Key.Key_0.value + number))
            assert stage.name in c.state.refinement.off


def test_docks_and_code_belong_to_the_active_panel(qtbot: Any, make_window: Make) -> None:
    window = explored(qtbot, make_window)
    c = window.controller
    facts = c.facts
    assert facts is not None
    nouns = [w for w in facts.words if w.is_noun and set(w.positions) <= set(facts.targets)]
    first, other = nouns[0], nouns[1]
    c.apply(vs.select_tokens(c.state, first.positions))
    window.registry.trigger("view.split_token")
    letter = next(p.letter for p in c.state.panels if p.tokens == other.positions)
    look.activate_panel(c, letter)
    settle(qtbot, window)

    def shown() -> dict[str, float | None]:
        return {m.title: m.value for m in window.inspector.metrics.props.metrics}

    frame = c.arrivals.frames[letter]
    assert isinstance(frame, PanelFrame)
    assert shown()
    assert shown() == pytest.approx({k: v for k, v in frame.metrics if k in shown()})
    assert c.arrivals.ladder is not None
    assert c.arrivals.ladder.region_word == frame.region_word
    press(window, Qt.Key.Key_C, CONTROL | Qt.KeyboardModifier.AltModifier)
    assert f"token={other.positions[0]}," in QGuiApplication.clipboard().text()

    # A stage of the ladder: the metrics are those of the panel, and the code ends there.
    window.registry.trigger("view.split_stage")
    look.activate_panel(c, "B")
    settle(qtbot, window)
    frame = c.arrivals.frames["B"]
    assert isinstance(frame, PanelFrame)
    assert shown()
    assert shown() == pytest.approx({k: v for k, v in frame.metrics if k in shown()})
    stages = c.arrivals.stage_names
    press(window, Qt.Key.Key_C, CONTROL | Qt.KeyboardModifier.AltModifier)
    code = QGuiApplication.clipboard().text()
    assert [stage for stage in stages if f"{stage!r}, False" in code] == list(stages[1:])

    # A preset of the panel's own: its switches change this panel, not the others.
    window.registry.trigger("view.split_refinement")
    look.activate_panel(c, "A")
    settle(qtbot, window)
    press(window, Qt.Key.Key_C, CONTROL | Qt.KeyboardModifier.AltModifier)
    assert ".refine(" not in QGuiApplication.clipboard().text()
    look.activate_panel(c, "B")
    settle(qtbot, window)
    assert window.inspector.ladder.props.preset == "released"
    stage = c.arrivals.stage_names[0]
    press(window, Qt.Key.Key_1)
    settle(qtbot, window)
    own = vs.active_panel(c.state).refinement
    assert own == vs.Refinement("released", off=(stage,))
    assert c.state.refinement.off == ()
    assert not window.inspector.ladder.stages[stage].switch.isChecked()
