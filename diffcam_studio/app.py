"""``diffcam-studio [RUN.dcam | IMAGE]``: start the window; nothing heavy is imported for it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# superqt asks for a binding through qtpy; there is only one here.
os.environ.setdefault("QT_API", "pyside6")

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from diffcam_studio.theme import apply_theme, clear_icon_cache, load_theme, system_theme

if TYPE_CHECKING:
    from diffcam_studio.main_window import MainWindow
    from diffcam_studio.state.settings import Places
    from diffcam_studio.worker.engine_thread import JobRunner

WARM_UP_MS = 600
DEMO_TIMEOUT_S = 300
SETTLE_CHECKS = 400


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 2 on a wrong option."""
    parser = argparse.ArgumentParser(
        prog="diffcam-studio",
        description="See where in an image each word of a diffusion multimodal model came from.",
    )
    parser.add_argument("path", nargs="?", help="a .dcam run, an image or a folder of runs")
    parser.add_argument("--demo", action="store_true", help="start a run on the first demo scene")
    parser.add_argument(
        "--screenshot",
        metavar="PATH",
        help="save a picture of the window once there is something to see, then quit",
    )
    parser.add_argument("--theme", choices=("dark", "light", "system"), help="colours to start in")
    parser.add_argument(
        "--size", default="", metavar="WxH", help="size of the window, such as 1440x900"
    )
    parser.add_argument("--runs", metavar="FOLDER", help="where new runs are written")
    parser.add_argument("--debug", action="store_true", help="print the log to the terminal")
    return parser.parse_args(arguments)


def build(
    *,
    places: Places | None = None,
    make_runner: Callable[[], JobRunner] | None = None,
) -> MainWindow:
    """Make the window and everything behind it; an application object must exist."""
    from diffcam_studio.controller import Controller
    from diffcam_studio.demos import DEMOS
    from diffcam_studio.main_window import MainWindow
    from diffcam_studio.views.welcome import DemoCard
    from diffcam_studio.worker.engine_thread import CoreRunner

    controller = Controller(places=places, make_runner=make_runner or CoreRunner)
    window = MainWindow(controller)
    window.set_demos(
        tuple(DemoCard(demo.key, demo.title, demo.prompt) for demo in DEMOS),
        {demo.key: demo.path for demo in DEMOS},
    )
    controller.start()
    return window


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the Studio; returns the exit status."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    logging.getLogger("diffcam_studio").setLevel(logging.INFO)
    logging.getLogger("diffcam_core").setLevel(logging.INFO)
    if options.debug:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # Two busy Python threads hand over the interpreter every 5 ms by default: too slow to paint.
    sys.setswitchinterval(0.001)
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("Diffusion-CAM Studio")
    app.setOrganizationName("Diffusion-CAM Studio")
    app.setDesktopFileName("diffusion-cam-studio")
    apply_theme(app, load_theme(system_theme()))
    window = build()
    _apply_options(window, options)
    window.show()
    shots = _Shots(window, options)
    shots.begin()
    status = app.exec()
    if not window.controller.close():
        logging.getLogger("diffcam_studio").warning("A thread did not end in time")
    clear_icon_cache()
    return status or shots.status


def _apply_options(window: MainWindow, options: argparse.Namespace) -> None:
    from dataclasses import replace

    controller = window.controller
    if options.theme:
        controller.apply(replace(controller.state, theme=options.theme))
    if options.screenshot:
        # Pictures for documents do not depend on where the window was left.
        window.resize(1440, 900)
    if options.size:
        width, _, height = options.size.partition("x")
        if width.isdigit() and height.isdigit():
            window.resize(int(width), int(height))
    if options.runs:
        folder = str(Path(options.runs).expanduser().absolute())
        controller.preferences = replace(controller.preferences, runs_folder=folder)


class _Shots:
    """What the command line asked for, once the event loop turns."""

    def __init__(self, window: MainWindow, options: argparse.Namespace) -> None:
        self._window = window
        self._options = options
        self.status = 0
        self._still = self._left = 0
        self._poll = QTimer(window)
        self._poll.setInterval(150)
        self._poll.timeout.connect(self._check)

    def begin(self) -> None:
        controller = self._window.controller
        if self._options.path:
            self._window.open_path(self._options.path)
        elif not self._options.demo and not self._options.screenshot:
            controller.restore_session()
        if self._options.demo:
            QTimer.singleShot(0, self._window, self._demo)
            if self._options.screenshot:
                controller.opened.connect(self._settle)
                controller.told.connect(self._watch)
                QTimer.singleShot(DEMO_TIMEOUT_S * 1000, self._window, self._give_up)
        elif self._options.screenshot:
            self._settle()
        if not self._options.screenshot or self._options.demo:
            QTimer.singleShot(WARM_UP_MS, self._window, controller.warm_up)

    def _demo(self) -> None:
        self._window.run_demo(next(iter(self._window.new_runs.demos)))

    def _watch(self, level: str, title: str, *_: object) -> None:
        if level == "error":
            sys.stderr.write(f"diffcam-studio: {title}\n")
            self.status = 2
            self._settle()

    def _settle(self, *_: object) -> None:
        if not self._poll.isActive():
            self._left = SETTLE_CHECKS
            self._poll.start()

    def _check(self) -> None:
        """Shoot once everything has been still for a few checks in a row."""
        self._left -= 1
        self._still = self._still + 1 if self._window.controller.is_settled() else 0
        if self._still >= 4 or self._left <= 0:
            self._poll.stop()
            self._shoot()

    def _give_up(self) -> None:
        sys.stderr.write(f"diffcam-studio: the demo took more than {DEMO_TIMEOUT_S} s\n")
        self.status = 2
        self._shoot()

    def _shoot(self) -> None:
        window = self._window
        self._poll.stop()
        target = Path(self._options.screenshot)
        window.messages.clear()
        if not window.save_screenshot(str(target)):
            sys.stderr.write(f"diffcam-studio: cannot write {target}\n")
            self.status = 2
        window.controller.cancel_job()
        window.close_now()


if __name__ == "__main__":
    sys.exit(main())
