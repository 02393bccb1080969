"""Folders are listed beside the window: opening one, and what the welcome page offers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeRunner
from PySide6.QtCore import QThread

from diffcam_studio.main_window import MainWindow
from diffcam_studio.worker.engine_thread import Cancel, JobRequest

Make = Callable[..., MainWindow]
SECONDS = 60_000


@pytest.fixture
def listed_on(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the threads that list a folder."""
    names: set[str] = set()
    glob = Path.glob

    def spy(self: Path, *args: Any, **options: Any) -> Any:
        if QThread.currentThread() is not None:
            names.add(QThread.currentThread().objectName())
        return glob(self, *args, **options)

    monkeypatch.setattr(Path, "glob", spy)
    return names


def write_run(path: Path, written: float) -> None:
    FakeRunner().run(JobRequest(path.stem, path.stem, "?", str(path)), lambda _: None, Cancel())
    os.utime(path, (written, written))


def test_a_folder_opens_its_newest_run(
    qtbot: Any, make_window: Make, tmp_path: Path, listed_on: set[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write_run(folder / "b.dcam", 2_000_000)
    write_run(folder / "c.dcam", 1_000_000)
    window = make_window()
    c = window.controller
    window.open_path(str(folder))
    qtbot.waitUntil(lambda: c.state.run == str(folder / "b.dcam"), timeout=SECONDS)
    assert listed_on == {"io"}
    empty = tmp_path / "empty"
    empty.mkdir()
    window.open_path(str(empty))
    qtbot.waitUntil(lambda: bool(window.messages.messages), timeout=SECONDS)
    assert "there is no run in this folder" in window.messages.messages[-1].title
    qtbot.waitUntil(c.is_settled, timeout=SECONDS)


def test_the_welcome_page_looks_beside_the_window(
    qtbot: Any, make_window: Make, tmp_path: Path, listed_on: set[str]
) -> None:
    kept, gone = tmp_path / "kept.dcam", tmp_path / "gone.dcam"
    write_run(kept, 2_000_000)
    window = make_window()
    c = window.controller
    c.runs_folder.mkdir(parents=True)
    write_run(c.runs_folder / "half.dcam", 1_000_000)
    half = (c.runs_folder / "half.dcam").rename(c.runs_folder / "half.dcam.part")
    c.add_recent(str(gone))
    c.add_recent(str(kept))
    qtbot.waitUntil(lambda: c.unfinished() == (str(half),), timeout=SECONDS)
    assert list(c.files.written) == [str(kept)]
    qtbot.waitUntil(lambda: str(half) in c.thumbnails, timeout=SECONDS)
    qtbot.waitUntil(lambda: bool(window.welcome._banner_widgets), timeout=SECONDS)
    assert listed_on == {"io"}
    half.unlink()
    c.look_for_files()
    qtbot.waitUntil(lambda: not window.welcome._banner_widgets, timeout=SECONDS)
    qtbot.waitUntil(c.is_settled, timeout=SECONDS)
