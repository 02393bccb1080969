"""GUI tests: offscreen, isolated from the user's files, and leaving nothing behind."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

# Set before Qt is loaded, that is, before the imports below; DIFFCAM_TESTS_HEADED=1 opts out, and
# DIFFCAM_REAL_WINDOW=1, with which .ci/run runs the tests marked "xvfb", asks for X.
if os.environ.get("DIFFCAM_REAL_WINDOW"):
    os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
elif not os.environ.get("DIFFCAM_TESTS_HEADED"):
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ.setdefault("QT_API", "pyside6")
sys.path.insert(0, str(Path(__file__).parent))

import pytest
import shiboken6
from PySide6.QtCore import (
    QCoreApplication,
    QEvent,
    QObject,
    QThread,
    QTimer,
    qInstallMessageHandler,
)
from PySide6.QtWidgets import QApplication

from diffcam_studio.main_window import MainWindow
from diffcam_studio.state.settings import Places

# The offscreen platform has no window manager to tell; the message is about the platform itself.
_HARMLESS = ("propagateSizeHints",)


@pytest.fixture(scope="session")
def qapp_args() -> list[str]:
    """Name of the test program."""
    return ["diffcam-studio-tests"]


@pytest.fixture(scope="session", autouse=True)
def only_new_objects() -> Iterator[None]:
    """Keep what was there before the first GUI test out of their hunts for leaks.

    After the other tests that is millions of objects, and every hunt walks through all of them.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def themed(qapp: QApplication) -> None:
    """Begin every test with the dark look, whatever the test before left."""
    from diffcam_studio.theme import apply_theme, build_style_sheet, load_theme

    dark = load_theme("dark")
    if qapp.styleSheet() != build_style_sheet(dark):
        apply_theme(qapp, dark)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's files."""
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Folders of the program for one test."""
    return Places(tmp_path / "config", tmp_path / "data")


@pytest.fixture(autouse=True)
def nothing_left(qapp: QApplication, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves threads, timers or windows, or that makes Qt warn."""
    told: list[str] = []

    def hear(_kind: object, _context: object, text: str) -> None:
        if not any(word in text for word in _HARMLESS):
            told.append(text)

    before_threads = set(threading.enumerate())
    old = qInstallMessageHandler(hear)
    yield
    qInstallMessageHandler(old)
    _drain()
    assert told == [], f"Qt warned: {told}"
    threads = [
        t.objectName() for t in _objects(QThread) if t.isRunning() and t is not qapp.thread()
    ]
    assert threads == [], f"Threads still run: {threads}"
    # Python keeps a dummy entry for every Qt thread that ever logged; those are checked above.
    left = {t for t in threading.enumerate() if type(t) is not threading._DummyThread}
    left -= before_threads
    assert not left, f"Python threads still run: {left}"
    windows = [w for w in QApplication.topLevelWidgets() if w.isVisible()]
    for window in windows:
        window.close()
    assert windows == [], f"Windows were left open: {windows}"
    timers = [t for t in _objects(QTimer) if t.isActive() and _belongs_to_us(t)]
    assert timers == [], f"Timers still run: {[_path(t) for t in timers]}"


def _objects(kind: type[QObject]) -> list[QObject]:
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), kind)]
    return [thing for thing in found if shiboken6.isValid(thing)]


def _belongs_to_us(timer: QTimer) -> bool:
    parent: QObject | None = timer
    while parent is not None:
        if type(parent).__module__.startswith("diffcam_studio"):
            return True
        parent = parent.parent()
    return False


def _path(timer: QTimer) -> str:
    names = []
    parent: QObject | None = timer
    while parent is not None:
        names.append(type(parent).__name__)
        parent = parent.parent()
    return " < ".join(names)


def _drain() -> None:
    """Let deletions that were asked for happen."""
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        QCoreApplication.processEvents()
    gc.collect()


@pytest.fixture
def make_window(
    qtbot: object, places: Places, qapp: QApplication
) -> Iterator[Callable[..., MainWindow]]:
    """Make Studio windows on a scripted engine; they are closed at the end of the test."""
    from fake_engine import FakeRunner

    from diffcam_studio.app import build

    made: list[MainWindow] = []

    def make(runner: FakeRunner | None = None, *, show: bool = True) -> MainWindow:
        one = runner or FakeRunner()
        window = build(places=places, make_runner=lambda: one)
        window.resize(1440, 900)
        made.append(window)
        if show:
            window.show()
        return window

    yield make
    for window in made:
        window.close_now()
        window.deleteLater()
    made.clear()
    _drain()
