# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The lanes as a widget: it paints itself from its props and asks for steps.

Dragging asks for a step at most once a frame; it never waits for the answer.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleEvent,
    QFocusEvent,
    QHelpEvent,
    QHideEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QShowEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from diffcam_studio.plain_text import tooltip
from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import ThemedWidget, came_by_keyboard
from diffcam_studio.views.painting import draw_focus, draw_text, text_font, with_alpha
from diffcam_studio.views.props import Commit, TimelineProps
from diffcam_studio.views.timeline.cells import paint_cells, paint_valid
from diffcam_studio.views.timeline.commits import commit_at, paint_commits
from diffcam_studio.views.timeline.curves import CurveLane
from diffcam_studio.views.timeline.facts import (
    describe,
    is_valid,
    next_commit,
    next_computed,
    same_facts,
)
from diffcam_studio.views.timeline.geometry import (
    FOOT,
    LABELS,
    LANES,
    RULER,
    Geometry,
    Lane,
    Scale,
    lanes_height,
)
from diffcam_studio.views.timeline.labels import paint_labels
from diffcam_studio.views.timeline.maps import Thumbnails
from diffcam_studio.views.timeline.pace import OncePerFrame
from diffcam_studio.views.timeline.ruler import paint_flag, paint_ruler
from diffcam_studio.views.timeline.thin import THIN, ThinBar, paint_thin

STRIPE_FPS = 12
MAX_ZOOM = 16.0


