"""Drops: what lights up is taken, what cannot be used is turned away at the door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from driving import PATIENCE_MS
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QColor, QDragEnterEvent, QDropEvent, QImage
from PySide6.QtWidgets import QApplication, QWidget

from diffcam_studio.main_window import MainWindow

Make = Callable[..., MainWindow]


def drag(widget: QWidget, data: QMimeData) -> tuple[bool, bool]:
    """Drag over a widget and let go; whether it was let in, and whether it was taken."""
    action, button = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    at, no = QPointF(widget.rect().center()), Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(at.toPoint(), action, data, button, no)
    enter.ignore()
    QApplication.sendEvent(widget, enter)
    if not enter.isAccepted():
        return False, False
    fall = QDropEvent(at, action, data, button, no)
    fall.ignore()
    QApplication.sendEvent(widget, fall)
    return True, fall.isAccepted()


@pytest.mark.parametrize("where", ["window", "welcome"])
def test_an_address_is_turned_away_and_a_picture_is_taken(
    qtbot: Any, make_window: Make, where: str
) -> None:
    window = make_window()
    widget = window if where == "window" else window.welcome
    address = QMimeData()
    address.setUrls([QUrl("https://example.org/cat.png")])
    assert drag(widget, address) == (False, False)
    # A browser hands over both: the address is of no use, the picture is.
    picture = QMimeData()
    image = QImage(30, 20, QImage.Format.Format_RGB32)
    image.fill(QColor(10, 200, 30))
    picture.setImageData(image)
    picture.setUrls([QUrl("https://example.org/cat.png")])
    assert drag(widget, picture) == (True, True)
    qtbot.waitUntil(window.run_sheet.isVisible, timeout=PATIENCE_MS)
    taken = window.controller.picture
    assert taken is not None
    assert taken.name == "dropped image"
    assert taken.pixels.shape == (20, 30, 3)
    assert tuple(taken.pixels[0, 0]) == (10, 200, 30)
