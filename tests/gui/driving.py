"""Hands and eyes of the end-to-end tests: real events through the window, pixels, a whole tour.

Clicks and keys go to the QWindow, so Qt itself finds the widget under the pointer and the one
with the focus: a widget that is covered, disabled or out of focus fails the test as it would
fail a user.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QMessageBox, QWidget

from diffcam_core.session import open_run
from diffcam_studio.main_window import MainWindow
from diffcam_studio.state.source import RunFacts, WordSpan
from diffcam_studio.worker.queries import PanelFrame

PATIENCE_MS = 120_000
CONTROL = Qt.KeyboardModifier.ControlModifier
NO_MODIFIER = Qt.KeyboardModifier.NoModifier


def click(widget: QWidget, at: QPoint | None = None) -> None:
    """Press and release the left button over a widget, by way of its window."""
    window = widget.window()
    point = widget.mapTo(window, at if at is not None else widget.rect().center())
    handle = window.windowHandle()
    # The platform swallows a move to where the pointer is already.
    QTest.mouseMove(handle, point - QPoint(1, 1))
    QTest.mouseMove(handle, point)
    QTest.mouseClick(handle, Qt.MouseButton.LeftButton, NO_MODIFIER, point)


def press(window: QWidget, key: Qt.Key, modifiers: Qt.KeyboardModifier = NO_MODIFIER) -> None:
    """Press and release a key; whoever has the focus gets it."""
    QTest.keyClick(window.windowHandle(), key, modifiers)


def drop(widget: QWidget, *paths: Path) -> bool:
    """Drag files over a widget and let them go; says whether they were taken."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    at = QPointF(widget.rect().center())
    buttons, action = Qt.MouseButton.LeftButton, Qt.DropAction.CopyAction
    enter = QDragEnterEvent(at.toPoint(), action, data, buttons, NO_MODIFIER)
    QApplication.sendEvent(widget, enter)
    if not enter.isAccepted():
        return False
    fall = QDropEvent(at, action, data, buttons, NO_MODIFIER)
    QApplication.sendEvent(widget, fall)
    return fall.isAccepted()


def answer_next_box(button_text: str) -> list[str]:
    """Click a button of the next message box; the list gets the box's text when it comes."""
    told: list[str] = []
    poll = QTimer(QApplication.instance())
    poll.setInterval(20)

    def look() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox) or not box.isVisible():
            return
        poll.stop()
        poll.deleteLater()
        told.append(box.text())
        button = next(b for b in box.buttons() if b.text() == button_text)
        click(button)

    poll.timeout.connect(look)
    poll.start()
    return told


def show_active(qtbot: Any, window: MainWindow) -> None:
    """Wait until the window is on the screen and has the keyboard."""
    with qtbot.waitExposed(window, timeout=PATIENCE_MS):
        window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=PATIENCE_MS)


def settle(qtbot: Any, window: MainWindow) -> None:
    """Wait until everything that the view asked for is there and shown."""
    qtbot.waitUntil(window.controller.is_settled, timeout=PATIENCE_MS)


def finished_facts(window: MainWindow) -> RunFacts | None:
    """Facts of the shown run once it is a finished file."""
    c = window.controller
    facts = c.facts
    if c.job is not None or facts is None or facts.key.startswith("live:"):
        return None
    return facts


def wait_for_run(qtbot: Any, window: MainWindow) -> RunFacts:
    """Wait until a job has ended and its file is shown."""
    qtbot.waitUntil(lambda: finished_facts(window) is not None, timeout=PATIENCE_MS)
    settle(qtbot, window)
    facts = finished_facts(window)
    assert facts is not None
    return facts


def shown_frame(window: MainWindow) -> PanelFrame:
    """What the active panel shows."""
    c = window.controller
    frame = c.arrivals.frames[c.state.panels[c.state.active_panel].letter]
    assert isinstance(frame, PanelFrame), frame
    return frame


def some_word(facts: RunFacts) -> WordSpan:
    """A noun that was explained, or any explained word; a full stop is none."""
    known = [w for w in facts.words if set(w.positions) <= set(facts.targets)]
    known = [w for w in known if any(c.isalpha() for p in w.positions for c in facts.tokens[p])]
    assert known, f"No word was explained in {facts.answer!r}"
    nouns = [w for w in known if w.is_noun]
    return (nouns or known)[0]


def click_word(window: MainWindow, word: WordSpan) -> None:
    """Click a word in the token strip."""
    strip = window.strip
    index = next(i for i, c in enumerate(strip.props.chips) if c.position == word.positions[0])
    click(strip, strip.chip_rect(index).center())


