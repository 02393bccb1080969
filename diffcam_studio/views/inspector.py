# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The right dock: how the map is shown, refined and judged, and where it comes from."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QFocusEvent,
    QGuiApplication,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import (
    QHBoxLayout,
    QPlainTextEdit,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from diffcam_studio.plain_text import tooltip
from diffcam_studio.theme import Theme
from diffcam_studio.views import colormaps
from diffcam_studio.views.colour_bar import ColourBar
from diffcam_studio.views.controls import (
    Choice,
    DockScroll,
    IconButton,
    Label,
    Section,
    Segments,
    Slider,
    Tag,
    ThemedWidget,
    draw_knob,
    spread_theme,
)
from diffcam_studio.views.ladder import RefinementLadder
from diffcam_studio.views.painting import (
    MEDIUM,
    RIGHT,
    SEMIBOLD,
    code_font,
    draw_text,
    number,
    signed,
    text_font,
    text_width,
    with_alpha,
)
from diffcam_studio.views.props import (
    AppearanceProps,
    LadderProps,
    MetricProps,
    MetricsProps,
    ProvenanceProps,
)

LABEL_COLUMN = 84
HISTOGRAM = 26


class RangeEditor(ThemedWidget):
    """Histogram with logarithmic counts over the colour ramp with two knobs."""

    changed = Signal(float, float)
    settled = Signal(float, float)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setFixedHeight(HISTOGRAM + 18)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._cmap = colormaps.DEFAULT
        self._domain = (0.0, 1.0)
        self._low, self._high = 0.0, 1.0
        self._heights = np.zeros(0)
        self._symmetric = False
        self._held = -1
        self._active = 1
        self._hover = -1
        self._tell()

    @property
    def range(self) -> tuple[float, float]:
        """Present ends of the range."""
        return self._low, self._high

    def set_props(self, props: AppearanceProps) -> None:
        """Show another range, table or histogram; a knob in the hand stays."""
        self._cmap = props.scale.cmap
        self._domain = props.domain
        self._symmetric = props.scale.diverging
        if self._held < 0:
            self._low, self._high = props.scale.low, props.scale.high
        counts = props.histogram
        if counts is None or not len(counts) or counts.max() <= 0:
            self._heights = np.zeros(0)
        else:
            logs = np.log1p(counts.astype(np.float64))
            self._heights = logs / logs.max()
        self._tell()
        self.update()

    def _tell(self) -> None:
        self.setAccessibleName(f"Range {number(self._low, 2)} to {number(self._high, 2)}")

    def _x(self, value: float) -> float:
        low, high = self._domain
        share = (value - low) / (high - low) if high > low else 0.0
        return 6.0 + min(1.0, max(0.0, share)) * (self.width() - 12.0)

    def _value(self, x: float) -> float:
        low, high = self._domain
        share = min(1.0, max(0.0, (x - 6.0) / max(1.0, self.width() - 12.0)))
        return low + share * (high - low)

    def knob_x(self, which: int) -> float:
        """Return the middle of a knob: 0 low, 1 high."""
        return self._x(self._high if which else self._low)

    def _nearest(self, x: float) -> int:
        a, b = self.knob_x(0), self.knob_x(1)
        if abs(a - b) < 1:
            return 1 if x >= a else 0
        return 0 if abs(x - a) < abs(x - b) else 1

    def _set(self, which: int, value: float) -> None:
        low, high = self._domain
        gap = (high - low) / 100.0
        value = round(value / gap) * gap
        if self._symmetric:
            half = max(gap, abs(value))
            self._low, self._high = -half, half
        elif which:
            self._high = min(high, max(value, self._low + gap))
        else:
            self._low = max(low, min(value, self._high - gap))
        self._tell()
        self.update()
        self.changed.emit(self._low, self._high)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            event.ignore()
            return
        self._held = self._active = self._nearest(event.position().x())
        self._set(self._held, self._value(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        x = event.position().x()
        if self._held >= 0:
            self._set(self._held, self._value(x))
            return
        near = self._nearest(x)
        hover = near if abs(self.knob_x(near) - x) <= 8 else -1
        if hover != self._hover:
            self._hover = hover
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._held >= 0:
            self._held = -1
            self.settled.emit(self._low, self._high)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self._held = -1
        self._low, self._high = self._domain
        self._tell()
        self.update()
        self.changed.emit(self._low, self._high)
        self.settled.emit(self._low, self._high)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        if key in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            self._active = 1 if key == Qt.Key.Key_Up else 0
            self.update()
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            step = (self._domain[1] - self._domain[0]) / 100.0
            way = -1 if key == Qt.Key.Key_Left else 1
            start = self._high if self._active else self._low
            self._set(self._active, start + way * step)
            self.settled.emit(self._low, self._high)
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        self._paint_histogram(p)
        y = HISTOGRAM + 10.0
        bar = QRectF(0, y - 3, self.width(), 6)
        p.save()
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        clip = QPainterPath()
        clip.addRoundedRect(bar, 3, 3)
        p.setClipPath(clip)
        left, right = self.knob_x(0), self.knob_x(1)
        table = colormaps.table(self._cmap)
        ends = [QRectF(0, y - 3, left, 6), QRectF(right, y - 3, self.width() - right, 6)]
        for box, entry in zip(ends, (table[0], table[-1]), strict=True):
            strip = colormaps.to_qimage(np.ascontiguousarray(entry.reshape(1, 1, 3)))
            p.drawImage(box, strip)
        length = max(2, round(right - left))
        p.drawImage(QRectF(left, y - 3, right - left, 6), colormaps.ramp(self._cmap, length))
        p.restore()
        for which in (0, 1):
            at = QPointF(self.knob_x(which), y)
            hot = self._hover == which or self._held == which
            draw_knob(p, t, at, hot=hot, enabled=self.isEnabled())
            if self.hasFocus() and which == self._active:
                p.setPen(QPen(t.color("accent_line"), 2))
                p.setBrush(Qt.BrushStyle.NoBrush)
                p.drawEllipse(at, 7, 7)
        p.end()

    def _paint_histogram(self, p: QPainter) -> None:
        count = len(self._heights)
        if not count:
            return
        t = self.theme
        pitch = self.width() / count
        bar = max(1, int(pitch) - (1 if pitch >= 3 else 0))
        low, high = self._domain
        p.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        for i, share in enumerate(self._heights):
            if share <= 0:
                continue
            centre = low + (i + 0.5) / count * (high - low)
            inside = self._low <= centre <= self._high
            ink = with_alpha(t.color("strong"), 0.65 if inside else 0.3)
            height = max(1.0, share * (HISTOGRAM - 2))
            box = QRectF(round(i * pitch), HISTOGRAM - round(height), bar, round(height))
            p.fillRect(box, ink)
        for value, end in ((self._low, low), (self._high, high)):
            if abs(value - end) > 1e-9:  # clip marks where the range cuts the values
                x = round(self._x(value))
                p.fillRect(QRectF(x, 0, 1, HISTOGRAM), t.color("strong"))


def _labelled(theme: Theme, text: str, *fields: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(0)
    label = Label(theme, text)
    label.setFixedWidth(LABEL_COLUMN)
    row.addWidget(label)
    for field in fields:
        row.addWidget(field)
    return row


class AppearanceSection(Section):
    """Colour map, opacity, range with histogram, normalisation."""

    cmap_requested = Signal(str)
    opacity_changed = Signal(float)
    opacity_settled = Signal(float)
    range_changed = Signal(float, float)
    range_settled = Signal(float, float)
    normalise_requested = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, "Appearance", parent=parent)
        self.target = Tag(theme, "Panel A")
        self.header.add_action(self.target)
        self.bar = ColourBar(theme, vertical=False, compact=True)
        self.bar.setFixedHeight(38)
        self.bar.hide()
        self.cmap = Choice(theme, "Colour map", swatches=True, expand=True)
        self.opacity = Slider(theme, "Opacity", 0.0, 1.0, 0.01, 0.6, default=0.6)
        self._percent = Label(theme, "60\u00a0%", token="text_1", align=RIGHT)
        self._percent.setFixedWidth(44)
        self.range = RangeEditor(theme)
        self._range_text = Label(theme, "", pixels=11, token="text_3")
        props = AppearanceProps()
        self.normalise = Segments(theme, "Normalise", props.normalise_choices, expand=True)
        self.rows.addWidget(self.bar)
        self.rows.addLayout(_labelled(theme, "Colour map", self.cmap))
        row = _labelled(theme, "Opacity", self.opacity, self._percent)
        row.setContentsMargins(0, 2, 0, 2)
        self.rows.addLayout(row)
        ranges = QHBoxLayout()
        ranges.setContentsMargins(0, 0, 0, 0)
        ranges.setSpacing(0)
        words = QVBoxLayout()
        words.setContentsMargins(0, 6, 0, 0)
        words.setSpacing(0)
        name = Label(theme, "Range")
        name.setFixedWidth(LABEL_COLUMN)
        words.addWidget(name)
        words.addWidget(self._range_text)
        words.addStretch(1)
        ranges.addLayout(words)
        ranges.addWidget(self.range)
        self.rows.addLayout(ranges)
        self.rows.addLayout(_labelled(theme, "Normalise", self.normalise))
        self.cmap.chosen.connect(self.cmap_requested)
        self.opacity.changed.connect(self._opacity)
        self.opacity.settled.connect(self.opacity_settled)
        self.range.changed.connect(self._range)
        self.range.settled.connect(self.range_settled)
        self.normalise.chosen.connect(self.normalise_requested)
        self.set_props(props)

    def _opacity(self, value: float) -> None:
        self._percent.set_text(f"{value * 100:.0f}\u00a0%")
        self.opacity_changed.emit(value)

    def _range(self, low: float, high: float) -> None:
        self._range_text.set_text(f"{number(low, 2)} to {number(high, 2)}")
        self.range_changed.emit(low, high)

    def set_props(self, props: AppearanceProps) -> None:
        """Show the colours of other panels."""
        self.target.set_text(props.target)
        self.cmap.set_options(
            [(name, colormaps.title_of(name)) for name in props.cmaps], props.scale.cmap
        )
        self.opacity.set_number(props.opacity)
        self._percent.set_text(f"{self.opacity.number * 100:.0f}\u00a0%")
        self.range.set_props(props)
        self.range.setEnabled(not props.fixed_range)
        low, high = self.range.range
        self._range_text.set_text(f"{number(low, 2)} to {number(high, 2)}")
        self.normalise.set_current(props.normalise)
        self.bar.setVisible(props.show_bar)
        self.bar.set_scale(props.scale)


class _MetricView(ThemedWidget):
    def __init__(self, theme: Theme, metric: MetricProps, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._metric = metric
        self.setFixedHeight(40)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.set_metric(metric)

    def set_metric(self, metric: MetricProps) -> None:
        self._metric = metric
        words = [metric.title]
        words.append("none" if metric.value is None else number(metric.value, metric.decimals))
        if metric.delta is not None:
            words.append(f"change {signed(metric.delta, metric.decimals)}")
        self.setAccessibleName(", ".join(words))
        better = "Higher is better" if metric.higher_is_better else "Lower is better"
        parts = [metric.title, metric.help, metric.formula, better if metric.help else ""]
        self.setToolTip("\n".join(part for part in parts if part))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t, metric = self.theme, self._metric
        box = QRectF(0, 0, self.width(), 16)
        draw_text(p, box, metric.title, text_font(11), t.color("text_3"), elide=True)
        large = text_font(17, SEMIBOLD)
        text = "\u2013" if metric.value is None else number(metric.value, metric.decimals)
        ink = "text_3" if metric.value is None else "text_1"
        width = text_width(text, large)
        draw_text(p, QRectF(0, 16, width + 2, 24), text, large, t.color(ink))
        if metric.value is not None and metric.delta is not None:
            change = signed(metric.delta, metric.decimals)
            good = metric.delta > 0 if metric.higher_is_better else metric.delta < 0
            flat = change[0] not in "+\u2212"
            token = "text_3" if flat else "valid_text" if good else "failed_text"
            box = QRectF(width + 7, 18, self.width() - width - 7, 22)
            draw_text(p, box, change, text_font(11, MEDIUM), t.color(token))
        p.end()


class MetricsSection(Section):
    """Measured values two by two, with their change from the raw map."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, "Metrics", parent=parent)
        self.region = Tag(theme, "", icon="region-outline")
        self.header.add_action(self.region)
        self._views: dict[str, _MetricView] = {}
        self._reason = Label(theme, "", pixels=11, token="text_3", elide=True)
        self.rows.addWidget(self._reason)
        self._pairs: list[QHBoxLayout] = []
        self._props = MetricsProps()
        self.set_props(self._props)

    @property
    def props(self) -> MetricsProps:
        """What is shown."""
        return self._props

    def set_props(self, props: MetricsProps) -> None:
        """Show other values; where there are none, the reason."""
        self._props = props
        self.header.set_title("Metrics", props.meta if props.metrics else "")
        self.region.set_text(props.region)
        reason = props.reason if props.reason or props.metrics else "Select a word with a region"
        self._reason.set_text(reason)
        self._reason.setVisible(bool(reason))
        keys = [metric.key for metric in props.metrics]
        if keys != list(self._views):
            self._rebuild(props.metrics)
        for metric in props.metrics:
            self._views[metric.key].set_metric(metric)

    def _rebuild(self, metrics: tuple[MetricProps, ...]) -> None:
        for view in self._views.values():
            view.setParent(None)
            view.deleteLater()
        for pair in self._pairs:
            self.rows.removeItem(pair)
            pair.deleteLater()
        self._views, self._pairs = {}, []
        for i, metric in enumerate(metrics):
            if i % 2 == 0:
                pair = QHBoxLayout()
                pair.setSpacing(12)
                self.rows.addLayout(pair)
                self._pairs.append(pair)
            view = _MetricView(self.theme, metric)
            self._pairs[-1].addWidget(view, 1)
            self._views[metric.key] = view
        if len(metrics) % 2:
            self._pairs[-1].addStretch(1)


class _Facts(ThemedWidget):
    """Key and value rows of 24 px; values are right-aligned."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._rows: tuple[tuple[str, str], ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_rows(self, rows: tuple[tuple[str, str], ...]) -> None:
        self._rows = rows
        self.setFixedHeight(max(1, 24 * len(rows)))
        self.setAccessibleName("; ".join(f"{key} {value}" for key, value in rows))
        self.setToolTip(tooltip("\n".join(f"{key}: {value}" for key, value in rows)))
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(200, 24 * len(self._rows))

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t = self.theme
        font = text_font(12)
        for i, (key, value) in enumerate(self._rows):
            y = 24.0 * i
            wide = min(text_width(key, font), self.width() * 0.5)
            draw_text(p, QRectF(0, y, wide + 2, 24), key, font, t.color("text_2"), elide=True)
            box = QRectF(wide + 12, y, self.width() - wide - 12, 24)
            draw_text(p, box, value, font, t.color("text_1"), RIGHT, elide=True)
        p.end()


class ProvenanceSection(Section):
    """Where the picture comes from, and the lines of Python that make it again."""

    copy_requested = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, "Provenance", open_=False, parent=parent)
        self.show_code = IconButton(theme, "code", "Show the code", checkable=True)
        self.copy = IconButton(theme, "copy", "Copy the code", "Ctrl+Alt+C")
        self.header.add_action(self.show_code, flush=False)
        self.header.add_action(self.copy, flush=False)
        self._facts = _Facts(theme)
        self._code = QPlainTextEdit()
        self._code.setReadOnly(True)
        self._code.setAccessibleName("Code of this view")
        self._code.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._code.setFont(code_font(11))
        self._code.setFixedHeight(96)
        self._code.hide()
        self.rows.addWidget(self._facts)
        self.rows.addWidget(self._code)
        self.show_code.clicked.connect(self._toggle_code)
        self.copy.clicked.connect(self._copy)
        self._props = ProvenanceProps()

    def _toggle_code(self, on: bool) -> None:
        self._code.setVisible(on)
        if on:
            self.set_open(True)

    def _copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        clipboard.setText(self._props.code)
        self.copy_requested.emit(self._props.code)

    def set_props(self, props: ProvenanceProps) -> None:
        """Show another origin."""
        self._props = props
        self._facts.set_rows(props.rows)
        if self._code.toPlainText() != props.code:
            self._code.setPlainText(props.code)
        self.copy.setEnabled(bool(props.code))
        self.show_code.setEnabled(bool(props.code))


class Inspector(QWidget):
    """All sections of the right dock under one scroll area."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setObjectName("DockBody")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.appearance = AppearanceSection(theme)
        self.ladder = RefinementLadder(theme)
        self.metrics = MetricsSection(theme)
        self.provenance = ProvenanceSection(theme)
        inner = QWidget()
        inner.setObjectName("DockBody")
        self._sections = QVBoxLayout(inner)
        self._sections.setContentsMargins(0, 0, 0, 0)
        self._sections.setSpacing(0)
        for section in (self.appearance, self.ladder, self.metrics, self.provenance):
            self._sections.addWidget(section)
        self._sections.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(DockScroll(inner))

    def set_props(
        self,
        appearance: AppearanceProps | None = None,
        ladder: LadderProps | None = None,
        metrics: MetricsProps | None = None,
        provenance: ProvenanceProps | None = None,
    ) -> None:
        """Hand on the props that changed."""
        if appearance is not None:
            self.appearance.set_props(appearance)
        if ladder is not None:
            self.ladder.set_props(ladder)
        if metrics is not None:
            self.metrics.set_props(metrics)
        if provenance is not None:
            self.provenance.set_props(provenance)

    def set_theme(self, theme: Theme) -> None:
        """Use other colours."""
        self.theme = theme
        spread_theme(self, theme)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        p.fillRect(self.rect(), self.theme.color("panel"))
        p.end()

    def sizeHint(self) -> QSize:
        return QSize(303, 612)


__all__ = [
    "AppearanceSection",
    "Inspector",
    "MetricsSection",
    "ProvenanceSection",
    "RangeEditor",
]
