"""Token strip: chip states, clicks with modifiers, keys, wrapping, scrolling, words."""

from __future__ import annotations

import os
from dataclasses import replace

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QFocusEvent, QImage, QMouseEvent
from PySide6.QtWidgets import QApplication

from diffcam_studio.theme import load_theme
from diffcam_studio.views.painting import blend, chip_font, chip_text
from diffcam_studio.views.props import Chip, TokenStripProps
from diffcam_studio.views.token_strip import TokenStrip

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")
CHIPS = (
    Chip(0, "a", confidence=0.9, commit_step=3),
    Chip(1, " cat", confidence=0.93, commit_step=9, selected=True),
    Chip(2, "", "masked"),
    Chip(3, "above", "guess", 0.4),
    Chip(4, "balloon", confidence=0.6, now=True, commit_step=19),
    Chip(5, "the", "masked_again"),
    Chip(6, "cat", confidence=0.8, same=True),
    Chip(7, "", "end", count=38),
)
NONE = Qt.KeyboardModifier.NoModifier


@pytest.fixture(params=["dark", "light"])
def strip(qtbot, request):
    view = TokenStrip(load_theme(request.param))
    qtbot.addWidget(view)
    view.resize(872, view.height())
    view.set_props(TokenStripProps(CHIPS, written=52, total=64, step=19))
    view.show()
    return view


def shot(widget) -> QImage:
    return widget.grab().toImage()


def test_shade_is_the_confidence(strip):
    theme = strip.theme
    for confidence in (0.0, 0.4, 1.0):
        chips = (replace(CHIPS[0], text="word", confidence=confidence), *CHIPS[1:])
        strip.set_props(TokenStripProps(chips))
        color = shot(strip).pixelColor(strip.chip_rect(0).left() + 5, 25)
        wanted = blend(theme.color("chip_low"), theme.color("chip_high"), confidence)
        assert max(abs(a - b) for a, b in zip(color.getRgb(), wanted.getRgb(), strict=True)) <= 1


def test_states_differ_in_form_not_in_colour_alone(strip):
    image = shot(strip)
    masked = strip.chip_rect(2)
    edge = [
        image.pixelColor(x, masked.top()) != QColor(strip.theme["panel"])
        for x in range(masked.left() + 7, masked.right() - 6)
    ]
    assert any(edge)
    assert not all(edge), "dashed"
    assert chip_font(CHIPS[3]).italic()
    assert chip_font(CHIPS[5]).strikeOut()
    assert not chip_font(CHIPS[0]).italic()
    assert chip_font(CHIPS[1]).weight() > chip_font(CHIPS[0]).weight()
    now = strip.chip_rect(4)
    line = image.pixelColor(now.center().x(), now.bottom() - 2)
    assert line == QColor(strip.theme["commit"])
    selected = strip.chip_rect(1)
    assert image.pixelColor(selected.left() + 5, selected.center().y()) == QColor(
        strip.theme["accent"]
    )
    same = strip.chip_rect(6)
    assert image.pixelColor(same.center().x(), same.top()) == QColor(strip.theme["accent_line"])


def test_texts():
    assert chip_text(CHIPS[2]) == "\u00b7\u00b7\u00b7"
    assert chip_text(CHIPS[7]) == "end \u00d7 38"
    assert chip_text(CHIPS[1]) == "cat"
    assert chip_text(Chip(0, "\n")) == "\u21b5"
    assert chip_text(Chip(0, " ")) == "\u2423"


@pytest.mark.parametrize(
    "modifier", [NONE, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier]
)
def test_click_carries_position_and_modifiers(strip, qtbot, modifier):
    with qtbot.waitSignal(strip.token_clicked) as caught:
        at = strip.chip_rect(4).center()
        qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, modifier, at)
    assert caught.args == [4, modifier]


def test_click_between_chips_and_on_end_marks(strip, qtbot):
    gap = strip.chip_rect(0).topRight()
    gap.setX(gap.x() + 3)
    with qtbot.assertNotEmitted(strip.token_clicked):
        qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=gap)
    with qtbot.waitSignal(strip.end_run_clicked) as caught:
        qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=strip.chip_rect(7).center())
    assert caught.args == [7]


