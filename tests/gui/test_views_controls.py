"""Small controls: buttons, switch, segments, choice, slider, focus ring."""

from __future__ import annotations

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest
from PySide6.QtCore import QAbstractAnimation, QEvent, QPoint, Qt
from PySide6.QtGui import QColor, QFocusEvent
from PySide6.QtWidgets import QApplication, QHBoxLayout, QWidget

from diffcam_studio.theme import load_theme
from diffcam_studio.views.controls import (
    Choice,
    FocusRing,
    IconButton,
    Label,
    Segments,
    Slider,
    Switch,
    TextButton,
    set_reduce_motion,
    spread_theme,
)

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")


@pytest.fixture
def host(qtbot):
    view = QWidget()
    qtbot.addWidget(view)
    QHBoxLayout(view)
    view.resize(400, 60)
    view.show()
    return view


def add(host, widget):
    host.layout().addWidget(widget)
    widget.show()
    return widget


def test_icon_button_is_named_and_toggles(host, qtbot):
    button = add(host, IconButton(load_theme("dark"), "pin", "Pin step", "P", checkable=True))
    assert button.accessibleName() == "Pin step"
    assert button.toolTip() == "Pin step (P)"
    with qtbot.waitSignal(button.clicked):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert button.isChecked()
    on = button.grab().toImage().pixelColor(3, 12)
    assert on == QColor(button.theme["selected"])


def test_text_button_fits_its_words(host):
    button = add(host, TextButton(load_theme("dark"), "Open image", icon="open-image"))
    short = button.sizeHint().width()
    button.set_text("Compute again with 4 layers", "retry")
    assert button.sizeHint().width() > short
    assert button.accessibleName() == "Compute again with 4 layers"


def test_switch_moves_for_the_hand_and_jumps_for_props(host, qtbot):
    switch = add(host, Switch(load_theme("dark"), "AKD"))
    switch.set_on(True)
    assert switch.isChecked()
    assert switch._move.state() == QAbstractAnimation.State.Stopped
    qtbot.mouseClick(switch, Qt.MouseButton.LeftButton)
    assert not switch.isChecked()
    qtbot.waitUntil(lambda: switch._move.state() == QAbstractAnimation.State.Stopped)
    assert switch._knob == 0.0
    set_reduce_motion(True)
    try:
        qtbot.mouseClick(switch, Qt.MouseButton.LeftButton)
        assert switch._move.state() == QAbstractAnimation.State.Stopped
        assert switch._knob == 1.0
    finally:
        set_reduce_motion(False)


def test_segments_are_exclusive_and_walk_with_arrows(host, qtbot):
    options = [("map", "Map"), ("trajectory", "Trajectory"), ("run", "Run")]
    segments = add(host, Segments(load_theme("dark"), "Normalise", options, "map"))
    with qtbot.waitSignal(segments.chosen) as caught:
        qtbot.keyClick(segments, Qt.Key.Key_Right)
    assert caught.args == ["trajectory"]
    assert segments.current == "trajectory"
    assert sum(segments.button(key).isChecked() for key, _ in options) == 1
    with qtbot.assertNotEmitted(segments.chosen):
        segments.set_current("run")
    assert segments.current == "run"


def test_choice_walks_and_opens(host, qtbot):
    choice = add(host, Choice(load_theme("dark"), "Preset", [("a", "A"), ("b", "B")], "a"))
    with qtbot.waitSignal(choice.chosen) as caught:
        qtbot.keyClick(choice, Qt.Key.Key_Down)
    assert caught.args == ["b"]
    with qtbot.assertNotEmitted(choice.chosen):
        qtbot.keyClick(choice, Qt.Key.Key_Down)
    menu = choice.build_menu()
    assert [action.text() for action in menu.actions()] == ["A", "B"]
    with qtbot.waitSignal(choice.chosen) as caught:
        menu.actions()[0].trigger()
    assert caught.args == ["a"]


def test_slider_counts_in_steps_and_goes_back_to_its_default(host, qtbot):
    slider = add(host, Slider(load_theme("dark"), "Opacity", 0.0, 1.0, 0.05, 0.3, default=0.6))
    assert slider.number == pytest.approx(0.3)
    with qtbot.waitSignal(slider.settled) as caught:
        qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert caught.args == [pytest.approx(0.35)]
    qtbot.mouseDClick(slider, Qt.MouseButton.LeftButton, pos=QPoint(5, 8))
    assert slider.number == pytest.approx(0.6)
    qtbot.mouseClick(slider, Qt.MouseButton.LeftButton, pos=QPoint(slider.width() - 1, 8))
    assert slider.number == 1.0


def test_focus_ring_follows_tab_and_not_clicks(host):
    theme = load_theme("dark")
    button = add(host, IconButton(theme, "pin", "Pin"))
    ring = FocusRing(host, theme)

    def focus(reason):
        QApplication.sendEvent(button, QFocusEvent(QEvent.Type.FocusIn, reason))

    focus(Qt.FocusReason.MouseFocusReason)
    assert ring.target is None
    focus(Qt.FocusReason.TabFocusReason)
    assert ring.target is button
    assert ring.isVisible()
    assert ring.geometry().contains(button.geometry())
    QApplication.sendEvent(button, QFocusEvent(QEvent.Type.FocusOut))
    assert ring.target is None
    assert not ring.isVisible()


def test_theme_spreads_through_plain_widgets(host):
    inner = QWidget()
    QHBoxLayout(inner)
    host.layout().addWidget(inner)
    label = Label(load_theme("dark"), "words")
    inner.layout().addWidget(label)
    light = load_theme("light")
    spread_theme(host, light)
    assert label.theme is light
