# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The timeline: transport, ruler, playhead and the lanes that say what exists at which step.

The lanes are one widget that paints itself from its props. Dragging asks for a
step at most once a frame; it never waits for the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PySide6.QtCore import QElapsedTimer, QEvent, QPointF, QRect, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleEvent,
    QAction,
    QFocusEvent,
    QHelpEvent,
    QHideEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPixmap,
    QPolygonF,
    QResizeEvent,
    QShowEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QHBoxLayout, QMenu, QSizePolicy, QToolTip, QVBoxLayout, QWidget

from diffcam_studio.plain_text import tooltip
from diffcam_studio.theme import Theme
from diffcam_studio.views import colormaps
from diffcam_studio.views.controls import (
    Choice,
    IconButton,
    Label,
    Switch,
    TextButton,
    ThemedWidget,
    came_by_keyboard,
)
from diffcam_studio.views.painting import (
    CENTRE,
    MEDIUM,
    REGULAR,
    RIGHT,
    SEMIBOLD,
    draw_focus,
    draw_hatch,
    draw_icon,
    draw_text,
    number,
    paint_cell,
    text_font,
    text_width,
    with_alpha,
)
from diffcam_studio.views.props import ColourScale, Commit, Curve, FloatArray, TimelineProps

Lane = Literal["valid", "computed", "maps", "commits", "curve"]
LANES: tuple[Lane, ...] = ("valid", "computed", "maps", "commits", "curve")
_LANE_HEIGHT: dict[Lane, int] = {
    "valid": 16,
    "computed": 20,
    "maps": 33,
    "commits": 34,
    "curve": 41,
}
LANE_TITLES: dict[Lane, str] = {
    "valid": "Valid",
    "computed": "Computed layers",
    "maps": "Maps",
    "commits": "Commits",
    "curve": "Curve",
}
TRANSPORT = 40
RULER = 25  # 24 and the hairline above the transport
FOOT = 7
THIN = 44
LABELS = 144  # px left of step 0's cell
TAIL = 16
MIN_STEP = 12
FRAME_MS = 16
STRIPE_FPS = 12
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
MAX_ZOOM = 16.0


@dataclass(frozen=True)
class _Scale:
    """Where steps lie: ``width`` px each, the first starting at ``left`` (may be off screen)."""

    left: float
    width: int

    def cell(self, step: int) -> QRect:
        return QRect(round(self.left) + step * self.width + 2, 0, self.width - 4, 0)

    def centre(self, step: int) -> float:
        return round(self.left) + (step + 0.5) * self.width

    def step_at(self, x: float) -> int:
        return math.floor((x - round(self.left)) / self.width)


def speed_text(speed: float) -> str:
    """Write a speed: "1x" with the sign for times."""
    return f"{speed:g}\u00d7"