def test_places_do_not_jump_when_a_word_is_chosen(strip):
    before = [strip.chip_rect(i) for i in range(len(CHIPS))]
    chips = tuple(replace(chip, selected=chip.position == 4) for chip in CHIPS)
    strip.set_props(TokenStripProps(chips))
    assert [strip.chip_rect(i) for i in range(len(CHIPS))] == before


def test_partial_repaint_equals_a_full_one(strip, qtbot):
    other = TokenStrip(strip.theme)
    qtbot.addWidget(other)
    other.resize(strip.size())
    shot(strip)
    chips = (CHIPS[0], replace(CHIPS[1], selected=False), *CHIPS[2:])
    strip.set_props(TokenStripProps(chips, written=53, total=64, step=20))
    other.set_props(strip.props)
    assert shot(strip) == shot(other)


def test_wraps_scrolls_by_rows_and_hides_no_chip(strip, qtbot):
    chips = tuple(Chip(i, f"word{i}", confidence=0.5) for i in range(64))
    strip.set_props(TokenStripProps(chips))
    assert strip.rows > 3
    assert all(strip.chip_rect(i).right() < strip.width() for i in range(64))
    assert strip.chip_at(QPointF(strip.chip_rect(63).center())) == -1
    strip.scroll_to(100)
    assert strip.scroll_row == strip.rows - 2
    assert strip.chip_at(QPointF(strip.chip_rect(63).center())) == 63
    assert strip.chip_at(QPointF(strip.chip_rect(0).center())) == -1


def test_keyboard_moves_and_chooses(strip, qtbot):
    QApplication.sendEvent(strip, QFocusEvent(QEvent.Type.FocusIn, Qt.FocusReason.TabFocusReason))
    assert strip.current == 1  # the selected word
    qtbot.keyClick(strip, Qt.Key.Key_Right)
    qtbot.keyClick(strip, Qt.Key.Key_Right)
    assert strip.current == 3
    with qtbot.waitSignal(strip.token_clicked) as caught:
        qtbot.keyClick(strip, Qt.Key.Key_Return)
    assert caught.args == [3, NONE]
    qtbot.keyClick(strip, Qt.Key.Key_End)
    assert strip.current == len(CHIPS) - 1
    qtbot.keyClick(strip, Qt.Key.Key_Home)
    assert strip.current == 0
    assert "position 0" in strip.accessibleDescription()


def test_up_and_down_change_the_row(strip, qtbot):
    chips = tuple(Chip(i, f"word{i}", confidence=0.5) for i in range(64))
    strip.set_props(TokenStripProps(chips))
    for _ in range(10):
        qtbot.keyClick(strip, Qt.Key.Key_Down)
    rect = strip.chip_rect(strip.current)
    assert strip.chip_at(QPointF(rect.center())) == strip.current, "the chip is in sight"
    assert strip.current > 50


def test_words_of_a_chip(strip):
    text = strip.describe(CHIPS[1])
    assert text == "cat, position 1, written at step 9, confidence 0.93, selected"
    assert "masked" in strip.describe(CHIPS[2])
    assert "guess" in strip.describe(CHIPS[3])
    assert "written now" in strip.describe(CHIPS[4])
    assert strip.describe(CHIPS[7]) == "38 end marks"


def _move_to(widget, at):
    # Sent by hand: the test pointer may stand there already and would then not move.
    point = QPointF(at)
    none = Qt.MouseButton.NoButton
    return QMouseEvent(QEvent.Type.MouseMove, point, widget.mapToGlobal(point), none, none, NONE)


def test_hover_is_told(strip, qtbot):
    with qtbot.waitSignal(strip.token_hovered) as caught:
        QApplication.sendEvent(strip, _move_to(strip, strip.chip_rect(6).center()))
    assert caught.args == [6]
    with qtbot.waitSignal(strip.token_hovered) as caught:
        QApplication.sendEvent(strip, QEvent(QEvent.Type.Leave))
    assert caught.args == [-1]


def test_empty(strip):
    strip.set_props(TokenStripProps())
    shot(strip)
    assert strip.rows == 0
