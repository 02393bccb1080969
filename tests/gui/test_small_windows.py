"""Windows that are narrow or low: nothing covers anything, and nothing makes them grow."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from driving import settle, show_active, wait_for_run
from PySide6.QtCore import QRect
from PySide6.QtWidgets import QMenu

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


def test_the_log_does_not_make_a_low_window_grow(qtbot: Any, make_window: Make) -> None:
    window = explored(qtbot, make_window)
    window.resize(1280, 720)
    for _ in range(2):
        window.registry.trigger("view.log")
        settle(qtbot, window)
        qtbot.waitUntil(lambda: window.log_pane.isVisible() is window.controller.state.docks.log)
        assert (window.width(), window.height()) == (1280, 720)


@pytest.mark.parametrize("width", [1440, 1100, 880, 780])
def test_the_top_bar_has_room_for_all_its_parts(qtbot: Any, make_window: Make, width: int) -> None:
    window = explored(qtbot, make_window)
    window.resize(width, 720)
    bar = window.top_bar
    qtbot.waitUntil(lambda: bar.width() == window.width())
    bar.layout().activate()
    parts = [bar.menus, bar.modes, bar.search_field, bar.run_button]
    boxes = [part.geometry() for part in parts]
    assert all(QRect(0, 0, bar.width(), bar.height()).contains(box) for box in boxes)
    for left, right in pairwise(boxes):
        assert left.right() < right.left()


def test_every_menu_fits_a_low_window_and_shows_its_plain_keys(make_window: Make) -> None:
    window = make_window()
    menus = window.top_bar.menus.findChildren(QMenu)
    assert {"View", "Run", "Panels", "Refinement"} <= {menu.title() for menu in menus}
    assert all(menu.sizeHint().height() < 700 for menu in menus)
    texts = [action.text() for menu in menus for action in menu.actions()]
    assert "Play or pause\tSpace" in texts
    assert "Raw map\t0" in texts