def check_against_file(window: MainWindow, facts: RunFacts) -> None:
    """The map on the canvas is the one that the run file holds for this step, layer and word."""
    state, frame = window.controller.state, shown_frame(window)
    if not facts.is_computed(state.step, state.layer):
        assert frame.state in ("not_computed", "no_path")
        assert frame.values is None
        return
    with open_run(facts.key) as run:
        maps = run.maps(state.step, state.layer)
    rows = [facts.targets.index(p) for p in state.tokens if p in facts.targets]
    expected = maps[rows].mean(axis=0)
    if not np.isfinite(expected).all():
        assert frame.state == "not_computed"
        return
    assert frame.raw is not None
    np.testing.assert_allclose(frame.raw, expected, rtol=1e-6, atol=1e-12)


def pixels_of(image: QImage) -> np.ndarray:
    """Colours of a picture, uint8 (rows, columns, 3)."""
    rgb = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(rgb.constBits(), np.uint8).reshape(rgb.height(), rgb.bytesPerLine())
    return rows[:, : rgb.width() * 3].reshape(rgb.height(), rgb.width(), 3).copy()


def variety(pixels: np.ndarray) -> int:
    """How many different colours there are, of 4096."""
    coarse = pixels.astype(np.int64) >> 4
    return int(np.unique(coarse[..., 0] * 256 + coarse[..., 1] * 16 + coarse[..., 2]).size)


def canvas_pixels(window: MainWindow) -> np.ndarray:
    """What the canvas paints now."""
    return pixels_of(window.canvas.grab().toImage())


def tour(qtbot: Any, window: MainWindow, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What everyone does with a finished run: word, arrows, refinement, difference, export."""
    c = window.controller
    facts = finished_facts(window)
    assert facts is not None

    word = some_word(facts)
    click_word(window, word)
    assert c.state.tokens == word.positions
    settle(qtbot, window)

    # Start from where the word was written: that step has a map in every kind of run.
    press(window, Qt.Key.Key_W)
    home = c.state.step
    assert home == max(int(facts.commit_step[p]) for p in word.positions)
    settle(qtbot, window)
    check_against_file(window, facts)
    assert shown_frame(window).values is not None

    layer = c.state.layer
    forward = home < facts.n_steps - 1
    there, back = (Qt.Key.Key_Right, Qt.Key.Key_Left)
    if not forward:
        there, back = back, there
    press(window, there)
    assert c.state.step == home + (1 if forward else -1)
    settle(qtbot, window)
    check_against_file(window, facts)
    press(window, back)
    assert c.state.step == home
    press(window, Qt.Key.Key_Up)
    press(window, Qt.Key.Key_Up)
    settle(qtbot, window)
    assert c.state.layer != layer or facts.layers.index(layer) == 0
    check_against_file(window, facts)
    press(window, Qt.Key.Key_Down)
    settle(qtbot, window)
    check_against_file(window, facts)

    # A switch of the ladder changes the picture; the same key brings it back.
    refined, before = shown_frame(window), canvas_pixels(window)
    press(window, Qt.Key.Key_0)
    settle(qtbot, window)
    qtbot.waitUntil(lambda: not np.array_equal(canvas_pixels(window), before))
    raw = shown_frame(window)
    assert c.state.refinement.raw
    assert raw.native is not None
    assert refined.native is not None
    assert not np.allclose(raw.native, refined.native)
    press(window, Qt.Key.Key_0)
    settle(qtbot, window)
    np.testing.assert_array_equal(shown_frame(window).native, refined.native)
    press(window, Qt.Key.Key_1)
    settle(qtbot, window)
    assert c.state.refinement.off
    press(window, Qt.Key.Key_1)
    settle(qtbot, window)
    assert not c.state.refinement.off

    press(window, Qt.Key.Key_5, CONTROL)
    settle(qtbot, window)
    assert c.state.mode == "difference"
    assert len(c.state.panels) == 2
    assert variety(canvas_pixels(window)) > 20

    target = folder / "view.png"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_a, **_k: (str(target), ""))
    with qtbot.waitSignal(c.written, timeout=PATIENCE_MS) as signal:
        press(window, Qt.Key.Key_E, CONTROL)
    assert signal.args == [str(target)]
    figure = QImage(str(target))
    assert not figure.isNull()
    assert variety(pixels_of(figure)) > 20
    press(window, Qt.Key.Key_1, CONTROL)
    settle(qtbot, window)
    assert c.state.mode == "single"
