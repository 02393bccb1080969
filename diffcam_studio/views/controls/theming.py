"""How a theme reaches every painted widget below the one it was given to."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from diffcam_studio.theme import Theme


class ThemedWidget(QWidget):
    """A widget that paints with a theme and repaints when it gets another one."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme

    def set_theme(self, theme: Theme) -> None:
        """Use other colours, here and in every themed child."""
        self.theme = theme
        spread_theme(self, theme)
        self.update()


def spread_theme(widget: QWidget, theme: Theme) -> None:
    """Hand a theme to the direct children of a widget that know what to do with it."""
    for child in widget.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
        setter = getattr(child, "set_theme", None)
        if setter is not None:
            setter(theme)
        else:
            spread_theme(child, theme)
