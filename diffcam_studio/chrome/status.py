# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The status bar: document and job at the left, cursor and machine at the right."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QStatusBar, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import (
    IconButton,
    Label,
    ProgressBar,
    ProgressRing,
    TextButton,
    ThemedWidget,
    spread_theme,
)
from diffcam_studio.views.painting import draw_icon


@dataclass(frozen=True)
class StatusProps:
    """What the status bar says; empty texts hide their place."""

    icon: str = ""
    saved: str = ""
    document: str = ""
    model: str = ""
    job: str = ""
    share: float = 0.0
    left: str = ""
    waiting: str = ""
    cursor: str = ""
    patch: str = ""
    device: str = ""
    memory: str = ""
    version: str = ""


class StatusLine(QWidget):
    """Left: document and job. Right: cursor, device, memory, log. 28 px high."""

    cancel = Signal()
    log_clicked = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("StatusLine")
        self.theme = theme
        self.setFixedHeight(28)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 1, 8, 0)
        row.setSpacing(16)
        self._icon = _StatusIcon(theme)
        self._ring = ProgressRing(theme)
        self._texts = {
            name: Label(theme, pixels=12, token=token)
            for name, token in (
                ("saved", "text_2"),
                ("document", "text_2"),
                ("model", "text_2"),
                ("job", "text_2"),
                ("share", "text_2"),
                ("left", "text_2"),
                ("waiting", "text_2"),
                ("cursor", "text_2"),
                ("patch", "text_2"),
                ("device", "text_2"),
                ("memory", "text_2"),
                ("version", "text_2"),
            )
        }
        self._bar = ProgressBar(theme, 160)
        self._cross = IconButton(theme, "close", "Cancel job", "Ctrl .")
        self._cross.clicked.connect(self.cancel)
        self._device_icon = _StatusIcon(theme, "device", "text_2")
        self.log_button = TextButton(theme, "Log", icon="log", kind="quiet", height=24)
        self.log_button.setToolTip("Log (Ctrl J)")
        self.log_button.clicked.connect(self.log_clicked)
        head = QHBoxLayout()
        head.setSpacing(8)
        for widget in (self._icon, self._ring, self._texts["saved"], self._texts["job"]):
            head.addWidget(widget)
        row.addLayout(head)
        for widget in (
            self._texts["document"],
            self._texts["model"],
            self._bar,
            self._texts["share"],
            self._texts["left"],
            self._cross,
        ):
            row.addWidget(widget)
        row.addStretch(1)
        for name in ("cursor", "patch", "waiting"):
            row.addWidget(self._texts[name])
        device = QHBoxLayout()
        device.setSpacing(8)
        device.addWidget(self._device_icon)
        device.addWidget(self._texts["device"])
        row.addLayout(device)
        row.addWidget(self._texts["memory"])
        row.addWidget(self._texts["version"])
        row.addWidget(self.log_button)
        self.show_props(StatusProps())

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        spread_theme(self, theme)
        self.update()

    def text(self, name: str) -> str:
        """Text in one place of the bar (for tests and screen readers)."""
        return self._texts[name].text()

    def show_props(self, props: StatusProps) -> None:
        """Show other values."""
        job = bool(props.job)
        self._icon.set_icon(props.icon, "valid" if props.icon == "check" else "warning")
        self._icon.setVisible(bool(props.icon) and not job)
        self._ring.setVisible(job)
        self._ring.set_share(props.share)
        self._bar.setVisible(job)
        self._bar.set_share(props.share)
        self._cross.setVisible(job)
        values = {
            "saved": "" if job else props.saved,
            "document": "" if job else props.document,
            "model": "" if job else props.model,
            "job": props.job,
            "share": f"{round(props.share * 100)}\u00a0%" if job else "",
            "left": props.left,
            "waiting": props.waiting,
            "cursor": props.cursor,
            "patch": props.patch,
            "device": props.device,
            "memory": props.memory,
            "version": props.version,
        }
        for name, text in values.items():
            self._texts[name].set_text(text)
            self._texts[name].setVisible(bool(text))
        self._device_icon.setVisible(bool(props.device))
        self.log_button.setVisible(not props.version)

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.fillRect(self.rect(), self.theme.color("window"))
        p.fillRect(0, 0, self.width(), 1, self.theme.color("line"))
        p.end()


class StatusBar(QStatusBar):
    """Qt's status bar with one widget that fills it to the pixel."""

    def __init__(self, line: StatusLine) -> None:
        super().__init__()
        self._line = line
        line.setParent(self)
        self.setSizeGripEnabled(False)
        self.setFixedHeight(28)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._line.setGeometry(self.rect())


class _StatusIcon(ThemedWidget):
    def __init__(self, theme: Theme, name: str = "", token: str = "text_2") -> None:
        super().__init__(theme)
        self._name, self._token = name, token
        self.setFixedSize(16, 16)

    def set_icon(self, name: str, token: str) -> None:
        self._name, self._token = name, token
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._name:
            p = QPainter(self)
            draw_icon(p, self.theme, self._name, self._token, 0, 0)
            p.end()
