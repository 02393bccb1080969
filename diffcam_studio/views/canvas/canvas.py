# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The canvas: one to eight linked panels in one of five modes."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QFocusEvent, QHideEvent, QKeyEvent, QPainter, QPaintEvent, QShowEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views.canvas.arrangement import compared_pair, shown_panels, tile_boxes
from diffcam_studio.views.canvas.compare_bar import CompareBar
from diffcam_studio.views.canvas.hold_keys import PEEKS
from diffcam_studio.views.canvas.panel import CanvasPanel
from diffcam_studio.views.controls import came_by_keyboard, spread_theme
from diffcam_studio.views.props import Camera, CanvasProps, Peek, Readout

MAX_BLINK_HZ = 3.0


class Canvas(QWidget):
    """All panels in one of five modes, under one camera and one cross-hair.

    Wishes go out as signals; camera, cross-hair, wipe line and the keys held
    (B, D, V) are the canvas's own.
    """

    panel_activated = Signal(int)
    panel_toggled = Signal(str, str, bool)  # panel key, "contour" | "regions" | "pin" | "link"
    panel_asked = Signal(str, str)  # panel key, "split" | "more"
    action_requested = Signal(str, str)  # panel key, action key of its message
    cursor_moved = Signal(object)  # Readout of the panel under the cursor, or None
    readouts_changed = Signal(object)  # tuple of Readout, one for each panel in sight
    camera_changed = Signal(object)  # Camera
    wipe_moved = Signal(float)
    peek_changed = Signal(str)
    split_requested = Signal(str)
    grid_requested = Signal(int, int)
    link_toggled = Signal(str, bool)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setObjectName("Canvas")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Canvas")
        self.setMinimumSize(320, 200)
        self._props = CanvasProps()
        self._panels: list[CanvasPanel] = []
        self._camera = Camera()
        self._cameras: dict[int, Camera] = {}
        self._wipe = 0.5
        self._peek: Peek = "none"
        self._blink_second = False
        self._cursor: QPointF | None = None
        self._cursor_panel = 0
        self._under: Readout | None = None
        self._reads: tuple[Readout, ...] = ()
        self._keyboard = False
        self._bar = CompareBar(theme)
        self._bar.split_requested.connect(self.split_requested)
        self._bar.grid_requested.connect(self.grid_requested)
        self._bar.link_toggled.connect(self.link_toggled)
        self._area = QWidget()
        self._area.installEventFilter(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._bar)
        column.addWidget(self._area, 1)
        self._bar.hide()
        self._blink = QTimer(self)
        self._blink.timeout.connect(self._swap)
        self._show()

    # Props

    @property
    def props(self) -> CanvasProps:
        """What the canvas shows."""
        return self._props

    @property
    def panels(self) -> tuple[CanvasPanel, ...]:
        """Panels in sight, in reading order."""
        return tuple(panel for panel in self._panels if not panel.isHidden())

    @property
    def bar(self) -> CompareBar:
        """The row above the tiles."""
        return self._bar

    @property
    def wipe(self) -> float:
        """Where the wipe line stands, as a share of the picture's width."""
        return self._wipe

    def set_props(self, props: CanvasProps) -> None:
        """Show other panels or another mode."""
        if props.mode != self._props.mode:
            self._blink_second = False
        self._props = props
        self._show()

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        spread_theme(self, theme)
        self.update()

    def set_peek(self, peek: Peek) -> None:
        """Hold a peek from outside (menu, other view); "none" lets go."""
        if peek != self._peek:
            self._peek = peek
            self._show()
            self.peek_changed.emit(peek)

    @property
    def peek(self) -> Peek:
        """Which peek is held."""
        return self._peek

    def fit(self) -> None:
        """Fit the picture in every linked panel."""
        self.set_camera(Camera())

    @property
    def camera(self) -> Camera:
        """Camera of the linked panels."""
        return self._camera

    def set_camera(self, camera: Camera) -> None:
        """Look elsewhere; emits ``camera_changed`` if it moved."""
        changed = camera != self._camera or bool(self._cameras)
        self._camera = camera
        self._cameras.clear()
        for panel in self._panels:
            panel.view.set_camera(camera)
        if changed:
            self.camera_changed.emit(camera)

    def zoom_by(self, factor: float) -> None:
        """Zoom about the middle of the active panel."""
        panels = self.panels
        if panels:
            at = min(self._props.active, len(panels) - 1)
            view = panels[at].view
            view.zoom_about(view.fit_centre, factor)

    # Arrangement

    def _show(self) -> None:
        props = self._props
        shown, second = shown_panels(props, self._peek, blink_second=self._blink_second)
        tile = props.mode == "tile" and len(props.panels) > 0
        while len(self._panels) < len(shown):
            self._add_panel()
        several = len(props.panels) > 1
        for i, panel in enumerate(self._panels):
            if i >= len(shown):
                panel.hide()
                continue
            panel.set_props(
                shown[i],
                active=(i == props.active) if tile else True,
                tile=tile,
                several=several,
                show_bar=props.show_colour_bar,
                overlay=self._peek != "image",
                second=second,
                split=self._wipe if second is not None else None,
            )
            panel.view.set_camera(self._cameras.get(i, self._camera))
            panel.show()
        self._bar.setVisible(tile)
        self._bar.set_props(props)
        self._arrange()
        self._run_blink()
        self._mark_focus()
        self._place_cursor()
        words = ", ".join(part for panel in self.panels for part in panel.header.title_parts())
        self.setAccessibleDescription(words)

    def _add_panel(self) -> None:
        index = len(self._panels)
        panel = CanvasPanel(self.theme, self._area)
        panel.hide()
        panel.hovered.connect(lambda at, i=index: self._hover(i, at))
        panel.camera_changed.connect(lambda camera, i=index: self._steer(i, camera))
        panel.activated.connect(lambda i=index: self._activate(i))
        panel.fit_requested.connect(self.fit)
        panel.split_moved.connect(self._move_wipe)
        panel.header.toggled.connect(
            lambda what, on, panel=panel: self.panel_toggled.emit(panel.props.key, what, on)
        )
        panel.header.asked.connect(
            lambda what, panel=panel: self.panel_asked.emit(panel.props.key, what)
        )
        panel.action_requested.connect(
            lambda key, panel=panel: self.action_requested.emit(panel.props.key, key)
        )
        self._panels.append(panel)

    def eventFilter(self, watched: QWidget, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._arrange()
        return False

    def _arrange(self) -> None:
        panels = self.panels
        if not panels:
            return
        width, height = self._area.width(), self._area.height()
        if self._props.mode != "tile" or not self._props.panels:
            panels[0].setGeometry(0, 0, width, height)
            return
        boxes = tile_boxes(len(panels), self._props.columns, width, height)
        for panel, box in zip(panels, boxes, strict=True):
            panel.setGeometry(box)

    # Wishes of the panels

    def _activate(self, index: int) -> None:
        self.setFocus(Qt.FocusReason.MouseFocusReason)
        if self._props.mode == "tile" and index != self._props.active:
            self.panel_activated.emit(index)

    def _steer(self, index: int, camera: Camera) -> None:
        if not self._props.link_zoom and len(self.panels) > 1:
            self._cameras[index] = camera
            return
        self._camera = camera
        for i, panel in enumerate(self._panels):
            if i != index:
                panel.view.set_camera(camera)
        self.camera_changed.emit(camera)

    def _move_wipe(self, share: float) -> None:
        self._wipe = share
        for panel in self.panels:
            panel.view.set_split(share)
        self.wipe_moved.emit(share)

    def _hover(self, index: int, at: QPointF | None) -> None:
        self._cursor, self._cursor_panel = at, index
        self._place_cursor()

    def _place_cursor(self) -> None:
        reads: list[Readout] = []
        under: Readout | None = None
        show = self._props.show_crosshair
        for i, panel in enumerate(self.panels):
            linked = self._props.link_cursor or i == self._cursor_panel
            read = panel.set_cursor(self._cursor if linked and show else None)
            if read is not None:
                reads.append(read)
                if i == self._cursor_panel:
                    under = read
        if under != self._under:
            self._under = under
            self.cursor_moved.emit(under)
        if tuple(reads) != self._reads:
            self._reads = tuple(reads)
            self.readouts_changed.emit(self._reads)

    # Blink and peek

    def _run_blink(self) -> None:
        wanted = (
            self._props.mode == "blink"
            and self._peek == "none"
            and compared_pair(self._props) is not None
            and self._props.blink_hz > 0
            and self.isVisible()
        )
        if not wanted:
            self._blink.stop()
            return
        interval = round(500 / min(MAX_BLINK_HZ, self._props.blink_hz))
        if not self._blink.isActive() or self._blink.interval() != interval:
            self._blink.start(interval)

    def _swap(self) -> None:
        self._blink_second = not self._blink_second
        self._show()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        peek = PEEKS.get(event.key())
        if peek is None or event.modifiers() != Qt.KeyboardModifier.NoModifier:
            super().keyPressEvent(event)
            return
        if not event.isAutoRepeat():
            self.set_peek(peek)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if PEEKS.get(event.key()) == self._peek and not event.isAutoRepeat():
            self.set_peek("none")
            return
        super().keyReleaseEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._keyboard = came_by_keyboard(event, self._keyboard)
        self._mark_focus()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._mark_focus()
        self.set_peek("none")  # the release of a held key goes to whoever has the focus then

    def _mark_focus(self) -> None:
        for i, panel in enumerate(self.panels):
            here = i == self._props.active or len(self.panels) == 1
            focused = self._keyboard and here and self.hasFocus()
            if panel.view.focused != focused:
                panel.view.focused = focused
                panel.view.viewport().update()

    def showEvent(self, event: QShowEvent) -> None:
        self._arrange()
        self._run_blink()

    def hideEvent(self, event: QHideEvent) -> None:
        self._blink.stop()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        tile = self._props.mode == "tile"
        p.fillRect(self.rect(), self.theme.color("window" if tile else "canvas"))
        p.end()

    def sizeHint(self) -> QSize:
        return QSize(872, 528)
