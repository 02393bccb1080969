# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The timeline: the transport row over the lanes."""

from __future__ import annotations

from PySide6.QtCore import QSize, Signal
from PySide6.QtGui import QAction, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QMenu, QSizePolicy, QVBoxLayout, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import (
    Choice,
    IconButton,
    Label,
    Switch,
    TextButton,
    ThemedWidget,
)
from diffcam_studio.views.painting import SEMIBOLD, number
from diffcam_studio.views.props import TimelineProps
from diffcam_studio.views.timeline.geometry import LABELS, LANES, Lane
from diffcam_studio.views.timeline.labels import LANE_TITLES
from diffcam_studio.views.timeline.lanes import Lanes
from diffcam_studio.views.timeline.thin import THIN

TRANSPORT = 40
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)


def speed_text(speed: float) -> str:
    """Write a speed: "1x" with the sign for times."""
    return f"{speed:g}\u00d7"


class Timeline(ThemedWidget):
    """Transport row over the lanes; its smallest form is one row of 44 px."""

    step_requested = Signal(int)
    step_settled = Signal(int)
    commit_clicked = Signal(int, int)
    compute_requested = Signal(int)
    play_toggled = Signal(bool)
    loop_toggled = Signal(bool)
    loop_changed = Signal(int, int)
    speed_changed = Signal(float)
    follow_toggled = Signal(bool)
    marker_toggled = Signal(int)
    thin_toggled = Signal(bool)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setObjectName("Timeline")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._props = TimelineProps()
        self._thin = False
        self.lanes = Lanes(theme)
        self._title = Label(theme, "Step 0", pixels=13, weight=SEMIBOLD, token="text_1")
        self._range = Label(theme, "", pixels=12, token="text_3")
        self.first = IconButton(theme, "skip-back", "First step", "Home")
        self.back = IconButton(theme, "step-back", "Step back", "Left")
        self.play = IconButton(theme, "play", "Play", "Space", size=28, boxed=True)
        self.forward = IconButton(theme, "step-forward", "Step forward", "Right")
        self.last = IconButton(theme, "skip-forward", "Last step", "End")
        self.loop = IconButton(theme, "loop", "Loop", "I, O set its ends", checkable=True)
        self.speed = Choice(
            theme, "Speed", [(str(s), speed_text(s)) for s in SPEEDS], "1.0", height=24
        )
        self._masked = Label(theme, "Masked share", pixels=12, token="text_3")
        self._masked_value = Label(theme, "", pixels=12, token="text_2")
        self.follow = Switch(theme, "Follow job")
        self._follow_label = Label(theme, "Follow job", pixels=12)
        self.markers = TextButton(theme, "Markers", icon="flag", kind="quiet", height=24)
        self.lanes_button = TextButton(theme, "Lanes", icon="sliders", kind="quiet", height=24)
        self.fit = IconButton(theme, "fit", "All steps in sight")
        self.thin = IconButton(theme, "chevron-down", "One row")
        self._transport = QWidget()
        self._row = QHBoxLayout(self._transport)
        self._row.setContentsMargins(12, 0, 8, 0)
        self._row.setSpacing(4)
        self._lead = QWidget()
        self._lead.setFixedWidth(LABELS - 12)
        lead = QHBoxLayout(self._lead)
        lead.setContentsMargins(0, 0, 0, 0)
        lead.setSpacing(6)
        lead.addWidget(self._title)
        lead.addWidget(self._range)
        lead.addStretch(1)
        self._row.addWidget(self._lead)
        for button in (self.first, self.back, self.play, self.forward, self.last):
            self._row.addWidget(button)
        self._row.addSpacing(12)
        self._row.addWidget(self.loop)
        self._row.addSpacing(4)
        self._row.addWidget(self.speed)
        self._row.addSpacing(16)
        self._row.addWidget(self._masked)
        self._row.addSpacing(4)
        self._row.addWidget(self._masked_value)
        self._row.addStretch(1)
        self._row.addWidget(self.follow)
        self._row.addSpacing(4)
        self._row.addWidget(self._follow_label)
        self._row.addSpacing(8)
        self._row.addWidget(self.markers)
        self._row.addWidget(self.lanes_button)
        self._row.addWidget(self.fit)
        self._row.addWidget(self.thin)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 1, 0, 0)
        self._column.setSpacing(0)
        self._column.addWidget(self._transport)
        self._column.addWidget(self.lanes)
        self._menu: QMenu | None = None
        self._connect()
        self._set_height()
        self.set_props(self._props)

    def _connect(self) -> None:
        lanes = self.lanes
        lanes.step_requested.connect(self.step_requested)
        lanes.step_settled.connect(self.step_settled)
        lanes.commit_clicked.connect(self.commit_clicked)
        lanes.compute_requested.connect(self.compute_requested)
        lanes.loop_changed.connect(self.loop_changed)
        self.first.clicked.connect(lambda: self._go(0))
        self.back.clicked.connect(lambda: self._go(self._props.step - 1))
        self.forward.clicked.connect(lambda: self._go(self._props.step + 1))
        self.last.clicked.connect(lambda: self._go(self._props.n_steps - 1))
        self.play.clicked.connect(lambda: self.play_toggled.emit(not self._props.playing))
        self.loop.clicked.connect(self.loop_toggled)
        self.speed.chosen.connect(lambda text: self.speed_changed.emit(float(text)))
        self.follow.clicked.connect(self.follow_toggled)
        self.markers.clicked.connect(self._open_markers)
        self.lanes_button.clicked.connect(self._open_lanes)
        self.fit.clicked.connect(lambda: lanes.set_zoom(1.0))
        self.thin.clicked.connect(self._toggle_thin)

    def _go(self, step: int) -> None:
        step = min(self._props.n_steps - 1, max(0, step))
        if self._props.n_steps and step != self._props.step:
            self.step_requested.emit(step)

    @property
    def props(self) -> TimelineProps:
        """What is shown."""
        return self._props

    def set_props(self, props: TimelineProps) -> None:
        """Show other facts."""
        self._props = props
        has = props.n_steps > 0
        self._title.set_text(f"Step {props.step}" if has else "Steps")
        self._range.set_text(f"of 0\u2013{props.n_steps - 1}" if has else "")
        self.first.setEnabled(has and props.step > 0)
        self.back.setEnabled(has and props.step > 0)
        self.forward.setEnabled(has and props.step < props.n_steps - 1)
        self.last.setEnabled(has and props.step < props.n_steps - 1)
        self.play.setEnabled(has)
        if props.playing:
            self.play.set_icon("pause", "Pause", "Space")
        else:
            self.play.set_icon("play", "Play", "Space")
        self.loop.setChecked(props.looping)
        self.speed.set_options([(str(s), speed_text(s)) for s in SPEEDS], str(float(props.speed)))
        masked = props.masked_share
        self._masked.setVisible(masked is not None and not self._thin)
        self._masked_value.setVisible(masked is not None and not self._thin)
        self._masked_value.set_text("" if masked is None else number(masked, 2))
        following = props.following
        self.follow.setVisible(following is not None and not self._thin)
        self._follow_label.setVisible(following is not None and not self._thin)
        self.follow.set_on(bool(following))
        self.lanes.set_props(props)

    def set_lanes(self, lanes: tuple[Lane, ...]) -> None:
        """Show some lanes only; emits nothing."""
        self.lanes.set_lanes(lanes)
        self._set_height()

    def set_thin(self, thin: bool) -> None:
        """Show one row of 44 px, or everything; emits nothing."""
        if thin == self._thin:
            return
        self._thin = thin
        self.lanes.set_thin(thin)
        for widget in (self.markers, self.lanes_button, self.fit):
            widget.setVisible(not thin)
        if thin:
            self._column.removeWidget(self.lanes)
            self._row.insertWidget(self._row.indexOf(self.thin), self.lanes, 100)
        else:
            self._row.removeWidget(self.lanes)
            self._column.addWidget(self.lanes)
        self.thin.set_icon(
            "chevron-up" if thin else "chevron-down", "All lanes" if thin else "One row"
        )
        self._set_height()
        self.set_props(self._props)

    @property
    def is_thin(self) -> bool:
        """Whether only one row is shown."""
        return self._thin

    def _toggle_thin(self) -> None:
        self.set_thin(not self._thin)
        self.thin_toggled.emit(self._thin)

    def _set_height(self) -> None:
        if self._thin:
            self._transport.setFixedHeight(THIN - 1)
            self.lanes.setFixedHeight(THIN - 1)
            self.setFixedHeight(THIN)
        else:
            self._transport.setFixedHeight(TRANSPORT - 1)
            self.lanes.setFixedHeight(self.lanes.sizeHint().height())
            self.setFixedHeight(TRANSPORT + self.lanes.sizeHint().height())

    def _open_lanes(self) -> None:
        menu = self._new_menu("Lanes")
        for lane in LANES:
            action = QAction(LANE_TITLES[lane], menu)
            action.setCheckable(True)
            action.setChecked(lane in self.lanes.lanes)
            action.toggled.connect(lambda on, lane=lane: self._show_lane(lane, on))
            menu.addAction(action)
        menu.popup(self.lanes_button.mapToGlobal(self.lanes_button.rect().bottomLeft()))

    def _show_lane(self, lane: Lane, on: bool) -> None:
        lanes = [*self.lanes.lanes, lane] if on else [x for x in self.lanes.lanes if x != lane]
        self.set_lanes(tuple(lanes))

    def _open_markers(self) -> None:
        menu = self._new_menu("Markers")
        here = self._props.step in self._props.markers
        text = (
            f"Remove marker at step {self._props.step}"
            if here
            else (f"Add marker at step {self._props.step}")
        )
        add = QAction(text, menu)
        add.setEnabled(self._props.n_steps > 0)
        add.triggered.connect(lambda: self.marker_toggled.emit(self._props.step))
        menu.addAction(add)
        if self._props.markers:
            menu.addSeparator()
        for marker in sorted(self._props.markers):
            action = QAction(f"Go to step {marker}", menu)
            action.triggered.connect(lambda _=False, step=marker: self.step_requested.emit(step))
            menu.addAction(action)
        menu.popup(self.markers.mapToGlobal(self.markers.rect().bottomLeft()))

    def _new_menu(self, name: str) -> QMenu:
        if self._menu is not None:
            self._menu.deleteLater()
        self._menu = QMenu(self)
        self._menu.setAccessibleName(name)
        return self._menu

    def sizeHint(self) -> QSize:
        return QSize(1440, self.height())

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.fillRect(self.rect(), self.theme.color("panel"))
        p.fillRect(0, 0, self.width(), 1, self.theme.color("line"))
        p.end()