class Lanes(ThemedWidget):
    """Ruler and lanes, painted; also the single bar of the thinned timeline."""

    step_requested = Signal(int)
    step_settled = Signal(int)
    commit_clicked = Signal(int, int)  # step, position
    compute_requested = Signal(int)
    loop_changed = Signal(int, int)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setAccessibleName("Timeline")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._props = TimelineProps()
        self._lanes: tuple[Lane, ...] = LANES
        self._thin = False
        self._zoom = 1.0
        self._first = 0.0  # step at the left edge while zoomed in
        self._thumbnails = Thumbnails()
        self._curves = CurveLane()
        self._drag = False
        self._loop_drag: int | None = None
        self._pace = OncePerFrame(self)
        self._pace.sent.connect(self.step_requested)
        self._stripes = QTimer(self)
        self._stripes.setInterval(round(1000 / STRIPE_FPS))
        self._stripes.timeout.connect(self._advance_stripes)
        self._phase = 0.0
        self._reduce_motion = False
        self._keyboard = False

    # Props

    @property
    def props(self) -> TimelineProps:
        """What is shown."""
        return self._props

    def set_props(self, props: TimelineProps) -> None:
        """Show other facts; only the columns whose content changed are painted again."""
        old, self._props = self._props, props
        if self._thin or old.n_steps != props.n_steps:
            self.update()
            self._thumbnails.forget_from(props.n_steps)
        else:
            self._repaint_changes(old, props)
        if old.step != props.step or old.n_steps != props.n_steps:
            self._move_first(self.lane_geometry.revealing(props.step))
            self.setAccessibleDescription(describe(props, props.step))
            event = QAccessibleEvent(self, QAccessible.Event.DescriptionChanged)
            QAccessible.updateAccessibility(event)
        self._run_stripes()

    def _repaint_changes(self, old: TimelineProps, new: TimelineProps) -> None:
        if not same_facts(old, new):
            self.update()
            return
        if old.step != new.step:
            scale = self.lane_geometry.scale
            for step in (old.step, new.step):
                # The flag and a long word reach over the neighbouring columns.
                reach = max(1.5 * scale.width, 48.0)
                x = scale.centre(step)
                self.update(QRect(round(x - reach), 0, round(2 * reach) + 1, self.height()))
            self.update(0, 0, LABELS - 4, self.height())

    def set_lanes(self, lanes: tuple[Lane, ...]) -> None:
        """Show some lanes only, always in their fixed order."""
        self._lanes = tuple(lane for lane in LANES if lane in lanes)
        self.updateGeometry()
        self.setFixedHeight(self.sizeHint().height())
        self.update()

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Lanes in sight."""
        return self._lanes

    def set_thin(self, thin: bool) -> None:
        """Show one bar instead of ruler and lanes."""
        self._thin = thin
        self.setFixedHeight(self.sizeHint().height())
        self.update()

    def set_reduce_motion(self, reduce: bool) -> None:
        """Let the stripes of computing cells stand still."""
        self._reduce_motion = reduce
        self._run_stripes()

    @property
    def zoom(self) -> float:
        """1 shows all steps."""
        return self._zoom

    def set_zoom(self, zoom: float, about: float | None = None) -> None:
        """Stretch the steps; ``about`` is the x that keeps its step."""
        zoom = min(MAX_ZOOM, max(1.0, zoom))
        if zoom == self._zoom:
            return
        scale = self.lane_geometry.scale
        x = scale.centre(self._props.step) if about is None else about
        at = (x - scale.left) / scale.width
        self._zoom = zoom
        width = self.lane_geometry.step_width
        self._first = self.lane_geometry.clipped(at - (x - LABELS) / width)
        self.update()

    # Geometry

    def sizeHint(self) -> QSize:
        if self._thin:
            return QSize(400, THIN)
        return QSize(800, lanes_height(self._lanes))

    @property
    def lane_geometry(self) -> Geometry:
        """Where steps and lanes lie at the present size and zoom."""
        return Geometry(
            self.width(), self.height(), self._props.n_steps, self._lanes, self._zoom, self._first
        )

    @property
    def _thin_bar(self) -> ThinBar:
        return ThinBar(self.width(), self.height(), self._props.n_steps)

    def step_x(self, step: int) -> float:
        """Return the middle of a step's column."""
        return self._thin_bar.x(step) if self._thin else self.lane_geometry.scale.centre(step)

    def step_at(self, x: float) -> int:
        """Return the step whose column holds x, clipped to the steps there are."""
        return self._thin_bar.step_at(x) if self._thin else self.lane_geometry.step_at(x)

    def _move_first(self, first: float) -> None:
        if first != self._first:
            self._first = first
            self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._first = self.lane_geometry.clipped(self._first)

    # Painting

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.fillRect(event.rect(), self.theme.color("panel"))
        if self._props.n_steps == 0:
            draw_text(
                p,
                QRectF(12, 0, self.width(), RULER + 16),
                "No steps yet",
                text_font(11),
                self.theme.color("text_3"),
            )
        elif self._thin:
            paint_thin(p, self._thin_bar, self._props, self.theme)
        else:
            self._paint_lanes(p, list(event.region()))
        if self.hasFocus() and self._keyboard:
            draw_focus(p, QRectF(self.rect()), self.theme, 3)
        p.end()

    def _paint_lanes(self, p: QPainter, damaged: list[QRect]) -> None:
        props, t, geometry = self._props, self.theme, self.lane_geometry
        scale, ratio = geometry.scale, self.devicePixelRatioF()
        p.save()
        p.setClipRect(LABELS, 0, self.width() - LABELS, self.height())
        column = QRectF(
            round(scale.left) + props.step * scale.width,
            RULER,
            scale.width,
            self.height() - RULER - FOOT,
        )
        x = scale.centre(props.step)
        # Column and line lie under labels and curves, so that no text is crossed.
        p.fillRect(column, with_alpha(t.color("accent_line"), 0.10))
        steps = [s for s in geometry.visible() if _touches(scale, s, damaged)]
        paint_ruler(p, scale, steps, props, t)
        paint_valid(p, geometry, props, t)
        paint_cells(p, geometry, steps, props, t, int(self._phase))
        self._thumbnails.paint(p, geometry, steps, props, t, ratio)
        p.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        p.setPen(QPen(t.color("accent_line"), 1))
        p.drawLine(QPointF(x, RULER - 4), QPointF(x, self.height() - FOOT))
        paint_commits(p, geometry, steps, props, t)
        self._curves.paint(p, geometry, props, t, ratio)
        paint_flag(p, x, 2, props.step, t)
        p.restore()
        paint_labels(p, geometry, props, t)

    # Mouse and keys

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton or not self._props.n_steps:
            event.ignore()
            return
        at = event.position()
        if not self._thin and at.x() < LABELS - 4:
            event.ignore()
            return
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        step = self.step_at(at.x())
        if shift and not self._thin and at.y() < RULER:
            self._loop_drag = step
            self.loop_changed.emit(step, step)
            return
        commit = self._commit_at(at)
        if commit is not None:
            self.commit_clicked.emit(step, commit.position)
            return
        self._drag = True
        self._pace.restart()
        self._pace.request(step)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        step = self.step_at(event.position().x())
        if self._loop_drag is not None:
            self.loop_changed.emit(min(step, self._loop_drag), max(step, self._loop_drag))
        elif self._drag:
            self._pace.request(step)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._loop_drag = None
        if not self._drag:
            return
        self._drag = False
        step = self.step_at(event.position().x())
        self._pace.finish(step)
        lane = self.lane_geometry.lane_rect("computed")
        if not self._thin and lane.contains(event.position().toPoint()):
            state = self._props.cells[step] if step < len(self._props.cells) else "computed"
            if state in ("not_computed", "failed", "partly") and is_valid(self._props, step):
                self.compute_requested.emit(step)
        self.step_settled.emit(step)

    def wheelEvent(self, event: QWheelEvent) -> None:
        turn = event.angleDelta()
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.set_zoom(self._zoom * 1.0015 ** turn.y(), event.position().x())
        elif self._zoom > 1.0 or not self._all_in_sight():
            turned = (turn.x() or turn.y()) / 120.0
            self._move_first(self.lane_geometry.clipped(self._first - turned))
        else:
            event.ignore()
            return
        event.accept()

    def _all_in_sight(self) -> bool:
        geometry = self.lane_geometry
        return geometry.n_steps * geometry.step_width <= geometry.room

    def _commit_at(self, at: QPointF) -> Commit | None:
        return None if self._thin else commit_at(self.lane_geometry, self._props, at)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        count = self._props.n_steps
        step = self._props.step
        key = event.key()
        control = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        target: int | None = None
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right) and count:
            way = -1 if key == Qt.Key.Key_Left else 1
            if control:
                target = next_commit(self._props, step, way)
            elif shift:
                target = next_computed(self._props, step, way)
            else:
                target = min(count - 1, max(0, step + way))
        elif key == Qt.Key.Key_Home and count:
            target = next((s for s in range(count) if is_valid(self._props, s)), 0)
        elif key == Qt.Key.Key_End and count:
            target = next(
                (s for s in range(count - 1, -1, -1) if is_valid(self._props, s)), count - 1
            )
        elif key in (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown) and count:
            way = -4 if key == Qt.Key.Key_PageUp else 4
            target = min(count - 1, max(0, step + way))
        else:
            super().keyPressEvent(event)
            return
        if target is not None and target != step:
            self.step_requested.emit(target)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            text = self.help_at(QPointF(event.pos()))
            if text:
                QToolTip.showText(event.globalPos(), tooltip(text), self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    def help_at(self, at: QPointF) -> str:
        """Return the tooltip at a point."""
        if not self._props.n_steps or (not self._thin and at.x() < LABELS - 4):
            return ""
        step = self.step_at(at.x())
        if self.lane_geometry.lane_rect("computed").contains(at.toPoint()):
            own = self._props.cell_help[step] if step < len(self._props.cell_help) else ""
            if own:
                return own
        commit = self._commit_at(at)
        if commit is not None:
            return f"\u201c{commit.text.strip()}\u201d, position {commit.position}, step {step}"
        return describe(self._props, step)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._keyboard = came_by_keyboard(event, self._keyboard)
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()

    # Stripes of computing cells: the only thing here that moves

    def _run_stripes(self) -> None:
        moving = (
            "computing" in self._props.cells
            and "computed" in self._lanes
            and not self._thin
            and not self._reduce_motion
            and self.isVisible()
        )
        if moving and not self._stripes.isActive():
            self._stripes.start()
        elif not moving:
            self._stripes.stop()

    @property
    def is_animating(self) -> bool:
        """Whether the stripe timer runs."""
        return self._stripes.isActive()

    def _advance_stripes(self) -> None:
        self._phase = (self._phase + 8 / STRIPE_FPS) % 8
        for step, state in enumerate(self._props.cells):
            if state == "computing":
                self.update(self.lane_geometry.cell_rect(step))

    def showEvent(self, event: QShowEvent) -> None:
        self._run_stripes()

    def hideEvent(self, event: QHideEvent) -> None:
        self._stripes.stop()
        self._pace.stop()


def _touches(scale: Scale, step: int, damaged: list[QRect]) -> bool:
    # A word may be wider than its column, a flag too.
    reach = 48 + scale.width
    x = scale.centre(step)
    return any(box.left() - reach <= x <= box.right() + reach for box in damaged)
