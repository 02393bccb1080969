"""One walk through the Studio in a real window: started by its entry point, driven by events.

Run by ``.ci/run`` under Xvfb: ``DIFFCAM_REAL_WINDOW=1 pytest tests/gui -m xvfb``. What is on the
screen is read from the display itself, not asked of the widgets.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driving import (
    CONTROL,
    PATIENCE_MS,
    answer_next_box,
    click,
    pixels_of,
    press,
    show_active,
    tour,
    variety,
    wait_for_run,
)
from PySide6.QtCore import QPoint, QRect, Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QWidget

from diffcam_core.session import open_run
from diffcam_studio import app
from diffcam_studio.demos import DEMOS
from diffcam_studio.main_window import MainWindow

pytestmark = [
    pytest.mark.xvfb,
    pytest.mark.skipif(
        not (os.environ.get("DIFFCAM_REAL_WINDOW") and os.environ.get("DISPLAY")),
        reason="needs DIFFCAM_REAL_WINDOW=1 and a display",
    ),
]


@pytest.fixture
def switch_interval() -> Iterator[None]:
    """The entry point sets how often threads hand over the interpreter; set it back."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def screen_pixels(widget: QWidget) -> np.ndarray:
    """What the display shows where a widget is."""
    screen = QGuiApplication.primaryScreen()
    corner = widget.mapToGlobal(QPoint(0, 0))
    box = QRect(corner, widget.size()).intersected(screen.geometry())
    grabbed = screen.grabWindow(0, box.x(), box.y(), box.width(), box.height())
    return pixels_of(grabbed.toImage())


def find_window() -> MainWindow:
    return next(w for w in QApplication.topLevelWidgets() if isinstance(w, MainWindow))


@pytest.mark.timeout(280)
def test_a_stranger_runs_a_demo_and_walks_through_it(
    qtbot: Any,
    qapp: QApplication,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    switch_interval: None,
) -> None:
    assert qapp.platformName() == "xcb"
    failed: list[BaseException] = []

    def walk() -> None:
        """Runs inside the event loop of ``main``; nothing may escape into Qt."""
        window = find_window()
        try:
            _walk(qtbot, window, tmp_path, monkeypatch)
        except BaseException as error:  # noqa: BLE001 - raised again outside the event loop
            failed.append(error)
        finally:
            window.close_now()
            window.deleteLater()

    QTimer.singleShot(0, walk)
    status = app.main(["--size", "1440x900", "--runs", str(tmp_path / "runs")])
    if failed:
        raise failed[0]
    assert status == 0


def _walk(qtbot: Any, window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c = window.controller
    show_active(qtbot, window)
    card = window.welcome.card(DEMOS[0].key)
    assert card is not None
    # The card's picture is on the display before anyone clicks it.
    qtbot.waitUntil(lambda: variety(screen_pixels(card)) > 60, timeout=PATIENCE_MS)

    click(card)
    qtbot.waitUntil(lambda: c.job is not None, timeout=PATIENCE_MS)
    facts = wait_for_run(qtbot, window)
    assert facts.complete
    assert facts.prompt == DEMOS[0].prompt
    assert bool(facts.computed.any(axis=1).all() or not facts.valid.all())

    view = window.canvas.panels[0].view
    box = view.image_rect().toRect()

    def is_drawn() -> bool:
        whole = screen_pixels(view)
        part = whole[max(0, box.top()) : box.bottom(), max(0, box.left()) : box.right()]
        return part.size > 0 and variety(part) > 100

    qtbot.waitUntil(is_drawn, timeout=PATIENCE_MS)
    # The display shows what the widget paints: nothing lies over the picture.
    inner = box.adjusted(20, 20, -20, -20)
    seen = screen_pixels(view)[inner.top() : inner.bottom(), inner.left() : inner.right()]
    own = pixels_of(view.grab().toImage())
    painted = own[inner.top() : inner.bottom(), inner.left() : inner.right()]
    rows = seen.shape[0] * 2 // 3  # messages may lie over the lowest part
    difference = np.abs(seen[:rows].astype(int) - painted[:rows].astype(int)).max(axis=-1)
    assert (difference > 2).mean() < 0.02

    tour(qtbot, window, tmp_path, monkeypatch)
    shot = tmp_path / "window.png"
    assert window.save_screenshot(str(shot))

    # Once more on the same picture, and away while it runs.
    press(window, Qt.Key.Key_R, CONTROL)
    qtbot.waitUntil(window.run_sheet.isVisible, timeout=PATIENCE_MS)
    click(window.run_sheet.run_button)
    qtbot.waitUntil(lambda: c.job is not None, timeout=PATIENCE_MS)
    qtbot.waitUntil(
        lambda: c.facts is not None and c.facts.live and bool(c.facts.computed.any()),
        timeout=PATIENCE_MS,
    )
    job = c.job
    assert job is not None
    told = answer_next_box("Cancel job and close")
    window.close()
    assert len(told) == 1
    assert not window.isVisible()
    assert c.close()  # the engine ends out of sight
    with open_run(f"{job.request.out}.part") as run:
        assert run.computed.any()
        assert not run.complete
