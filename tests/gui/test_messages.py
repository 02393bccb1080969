"""Messages: every word can be read, a file is named once, one fact is one card."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from driving import PATIENCE_MS, settle
from fake_engine import FakeRunner
from PySide6.QtWidgets import QWidget

from diffcam_core.errors import InputError
from diffcam_core.images import open_image
from diffcam_core.session import open_run
from diffcam_studio.chrome import Message, MessageStack
from diffcam_studio.demos import DEMOS
from diffcam_studio.file_trouble import file_trouble
from diffcam_studio.main_window import MainWindow
from diffcam_studio.theme import load_theme
from diffcam_studio.views.controls import Label

Make = Callable[..., MainWindow]


@pytest.fixture
def stack(qtbot: Any) -> Iterator[MessageStack]:
    host = QWidget()
    host.resize(800, 600)
    widget = MessageStack(load_theme("dark"), host)
    host.show()
    yield widget
    host.close()
    host.deleteLater()


def test_a_long_message_is_shown_whole(stack: MessageStack, qtbot: Any) -> None:
    cause = "photo failed: " + "the memory is full, use fewer layers or a smaller image; " * 4
    stack.add(Message("error", cause, "The finished steps are kept.", "Resume"))
    stack.add(Message("info", "Copied"))
    long, short = stack.findChildren(type(stack._cards[0]))
    qtbot.waitUntil(lambda: short.height() == 44, timeout=PATIENCE_MS)
    assert long.height() > 44
    for label in long.findChildren(Label):
        assert label.height() >= label.heightForWidth(label.width())
    assert long.geometry().bottom() < short.geometry().top()
    assert stack.rect().contains(short.geometry())


@pytest.mark.parametrize("name", ["broken.dcam", "broken.png", "gone.png", "gone.dcam"])
def test_a_file_is_named_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("broken"):
        path.write_bytes(b"nothing of use")
    with pytest.raises(Exception, match=name) as caught:
        open_run(path) if name.endswith(".dcam") else open_image(path)
    said = file_trouble("open", str(path), caught.value.cause)  # type: ignore[attr-defined]
    assert said.count(name) == 1
    bare = InputError("the disk is full").cause
    assert file_trouble("write", "/x/a.pdf", bare) == "Cannot write a.pdf: the disk is full"


def test_cancelling_is_one_card_that_offers_to_resume(qtbot: Any, make_window: Make) -> None:
    gate = threading.Semaphore(0)
    window = make_window(FakeRunner(DEMOS[0].seed, gate))
    c = window.controller
    window.run_demo(DEMOS[0].key)
    gate.release(2)
    qtbot.waitUntil(
        lambda: c.facts is not None and c.facts.computed.any(axis=1).sum() == 2,
        timeout=PATIENCE_MS,
    )
    c.cancel_job()
    qtbot.waitUntil(lambda: c.state.run.endswith(".part"), timeout=PATIENCE_MS)
    settle(qtbot, window)
    (message,) = window.messages.messages
    assert "was cancelled" in message.title
    assert message.detail == "2 of 16 steps are safe."
    assert message.action == "Resume"
    # Opened by hand, the same file says what it is.
    part = c.state.run
    c.close_run(part)
    c.open_run(part)
    qtbot.waitUntil(lambda: c.state.run == part, timeout=PATIENCE_MS)
    settle(qtbot, window)
    shown = (*window.messages.messages, *window.welcome_messages.messages)
    assert any("is unfinished" in m.title for m in shown)
