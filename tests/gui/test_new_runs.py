"""New runs: a demo runs on its own picture, an opened image waits for the sheet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driving import PATIENCE_MS, settle
from fake_engine import FakeRunner
from PIL import Image

from diffcam_studio.demos import DEMOS
from diffcam_studio.main_window import MainWindow

Make = Callable[..., MainWindow]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("demo_first", [True, False])
def test_a_demo_and_an_opened_image_stay_apart(
    qtbot: Any, make_window: Make, photo: Path, demo_first: bool
) -> None:
    runner = FakeRunner(DEMOS[0].seed)
    window = make_window(runner)
    wishes = [lambda: window.run_demo(DEMOS[0].key), lambda: window.open_path(str(photo))]
    for wish in wishes if demo_first else reversed(wishes):
        wish()
    qtbot.waitUntil(lambda: bool(runner.ran), timeout=PATIENCE_MS)
    qtbot.waitUntil(window.run_sheet.isVisible, timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: window.controller.job is None, timeout=PATIENCE_MS)
    settle(qtbot, window)
    (request,) = runner.ran
    assert request.prompt == DEMOS[0].prompt
    assert request.image is not None
    assert request.image.shape[:2] == (640, 640)
    assert request.image_path == ""
    # What the sheet shows is what it would run.
    assert window.run_sheet._name.text() == "photo.png"
    assert window.controller.picture is not None
    assert window.controller.picture.path == str(photo)


def test_a_broken_image_leaves_the_demos_alive(
    qtbot: Any, make_window: Make, tmp_path: Path, photo: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    runner = FakeRunner(DEMOS[0].seed)
    window = make_window(runner)
    window.new_runs.demo_paths[DEMOS[0].key] = str(broken)
    window.run_demo(DEMOS[0].key)
    qtbot.waitUntil(lambda: bool(window.welcome_messages.messages), timeout=PATIENCE_MS)
    # The next image is nobody's demo, and another demo can be run.
    window.open_path(str(photo))
    qtbot.waitUntil(window.run_sheet.isVisible, timeout=PATIENCE_MS)
    assert runner.ran == []
    window.run_demo(DEMOS[1].key)
    qtbot.waitUntil(lambda: bool(runner.ran), timeout=PATIENCE_MS)
    assert runner.ran[0].prompt == DEMOS[1].prompt
    qtbot.waitUntil(lambda: window.controller.job is None, timeout=PATIENCE_MS)
    settle(qtbot, window)


def test_a_model_that_arrives_checks_the_open_sheet(
    qtbot: Any, make_window: Make, photo: Path
) -> None:
    window = make_window()
    window.open_path(str(photo))
    qtbot.waitUntil(window.run_sheet.isVisible, timeout=PATIENCE_MS)
    window.run_sheet.layers.setText("99")
    assert window.run_sheet.run_button.isEnabled()
    window.controller.warm_up()
    qtbot.waitUntil(lambda: not window.run_sheet.run_button.isEnabled(), timeout=PATIENCE_MS)
