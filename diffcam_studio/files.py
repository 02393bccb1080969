"""Files that the user names: dialogs, drops and the clipboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PySide6.QtCore import QMimeData
from PySide6.QtGui import QGuiApplication, QImage
from PySide6.QtWidgets import QFileDialog, QWidget

from diffcam_studio.controller import IMAGE_SUFFIXES, Controller
from diffcam_studio.incoming import image_of, paths_of


class Files:
    """Asks for files and hands them to the controller.

    Parameters
    ----------
    window
        What the dialogs stand over.
    controller
        What opens, copies and exports.
    tell
        Shows a message: level, title, detail.
    confirm
        Asks before something is lost: title, question, what the button says.
    """

    def __init__(
        self,
        window: QWidget,
        controller: Controller,
        tell: Callable[[str, str, str], None],
        confirm: Callable[[str, str, str], bool],
    ) -> None:
        self._window = window
        self._c = controller
        self._tell = tell
        self._confirm = confirm

    def open_paths(self, paths: list[str]) -> None:
        """Open what was dropped: every run, or the first image."""
        images = [p for p in paths if Path(p).suffix.lower() in IMAGE_SUFFIXES]
        others = [p for p in paths if p not in images]
        for path in [*others, *images[:1]]:
            self._c.open_path(path)

    def ask_open(self, kind: str) -> None:
        """Ask for a file: "any", "image" or "run"."""
        images = " ".join(f"*{suffix}" for suffix in IMAGE_SUFFIXES)
        filters = {
            "any": f"Runs and images (*.dcam *.part {images})",
            "image": f"Images ({images})",
            "run": "Runs (*.dcam *.part)",
        }
        titles = {"any": "Open", "image": "Open image", "run": "Open run"}
        folder = str(self._c.settings.places.runs) if kind == "run" else ""
        path, _ = QFileDialog.getOpenFileName(self._window, titles[kind], folder, filters[kind])
        if path:
            self._c.open_path(path)

    def paste(self) -> None:
        """Open files, or take an image, from the clipboard."""
        data = QGuiApplication.clipboard().mimeData()
        if data is None or not self.take(data, "pasted image"):
            self._tell("info", "There is no image in the clipboard", "Copy an image first.")

    def take(self, data: QMimeData, name: str) -> bool:
        """Open the files, or take the picture under a name; False if there is neither."""
        paths, image = paths_of(data), image_of(data)
        if paths:
            self.open_paths(paths)
        elif image is not None:
            self.take_image(image, name)
        return bool(paths) or image is not None

    def take_image(self, image: QImage, name: str = "dropped image") -> None:
        """Take a picture for the next run."""
        self._c.set_picture(_pixels(image), name)

    def save_as(self) -> None:
        """Ask where a copy of the run goes."""
        facts = self._c.facts
        if facts is None:
            return
        path = self._ask_target("Save a copy", f"{facts.title}.dcam", "Runs (*.dcam)")
        if path:
            self._c.copy_run(facts.key, path)

    def export_figure(self) -> None:
        """Ask where the view goes as a figure."""
        facts = self._c.facts
        if facts is None:
            return
        name = f"{facts.title}-{facts.phrase(self._c.state.tokens) or 'map'}.pdf"
        filters = "PDF (*.pdf);;SVG (*.svg);;PNG (*.png)"
        path = self._ask_target("Export this view", name.replace(" ", "-"), filters)
        if path:
            self._c.export_view(path)

    def export_data(self) -> None:
        """Ask where the view goes as data."""
        facts = self._c.facts
        if facts is None:
            return
        filters = "NumPy (*.npz);;JSON (*.json);;CSV (*.csv)"
        path = self._ask_target("Export data", f"{facts.title}.npz", filters)
        if path:
            self._c.export_view(path)

    def save_screenshot(self) -> None:
        """Ask where a picture of the window goes."""
        path = self._ask_target("Save a picture of the window", "studio.png", "PNG (*.png)")
        if path and not self._window.grab().save(path):
            self._tell("error", f"Cannot write {Path(path).name}", "Choose another folder.")

    def _ask_target(self, title: str, name: str, filters: str) -> str:
        """Ask where something goes, "" for nowhere; a name without a suffix gets the filter's."""
        asked, chosen = QFileDialog.getSaveFileName(self._window, title, name, filters)
        path = with_suffix(asked, chosen, filters) if asked else ""
        if path == asked or not Path(path).exists():
            return path
        # The dialog asked about the name without the suffix.
        file = Path(path).name
        replace = self._confirm("Replace a file", f"{file} exists. Replace it?", "Replace")
        return path if replace else ""

    def choose_model(self) -> None:
        """Ask for the folder of a model and load it."""
        folder = QFileDialog.getExistingDirectory(self._window, "Load a model from a folder")
        if folder:
            self._c.warm_up(folder)


def with_suffix(path: str, chosen: str, filters: str) -> str:
    """Return a path that ends as the chosen filter says, unless it ends as another one does.

    Not every platform's dialog completes a name by itself.
    """
    offered = re.findall(r"\*(\.\w+)", filters)
    if Path(path).suffix.lower() in offered or not offered:
        return path
    wanted = re.search(r"\*(\.\w+)", chosen)
    return f"{path}{wanted[1] if wanted else offered[0]}"


def _pixels(image: QImage) -> np.ndarray:
    rgb = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(rgb.constBits(), np.uint8).reshape(rgb.height(), rgb.bytesPerLine())
    return np.ascontiguousarray(rows[:, : rgb.width() * 3].reshape(rgb.height(), rgb.width(), 3))