class Lanes(ThemedWidget):
    """Ruler and lanes, painted; also the single bar of the thinned timeline."""

    step_requested = Signal(int)
    step_settled = Signal(int)
    commit_clicked = Signal(int, int)  # step, position
    compute_requested = Signal(int)
    loop_changed = Signal(int, int)
    zoom_changed = Signal(float)

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
        self._hover: int | None = None
        self._thumbnails: dict[int, tuple[FloatArray, ColourScale, int, int, QImage]] = {}
        self._curve_pixmap = QPixmap()
        self._curve_key: tuple[object, ...] = ()
        self._curves: tuple[Curve | None, ...] = ()  # kept: an id is unique while its object lives
        self._drag = False
        self._loop_drag: int | None = None
        self._wanted: int | None = None
        self._sent: int | None = None
        self._clock = QElapsedTimer()
        self._pending = QTimer(self)
        self._pending.setSingleShot(True)
        self._pending.timeout.connect(self._send)
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
            self._thumbnails = {k: v for k, v in self._thumbnails.items() if k < props.n_steps}
        else:
            self._repaint_changes(old, props)
        if old.step != props.step or old.n_steps != props.n_steps:
            self._reveal(props.step)
            self.setAccessibleDescription(self.describe(props.step))
            event = QAccessibleEvent(self, QAccessible.Event.DescriptionChanged)
            QAccessible.updateAccessibility(event)
        self._run_stripes()

    def _repaint_changes(self, old: TimelineProps, new: TimelineProps) -> None:
        if not _same_facts(old, new):
            self.update()
            return
        if old.step != new.step:
            scale = self._scale()
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
        scale = self._scale()
        x = scale.centre(self._props.step) if about is None else about
        at = (x - scale.left) / scale.width
        self._zoom = zoom
        width = self._scale().width
        self._first = at - (x - LABELS) / width
        self._clip_first()
        self.update()
        self.zoom_changed.emit(zoom)

    # Geometry

    def sizeHint(self) -> QSize:
        if self._thin:
            return QSize(400, THIN)
        height = RULER + sum(_LANE_HEIGHT[lane] for lane in self._lanes) + FOOT
        return QSize(800, height)

    def _room(self) -> int:
        return max(1, self.width() - LABELS - TAIL + 0)

    def step_width(self) -> int:
        """Width of a step in px."""
        count = max(1, self._props.n_steps)
        fitted = max(MIN_STEP, self._room() // count)
        return max(fitted, round(fitted * self._zoom))

    def _scale(self) -> _Scale:
        width = self.step_width()
        return _Scale(LABELS - self._first * width, width)

    def _clip_first(self) -> None:
        seen = self._room() / self.step_width()
        self._first = min(max(0.0, self._props.n_steps - seen), max(0.0, self._first))

    def _reveal(self, step: int) -> None:
        seen = self._room() / self.step_width()
        if seen >= self._props.n_steps:
            self._first = 0.0
        elif step < self._first:
            self._first = float(step)
            self.update()
        elif step + 1 > self._first + seen:
            self._first = step + 1 - seen
            self.update()
        self._clip_first()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._clip_first()

    def lane_rect(self, lane: Lane) -> QRect:
        """Return where a lane lies (full width); empty if it is not shown."""
        y = RULER
        for shown in self._lanes:
            if shown == lane:
                return QRect(0, y, self.width(), _LANE_HEIGHT[lane])
            y += _LANE_HEIGHT[shown]
        return QRect()

    def cell_rect(self, step: int) -> QRect:
        """Return the cell of the lane of computed layers."""
        lane = self.lane_rect("computed")
        cell = self._scale().cell(step)
        return QRect(cell.x(), lane.y() + 3, cell.width(), 14)

    def step_x(self, step: int) -> float:
        """Return the middle of a step's column."""
        if self._thin:
            return self._thin_x(step)
        return self._scale().centre(step)

    def _thin_bar(self) -> QRectF:
        return QRectF(8, self.height() / 2 - 2, max(1, self.width() - 24), 4)

    def _thin_x(self, step: int) -> float:
        bar = self._thin_bar()
        return bar.left() + (step + 0.5) * bar.width() / max(1, self._props.n_steps)

    def step_at(self, x: float) -> int:
        """Return the step whose column holds x, clipped to the steps there are."""
        count = max(1, self._props.n_steps)
        if self._thin:
            bar = self._thin_bar()
            step = math.floor((x - bar.left()) / bar.width() * count)
        else:
            step = self._scale().step_at(x)
        return min(count - 1, max(0, step))

    def _visible(self) -> range:
        scale = self._scale()
        first = max(0, scale.step_at(LABELS))
        last = min(self._props.n_steps, scale.step_at(self.width()) + 1)
        return range(first, max(first, last))

    # Words

    def describe(self, step: int) -> str:
        """Return what is known about a step, for tooltips and screen readers."""
        props = self._props
        if not 0 <= step < props.n_steps:
            return ""
        parts = [f"Step {step}"]
        if not self._is_valid(step):
            parts.append(props.invalid_reason.lower())
        state = props.cells[step] if step < len(props.cells) else "not_computed"
        share = props.shares[step] if step < len(props.shares) else 0.0
        words = {
            "not_computed": "not computed",
            "queued": "queued",
            "computing": "computing",
            "computed": "all layers computed",
            "partly": f"{share * 100:.0f} % of the layers computed",
            "failed": "failed",
            "invalid": "",
        }[state]
        if words:
            parts.append(words)
        commits = props.commits[step] if step < len(props.commits) else ()
        written = [commit.text.strip() for commit in commits if not commit.end]
        if written:
            parts.append("written: " + " ".join(written))
        ends = sum(commit.end for commit in commits)
        if ends:
            parts.append(f"{ends} end mark{'s' if ends > 1 else ''}")
        for curve in (props.curve, props.second_curve):
            value = _value_at(curve, step)
            if curve is not None and value is not None:
                parts.append(f"{curve.name} {number(value, curve.decimals)}")
        return ", ".join(parts)

    def _is_valid(self, step: int) -> bool:
        valid = self._props.valid
        return step >= len(valid) or bool(valid[step])

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
            self._paint_thin(p)
        else:
            self._paint_lanes(p, list(event.region()))
        if self.hasFocus() and self._keyboard:
            draw_focus(p, QRectF(self.rect()), self.theme, 3)
        p.end()

    def _paint_lanes(self, p: QPainter, damaged: list[QRect]) -> None:
        props, t = self._props, self.theme
        scale = self._scale()
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
        steps = [s for s in self._visible() if self._touches(scale, s, damaged)]
        self._paint_ruler(p, scale, steps)
        self._paint_valid(p, scale)
        self._paint_cells(p, steps)
        self._paint_maps(p, scale, steps)
        p.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        p.setPen(QPen(t.color("accent_line"), 1))
        p.drawLine(QPointF(x, RULER - 4), QPointF(x, self.height() - FOOT))
        self._paint_commits(p, scale, steps)
        self._paint_curve(p, scale)
        self._paint_flag(p, x)
        p.restore()
        self._paint_labels(p)

    def _touches(self, scale: _Scale, step: int, damaged: list[QRect]) -> bool:
        # A word may be wider than its column, a flag too.
        reach = 48 + scale.width
        x = scale.centre(step)
        return any(box.left() - reach <= x <= box.right() + reach for box in damaged)

    def _every(self, width: float) -> int:
        for every in (1, 2, 4, 8, 16, 32):
            if every * width >= 32:
                return every if every > 2 else 4
        return 64

    def _paint_ruler(self, p: QPainter, scale: _Scale, steps: list[int]) -> None:
        props, t = self._props, self.theme
        every = self._every(scale.width)
        font = text_font(11)
        p.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        if props.loop is not None:
            first, last = props.loop
            left = round(scale.left) + first * scale.width
            box = QRectF(left, RULER - 5, (last - first + 1) * scale.width, 3)
            p.fillRect(box, t.color("accent_line" if props.looping else "strong"))
        for step in steps:
            x = scale.centre(step)
            long = step % every == 0
            p.setPen(QPen(t.color("strong" if long else "border"), 1))
            p.drawLine(QPointF(x, RULER - (9 if long else 5)), QPointF(x, RULER))
            hidden = abs(x - scale.centre(props.step)) < 24
            if long and not hidden:
                box = QRectF(x - 20, 0, 40, 15)
                draw_text(p, box, str(step), font, t.color("text_3"), CENTRE)
        for marker in props.markers:
            if marker != props.step:
                draw_icon(p, t, "flag", "accent_text", scale.centre(marker) + 5, 3, 12)

    def _paint_flag(self, p: QPainter, x: float) -> None:
        t = self.theme
        text = str(self._props.step)
        width = max(28.0, text_width(text, text_font(11, SEMIBOLD)) + 12)
        flag = QRectF(x - width / 2, 2, width, 18)
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        p.setPen(Qt.PenStyle.NoPen)
        p.setBrush(t.color("accent"))
        p.drawRoundedRect(flag, 4, 4)
        draw_text(p, flag, text, text_font(11, SEMIBOLD), t.color("on_accent"), CENTRE)

    def _runs(self) -> list[tuple[int, int, bool]]:
        runs: list[tuple[int, int, bool]] = []
        for step in range(self._props.n_steps):
            valid = self._is_valid(step)
            if runs and runs[-1][2] == valid:
                runs[-1] = (runs[-1][0], step, valid)
            else:
                runs.append((step, step, valid))
        return runs

    def _paint_valid(self, p: QPainter, scale: _Scale) -> None:
        lane = self.lane_rect("valid")
        if lane.isEmpty():
            return
        t = self.theme
        middle = lane.center().y()
        for first, last, valid in self._runs():
            left = round(scale.left) + first * scale.width + 2
            right = round(scale.left) + (last + 1) * scale.width - 2
            if valid:
                p.setRenderHint(QPainter.RenderHint.Antialiasing)
                p.setPen(Qt.PenStyle.NoPen)
                p.setBrush(t.color("valid"))
                p.drawRoundedRect(QRectF(left, middle - 1, right - left, 4), 2, 2)
            else:
                self._paint_impossible(p, QRect(left, middle - 3, right - left, 8))

    def _paint_impossible(self, p: QPainter, bar: QRect) -> None:
        t = self.theme
        p.save()
        clip = QPainterPath()
        clip.addRoundedRect(QRectF(bar), 3, 3)
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        p.setClipPath(clip, Qt.ClipOperation.IntersectClip)
        draw_hatch(p, bar, t)
        p.restore()
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        p.setPen(QPen(t.color("invalid"), 1))
        p.setBrush(Qt.BrushStyle.NoBrush)
        p.drawRoundedRect(QRectF(bar).adjusted(0.5, 0.5, -0.5, -0.5), 3, 3)
        font = text_font(11)
        width = text_width(self._props.invalid_reason, font) + 12
        if width <= bar.width() - 16:
            box = QRectF(bar.center().x() - width / 2, bar.y() - 4, width, 16)
            p.fillRect(box, t.color("panel"))
            draw_text(p, box, self._props.invalid_reason, font, t.color("text_2"), CENTRE)

    def _paint_cells(self, p: QPainter, steps: list[int]) -> None:
        props = self._props
        if "computed" not in self._lanes:
            return
        for step in steps:
            state = props.cells[step] if step < len(props.cells) else "not_computed"
            share = props.shares[step] if step < len(props.shares) else 1.0
            paint_cell(p, self.cell_rect(step), state, share, self.theme, int(self._phase))

    def thumbnail_rect(self, step: int) -> QRect:
        """Return the box of a step's map; empty where the lane leaves the step out."""
        lane = self.lane_rect("maps")
        if lane.isEmpty():
            return QRect()
        scale = self._scale()
        every = self._map_every(scale.width)
        if step % every:
            return QRect()
        cell = scale.cell(step)
        aspect = min(4.0, max(0.25, self._props.map_aspect))
        room = every * scale.width - 4
        width = min(room, round(27 * aspect), 54)
        height = min(27, max(8, round(width / aspect)))
        left = cell.x() + ((room - width) // 2 if every == 1 else 0)
        return QRect(left, lane.y() + 3 + (27 - height) // 2, width, height)

    @staticmethod
    def _map_every(width: int) -> int:
        if width >= 24:
            return 1
        return 2 if width >= 16 else 4

    def _paint_maps(self, p: QPainter, scale: _Scale, steps: list[int]) -> None:
        if "maps" not in self._lanes:
            return
        t = self.theme
        for step in steps:
            box = self.thumbnail_rect(step)
            if box.isEmpty():
                continue
            values = self._props.maps[step] if step < len(self._props.maps) else None
            if values is None:
                p.setRenderHint(QPainter.RenderHint.Antialiasing)
                p.setPen(QPen(t.color("line"), 1))
                fill = t.color("canvas")
                fill.setAlphaF(0.4)
                p.setBrush(fill)
                p.drawRoundedRect(QRectF(box).adjusted(0.5, 0.5, -0.5, -0.5), 3, 3)
                continue
            image = self._thumbnail(step, values, box.size())
            p.save()
            clip = QPainterPath()
            clip.addRoundedRect(QRectF(box), 3, 3)
            p.setRenderHint(QPainter.RenderHint.Antialiasing)
            p.setClipPath(clip, Qt.ClipOperation.IntersectClip)
            p.drawImage(QRectF(box), image)
            p.restore()

    def _thumbnail(self, step: int, values: FloatArray, size: QSize) -> QImage:
        ratio = self.devicePixelRatioF()
        width, height = round(size.width() * ratio), round(size.height() * ratio)
        kept = self._thumbnails.get(step)
        scale = self._props.scale
        if (
            kept is not None
            and kept[0] is values
            and kept[1] == scale
            and kept[2:4] == (width, height)
        ):
            return kept[4]
        image = colormaps.thumbnail(values, scale, width, height)
        self._thumbnails[step] = (values, scale, width, height, image)
        return image

    def dots(self, step: int) -> list[tuple[Commit, QPointF, float]]:
        """Return the commit dots of a step: token, centre, radius."""
        props = self._props
        lane = self.lane_rect("commits")
        commits = props.commits[step] if step < len(props.commits) else ()
        if lane.isEmpty() or not commits:
            return []
        ordered = sorted(commits, key=lambda commit: (commit.end, commit.position))
        radius = 3.0 if len(ordered) < 5 else 2.0
        gap = 2 * radius + 2
        room = self.step_width() - 4
        fit = max(1, int((room + 2) // gap))
        ordered = ordered[:fit]
        x = self._scale().centre(step) - (len(ordered) - 1) * gap / 2
        y = lane.y() + 9.0
        return [(commit, QPointF(x + i * gap, y), radius) for i, commit in enumerate(ordered)]

    def _paint_commits(self, p: QPainter, scale: _Scale, steps: list[int]) -> None:
        lane = self.lane_rect("commits")
        if lane.isEmpty():
            return
        t, props = self.theme, self._props
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        for step in steps:
            # Selected last: its ring lies over the next dot, not under it.
            for commit, at, radius in sorted(self.dots(step), key=lambda dot: dot[0].selected):
                p.setPen(Qt.PenStyle.NoPen)
                p.setBrush(t.color("invalid" if commit.end else "commit"))
                p.drawEllipse(at, radius, radius)
                if commit.selected:
                    p.setBrush(Qt.BrushStyle.NoBrush)
                    p.setPen(QPen(t.color("accent_line"), 2))
                    p.drawEllipse(at, radius + 2, radius + 2)
            if scale.width < 24:
                continue
            word = self._word(step)
            if word is None:
                continue
            here = step == props.step
            token = "accent_text" if word.selected else "commit_text" if here else "text_2"
            font = text_font(11, MEDIUM if word.selected or here else REGULAR)
            text = word.text.strip()
            wide = min(text_width(text, font), 2.0 * scale.width)
            box = QRectF(scale.centre(step) - wide / 2 - 1, lane.y() + 14, wide + 2, 16)
            if here:
                # The playhead stops at the word: paint its column's ground again.
                ground = box.adjusted(-1, 0, 1, 0)
                p.fillRect(ground, t.color("panel"))
                p.fillRect(ground, with_alpha(t.color("accent_line"), 0.10))
            draw_text(p, box, text, font, t.color(token), CENTRE, elide=True)

    def _word(self, step: int) -> Commit | None:
        """Return the word below the dots: the selected one, else the longest new one."""
        props = self._props
        commits = props.commits[step] if step < len(props.commits) else ()
        words = [commit for commit in commits if not commit.end and commit.text.strip()]
        if not words:
            return None
        for commit in words:
            if commit.selected:
                return commit
        return max(words, key=lambda commit: len(commit.text.strip()))

    def _paint_curve(self, p: QPainter, scale: _Scale) -> None:
        lane = self.lane_rect("curve")
        if lane.isEmpty():
            return
        t, props = self.theme, self._props
        ratio = self.devicePixelRatioF()
        curves = (props.curve, props.second_curve)
        key = (*(id(c) for c in curves), scale, self.size(), lane, ratio, t.name)
        if key != self._curve_key:
            self._curve_key, self._curves = key, curves
            self._curve_pixmap = QPixmap(QSize(self.width(), lane.height()) * ratio)
            self._curve_pixmap.setDevicePixelRatio(ratio)
            self._curve_pixmap.fill(Qt.GlobalColor.transparent)
            fresh = QPainter(self._curve_pixmap)
            self._draw_curves(fresh, scale, QRect(0, 0, self.width(), lane.height()))
            fresh.end()
        p.drawPixmap(lane.topLeft(), self._curve_pixmap)
        value = _value_at(props.curve, props.step)
        if value is not None:
            y = lane.bottom() - 1.0 - (lane.height() - 5.0) * value / _ceiling(props.curve)
            p.setRenderHint(QPainter.RenderHint.Antialiasing)
            p.setPen(QPen(t.color("panel"), 1.5))
            p.setBrush(t.color("accent_line"))
            p.drawEllipse(QPointF(scale.centre(props.step), y), 3.5, 3.5)

    def _draw_curves(self, p: QPainter, scale: _Scale, lane: QRect) -> None:
        t, props = self.theme, self._props
        base = QRect(LABELS, lane.bottom(), self.width() - LABELS - TAIL + 8, 1)
        p.fillRect(base, t.color("line"))
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        low, high = lane.bottom() - 1.0, lane.top() + 3.0
        if props.second_curve is not None:
            pen = QPen(t.color("strong"), 1.25)
            pen.setDashPattern([3, 2])
            p.setPen(pen)
            for piece in self._pieces(props.second_curve, scale, low, high):
                p.drawPolyline(QPolygonF(piece))
        if props.curve is None:
            return
        for piece in self._pieces(props.curve, scale, low, high):
            area = [QPointF(piece[0].x(), low + 1), *piece, QPointF(piece[-1].x(), low + 1)]
            p.setPen(Qt.PenStyle.NoPen)
            p.setBrush(with_alpha(t.color("accent_line"), 0.12))
            p.drawPolygon(QPolygonF(area))
            p.setPen(QPen(t.color("accent_line"), 1.5))
            p.setBrush(Qt.BrushStyle.NoBrush)
            p.drawPolyline(QPolygonF(piece))

    def _pieces(self, curve: Curve, scale: _Scale, low: float, high: float) -> list[list[QPointF]]:
        pieces: list[list[QPointF]] = []
        open_ = False
        top = _ceiling(curve)
        for step, value in enumerate(curve.values[: self._props.n_steps].tolist()):
            if not math.isfinite(value):
                open_ = False
                continue
            if not open_:
                pieces.append([])
                open_ = True
            pieces[-1].append(QPointF(scale.centre(step), low - (low - high) * value / top))
        return pieces

    def _paint_labels(self, p: QPainter) -> None:
        t, props = self.theme, self._props
        p.fillRect(0, 0, LABELS - 2, self.height(), t.color("panel"))
        font = text_font(11)
        titles = {**LANE_TITLES, "maps": props.maps_title}
        for lane in self._lanes:
            box = QRectF(self.lane_rect(lane))
            if lane != "curve":
                if lane == "valid":
                    box.translate(0, 1)
                label = QRectF(12, box.y(), LABELS - 20, box.height())
                draw_text(p, label, titles[lane], font, t.color("text_2"), elide=True)
                continue
            y = box.y() + 4
            for curve, token in ((props.curve, "accent_text"), (props.second_curve, "text_2")):
                if curve is None:
                    continue
                label = QRectF(12, y, LABELS - 60, 16)
                draw_text(p, label, curve.name, font, t.color("text_2"), elide=True)
                value = _value_at(curve, props.step)
                if value is not None:
                    text = number(value, curve.decimals)
                    place = QRectF(LABELS - 66, y, 51, 16)
                    draw_text(p, place, text, text_font(11, MEDIUM), t.color(token), RIGHT)
                y += 16

    def _paint_thin(self, p: QPainter) -> None:
        props, t = self._props, self.theme
        bar = self._thin_bar()
        share = bar.width() / max(1, props.n_steps)
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        for first, last, valid in self._runs():
            left = bar.left() + first * share + 1
            right = bar.left() + (last + 1) * share - 1
            if valid:
                p.setPen(Qt.PenStyle.NoPen)
                p.setBrush(t.color("valid"))
                p.drawRoundedRect(QRectF(left, bar.top(), right - left, 4), 2, 2)
            else:
                box = QRect(round(left), round(bar.top()) - 2, max(2, round(right - left)), 8)
                p.save()
                draw_hatch(p, box, t)
                p.restore()
                p.setPen(QPen(t.color("invalid"), 1))
                p.setBrush(Qt.BrushStyle.NoBrush)
                p.drawRoundedRect(QRectF(box).adjusted(0.5, 0.5, -0.5, -0.5), 3, 3)
        p.setPen(Qt.PenStyle.NoPen)
        for step in range(props.n_steps):
            commits = props.commits[step] if step < len(props.commits) else ()
            words = [commit for commit in commits if not commit.end]
            if words:
                p.setBrush(t.color("commit"))
                p.drawEllipse(QPointF(self._thin_x(step), bar.bottom() + 9), 2, 2)
        x = self._thin_x(props.step)
        p.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        p.setPen(QPen(t.color("accent_line"), 1))
        p.drawLine(QPointF(x, 6), QPointF(x, self.height() - 6))
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = str(props.step)
        width = max(28.0, text_width(text, text_font(11, SEMIBOLD)) + 12)
        flag = QRectF(x - width / 2, self.height() / 2 - 9, width, 18)
        p.setPen(Qt.PenStyle.NoPen)
        p.setBrush(t.color("accent"))
        p.drawRoundedRect(flag, 4, 4)
        draw_text(p, flag, text, text_font(11, SEMIBOLD), t.color("on_accent"), CENTRE)

    # Mouse and keys

    def _request(self, step: int) -> None:
        """Ask for a step, at most once a frame; the last wish is never lost."""
        self._wanted = step
        if self._pending.isActive():
            return
        wait = FRAME_MS - self._clock.elapsed() if self._clock.isValid() else 0
        if wait > 0:
            self._pending.start(int(wait))
        else:
            self._send()

    def _send(self) -> None:
        self._clock.start()
        if self._wanted is not None and self._wanted != self._sent:
            self._sent = self._wanted
            self.step_requested.emit(self._wanted)

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
        commit = self.commit_at(at)
        if commit is not None:
            self.commit_clicked.emit(step, commit.position)
            return
        self._drag = True
        self._sent = None
        self._request(step)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        step = self.step_at(event.position().x())
        if self._loop_drag is not None:
            self.loop_changed.emit(min(step, self._loop_drag), max(step, self._loop_drag))
        elif self._drag:
            self._request(step)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._loop_drag = None
        if not self._drag:
            return
        self._drag = False
        self._pending.stop()
        step = self.step_at(event.position().x())
        self._wanted = step
        self._send()
        lane = self.lane_rect("computed")
        if not self._thin and lane.contains(event.position().toPoint()):
            state = self._props.cells[step] if step < len(self._props.cells) else "computed"
            if state in ("not_computed", "failed", "partly") and self._is_valid(step):
                self.compute_requested.emit(step)
        self.step_settled.emit(step)

    def commit_at(self, at: QPointF) -> Commit | None:
        """Return the token whose dot or word lies under a point."""
        lane = self.lane_rect("commits")
        if self._thin or lane.isEmpty() or not lane.contains(at.toPoint()):
            return None
        step = self.step_at(at.x())
        near = [
            (abs(dot.x() - at.x()), commit)
            for commit, dot, radius in self.dots(step)
            if abs(dot.x() - at.x()) <= radius + 3 and abs(dot.y() - at.y()) <= radius + 4
        ]
        if near:
            return min(near, key=lambda pair: pair[0])[1]
        return self._word(step) if at.y() > lane.y() + 14 and self.step_width() >= 24 else None

    def wheelEvent(self, event: QWheelEvent) -> None:
        turn = event.angleDelta()
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.set_zoom(self._zoom * 1.0015 ** turn.y(), event.position().x())
        elif self._zoom > 1.0 or self._props.n_steps * self.step_width() > self._room():
            self._first -= (turn.x() or turn.y()) / 120.0
            self._clip_first()
            self.update()
        else:
            event.ignore()
            return
        event.accept()

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
                target = self.next_commit(step, way)
            elif shift:
                target = self.next_computed(step, way)
            else:
                target = min(count - 1, max(0, step + way))
        elif key == Qt.Key.Key_Home and count:
            target = next((s for s in range(count) if self._is_valid(s)), 0)
        elif key == Qt.Key.Key_End and count:
            target = next((s for s in range(count - 1, -1, -1) if self._is_valid(s)), count - 1)
        elif key in (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown) and count:
            way = -4 if key == Qt.Key.Key_PageUp else 4
            target = min(count - 1, max(0, step + way))
        else:
            super().keyPressEvent(event)
            return
        if target is not None and target != step:
            self.step_requested.emit(target)

    def next_commit(self, step: int, way: int) -> int | None:
        """Return the next step (``way`` 1 or -1) at which a word is written, or None."""
        at = step + way
        while 0 <= at < len(self._props.commits):
            if any(not commit.end for commit in self._props.commits[at]):
                return at
            at += way
        return None

    def next_computed(self, step: int, way: int) -> int | None:
        """Return the next step with computed layers, or None."""
        at = step + way
        while 0 <= at < len(self._props.cells):
            if self._props.cells[at] in ("computed", "partly"):
                return at
            at += way
        return None

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
        if "computed" in self._lanes and self.lane_rect("computed").contains(at.toPoint()):
            own = self._props.cell_help[step] if step < len(self._props.cell_help) else ""
            if own:
                return own
        commit = self.commit_at(at)
        if commit is not None:
            return f"\u201c{commit.text.strip()}\u201d, position {commit.position}, step {step}"
        return self.describe(step)

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
                self.update(self.cell_rect(step))

    def showEvent(self, event: QShowEvent) -> None:
        self._run_stripes()

    def hideEvent(self, event: QHideEvent) -> None:
        self._stripes.stop()
        self._pending.stop()


def _same_facts(old: TimelineProps, new: TimelineProps) -> bool:
    """Whether two props differ in step and transport only, so that two columns need paint."""
    return (
        old.scale == new.scale
        and old.cells == new.cells
        and old.shares == new.shares
        and old.loop == new.loop
        and old.markers == new.markers
        and old.looping == new.looping
        and old.maps_title == new.maps_title
        and old.map_aspect == new.map_aspect
        and old.invalid_reason == new.invalid_reason
        and len(old.maps) == len(new.maps)
        and all(a is b for a, b in zip(old.maps, new.maps, strict=True))
        and (old.commits is new.commits or old.commits == new.commits)
        and np.array_equal(old.valid, new.valid)
        and _same_curve(old.curve, new.curve)
        and _same_curve(old.second_curve, new.second_curve)
    )


def _same_curve(old: Curve | None, new: Curve | None) -> bool:
    if old is new:
        return True
    if old is None or new is None or old.name != new.name:
        return False
    return np.array_equal(old.values, new.values, equal_nan=True)


def _value_at(curve: Curve | None, step: int) -> float | None:
    if curve is None or not 0 <= step < len(curve.values):
        return None
    value = float(curve.values[step])
    return value if math.isfinite(value) else None


def _ceiling(curve: Curve | None) -> float:
    """Return the top of a curve's axis: the next of 1, 2, 5 times a power of ten."""
    if curve is None or not len(curve.values):
        return 1.0
    peak = float(np.nanmax(curve.values, initial=0.0))
    if peak <= 0.0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(peak) + 1e-9)
    return next(power * step for step in (1.0, 2.0, 5.0, 10.0) if power * step >= peak * 0.999)


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
    lanes_changed = Signal(object)
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
        self.lanes_changed.emit(self.lanes.lanes)

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


__all__ = ["LANES", "Lane", "Lanes", "Timeline"]
