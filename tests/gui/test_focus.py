"""Where the focus goes, and the ring that shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driving import CONTROL, press, settle, show_active, wait_for_run
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QScrollArea, QWidget

from diffcam_studio.actions import SPECS
from diffcam_studio.demos import DEMOS
from diffcam_studio.main_window import MainWindow

Make = Callable[..., MainWindow]


def explored(qtbot: Any, make_window: Make) -> MainWindow:
    """Return a window that shows a finished run."""
    window = make_window()
    show_active(qtbot, window)
    window.run_demo(DEMOS[0].key)
    wait_for_run(qtbot, window)
    return window


def ring_is_on(window: MainWindow, target: QWidget) -> bool:
    """Whether the ring lies around a widget."""
    top = target.mapTo(window, QPoint(0, 0))
    return window.focus_ring.pos() == top - QPoint(4, 4)


def test_a_card_gives_the_focus_back(qtbot: Any, make_window: Make) -> None:
    window = explored(qtbot, make_window)
    c = window.controller
    window.canvas.setFocus()
    for key in (Qt.Key.Key_R, Qt.Key.Key_K):
        press(window, key, CONTROL)
        assert QApplication.focusWidget() is not window.canvas
        press(window, Qt.Key.Key_Escape)
        assert QApplication.focusWidget() is window.canvas
    refinement = c.state.refinement
    press(window, Qt.Key.Key_Space)
    assert c.state.playback.playing
    assert c.state.refinement == refinement
    press(window, Qt.Key.Key_Space)


def test_the_ring_stays_around_its_target(qtbot: Any, make_window: Make) -> None:
    window = explored(qtbot, make_window)
    # Middle and right of the window: the one moves with the docks, the other with the width.
    for target in (window.canvas.panels[0].header.pin, window.inspector.ladder.preset):
        window.focus_ring.follow(target)
        assert ring_is_on(window, target)
        window.resize(1500, 940)
        qtbot.waitUntil(lambda: window.inspector.mapTo(window, QPoint(0, 0)).x() > 1150)
        assert ring_is_on(window, target)
        window.resize(1440, 900)
        qtbot.waitUntil(lambda: window.inspector.mapTo(window, QPoint(0, 0)).x() < 1150)
        assert ring_is_on(window, target)
    pin = window.canvas.panels[0].header.pin
    window.focus_ring.follow(pin)
    before = window.focus_ring.pos()
    window.registry.trigger("view.right")
    qtbot.waitUntil(lambda: ring_is_on(window, pin) and window.focus_ring.pos() != before)


def test_the_ring_scrolls_out_of_sight_with_its_target(qtbot: Any, make_window: Make) -> None:
    window = explored(qtbot, make_window)
    for view in window.inspector.ladder.stages.values():
        view.set_open(True)
    settle(qtbot, window)
    first = window.inspector.appearance.header
    window.focus_ring.follow(first)
    area = window.inspector.findChild(QScrollArea)
    assert area is not None
    bar = area.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 100)
    bar.setValue(bar.maximum())
    assert ring_is_on(window, first)
    assert not window.focus_ring.isVisible()
    bar.setValue(0)
    assert window.focus_ring.isVisible()


def test_buttons_of_a_panel_name_the_keys_of_their_actions(make_window: Make) -> None:
    header = make_window().canvas.panels[0].header
    keys = {spec.id: spec.keys[0] for spec in SPECS if spec.keys}
    for button, action in (
        (header.pin, "view.pin"),
        (header.link, "view.link"),
        (header.split, "view.split"),
    ):
        assert f"({keys[action]})" in button.toolTip()
