"""The regions of the window: every view, and the docks that hold them."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QDockWidget,
    QMainWindow,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from diffcam_studio.actions import Registry
from diffcam_studio.chrome import MessageStack, SessionList, StatusBar, StatusLine, TopBar
from diffcam_studio.theme import Theme
from diffcam_studio.views.canvas import Canvas
from diffcam_studio.views.controls import DockScroll
from diffcam_studio.views.inspector import Inspector
from diffcam_studio.views.job_panel import JobPanel
from diffcam_studio.views.layer_list import LayersSection
from diffcam_studio.views.log_pane import LogPane
from diffcam_studio.views.timeline import LANES, Lane, Timeline
from diffcam_studio.views.token_strip import TokenStrip
from diffcam_studio.views.welcome import Welcome

LEFT_WIDTH, RIGHT_WIDTH = 263, 303
NARROW_LEFT, NARROW_RIGHT = 224, 272
NARROW, FOLD = 1360, 1280
LOW, CRAMPED = 780, 700
LOG_HEIGHT = 180


@dataclass(frozen=True, eq=False)
class Regions:
    """The parts of one window."""

    top_bar: TopBar
    pages: QStackedWidget
    welcome: Welcome
    canvas: Canvas
    strip: TokenStrip
    messages: MessageStack
    welcome_messages: MessageStack
    session: SessionList
    layer_section: LayersSection
    left_scroll: QScrollArea
    left_dock: QDockWidget
    inspector: Inspector
    job_panel: JobPanel
    right_stack: QStackedWidget
    right_dock: QDockWidget
    timeline: Timeline
    log_pane: LogPane
    bottom_dock: QDockWidget
    status: StatusLine

    def fit_width(self, width: int) -> None:
        """Give the docks the widths of a window of this width."""
        wide = width >= NARROW
        self.left_scroll.setFixedWidth(LEFT_WIDTH if wide else NARROW_LEFT)
        self.right_stack.setFixedWidth(RIGHT_WIDTH if wide else NARROW_RIGHT)


def build_regions(window: QMainWindow, registry: Registry, theme: Theme) -> Regions:
    """Make every region and put it where it belongs in the window."""
    top_bar = TopBar(theme, registry)
    window.setMenuWidget(top_bar)
    welcome = Welcome(theme)
    canvas = Canvas(theme)
    strip = TokenStrip(theme)
    strip.setFixedHeight(84)
    workspace = QWidget()
    column = _column(workspace)
    column.addWidget(canvas, 1)
    column.addWidget(strip)
    messages = MessageStack(theme, canvas)
    pages = QStackedWidget()
    pages.addWidget(welcome)
    pages.addWidget(workspace)
    welcome_messages = MessageStack(theme, welcome)
    window.setCentralWidget(pages)

    session = SessionList(theme)
    layer_section = LayersSection(theme)
    left = QWidget()
    left.setObjectName("DockBody")
    left_column = _column(left)
    left_column.addWidget(session)
    left_column.addWidget(layer_section)
    left_column.addStretch(1)
    left_scroll = DockScroll(left)
    left_dock = _dock(window, "LeftDock", "Session", left_scroll, LEFT_WIDTH)

    inspector = Inspector(theme)
    job_panel = JobPanel(theme)
    job_scroll = DockScroll(job_panel)
    right_stack = QStackedWidget()
    right_stack.addWidget(inspector)
    right_stack.addWidget(job_scroll)
    right_dock = _dock(window, "RightDock", "Appearance", right_stack, RIGHT_WIDTH)

    timeline = Timeline(theme)
    log_pane = LogPane(theme)
    log_pane.setFixedHeight(LOG_HEIGHT)
    bottom = QWidget()
    bottom.setObjectName("DockBody")
    bottom_column = _column(bottom)
    # The dock is never taller than what is in it.
    bottom_column.setSizeConstraint(QVBoxLayout.SizeConstraint.SetMinAndMaxSize)
    bottom_column.addWidget(log_pane)
    bottom_column.addWidget(timeline)
    log_pane.hide()
    bottom_dock = _dock(window, "BottomDock", "Timeline", bottom, 0)

    for corner in (Qt.Corner.BottomLeftCorner, Qt.Corner.BottomRightCorner):
        window.setCorner(corner, Qt.DockWidgetArea.BottomDockWidgetArea)
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, left_dock)
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, right_dock)
    window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, bottom_dock)
    status = StatusLine(theme)
    window.setStatusBar(StatusBar(status))
    return Regions(
        top_bar=top_bar,
        pages=pages,
        welcome=welcome,
        canvas=canvas,
        strip=strip,
        messages=messages,
        welcome_messages=welcome_messages,
        session=session,
        layer_section=layer_section,
        left_scroll=left_scroll,
        left_dock=left_dock,
        inspector=inspector,
        job_panel=job_panel,
        right_stack=right_stack,
        right_dock=right_dock,
        timeline=timeline,
        log_pane=log_pane,
        bottom_dock=bottom_dock,
        status=status,
    )


def lanes_for(height: int, *, log: bool) -> tuple[Lane, ...]:
    """Lanes that a window of this height has room for: first the maps go, then the curve."""
    height -= LOG_HEIGHT if log else 0
    gone = {"maps", "curve"} if height < CRAMPED else {"maps"} if height < LOW else set()
    return tuple(lane for lane in LANES if lane not in gone)


def _column(widget: QWidget) -> QVBoxLayout:
    column = QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(0)
    return column


def _dock(window: QMainWindow, name: str, title: str, body: QWidget, width: int) -> QDockWidget:
    dock = QDockWidget(title, window)
    dock.setObjectName(name)
    dock.setTitleBarWidget(QWidget(dock))
    dock.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
    dock.setWidget(body)
    if width:
        body.setFixedWidth(width)
    return dock
