"""What is dragged in or pasted: files of this computer, or a picture."""

from __future__ import annotations

from PySide6.QtCore import QMimeData
from PySide6.QtGui import QImage


def paths_of(data: QMimeData) -> list[str]:
    """Return the local files; an address in the web is none, nothing here fetches one."""
    return [url.toLocalFile() for url in data.urls() if url.isLocalFile()]


def image_of(data: QMimeData) -> QImage | None:
    """Return the picture itself, as a browser or an editor hands it over."""
    image = QImage(data.imageData()) if data.hasImage() else QImage()
    return None if image.isNull() else image


def is_usable(data: QMimeData) -> bool:
    """Whether letting go of it here would do something; cheap, for every move of a drag."""
    return data.hasImage() or bool(paths_of(data))
