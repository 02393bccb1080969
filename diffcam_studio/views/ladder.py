# ruff: noqa: ARG002, D102 - Qt overrides keep the names and signatures of Qt
"""The refinement ladder: the raw map and each stage above it, as live switches with parameters."""

from __future__ import annotations

import math

from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, QSize, QSizeF, Qt, Signal
from PySide6.QtGui import QImage, QMouseEvent, QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from diffcam_studio.theme import Theme
from diffcam_studio.views import colormaps
from diffcam_studio.views.controls import (
    Choice,
    IconButton,
    Label,
    NumberField,
    Section,
    Slider,
    Switch,
    ThemedWidget,
)
from diffcam_studio.views.painting import (
    LEFT,
    MEDIUM,
    RIGHT,
    draw_icon,
    draw_text,
    fitted,
    number,
    rounded,
    signed,
    text_font,
    text_width,
)
from diffcam_studio.views.props import (
    ByteArray,
    ColourScale,
    FloatArray,
    LadderProps,
    LadderRow,
    ParameterProps,
)

ROW = 40
DOT = 14  # room of the dot of a changed stage
THUMB = QSize(40, 30)
THUMB_X = 48
TEXT_X = 97
VALUE_RIGHT = 32  # px from the dock's edge to the end of the values
LABELS = (84, 132)  # least and most room for the titles of parameters
SLIDER_VALUES = 1000  # more of them than a slider has pixels cannot be told apart: they are typed


class _Thumb:
    """A small overlay picture, drawn again only when its parts change."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._image: QImage | None = None

    def image(
        self,
        values: FloatArray,
        scale: ColourScale,
        image: ByteArray | None,
        opacity: float,
        size: QSizeF,
    ) -> QImage:
        width, height = round(size.width()), round(size.height())
        key = (id(values), id(image), scale, opacity, width, height)
        if self._image is None or key != self._key:
            self._image = colormaps.thumbnail(
                values, scale, width, height, image=image, opacity=opacity
            )
            self._key = key
            self._keep = (values, image)  # an id is only unique while its object lives
        return self._image


def parameter_text(parameter: ParameterProps, value: float) -> str:
    """Write a parameter's value with its decimals and unit."""
    for choice, title in parameter.choices:
        if choice == value:
            return title
    text = number(value, parameter.decimals)
    return f"{text}\u00a0{parameter.unit}" if parameter.unit else text


class ParameterRow(QWidget):
    """Label and control of one parameter: slider with value, field to type in, or choice."""

    changed = Signal(str, float)
    settled = Signal(str, float)

    def __init__(self, theme: Theme, parameter: ParameterProps, label_width: int) -> None:
        super().__init__()
        self._parameter = parameter
        self.setFixedHeight(28)
        row = QHBoxLayout(self)
        row.setContentsMargins(THUMB_X, 0, 12, 0)
        row.setSpacing(0)
        label = Label(theme, parameter.title)
        label.setFixedWidth(label_width)
        row.addWidget(label)
        self.slider: Slider | None = None
        self.field: NumberField | None = None
        self.choice: Choice | None = None
        self._value: Label | None = None
        if parameter.choices:
            options = [(repr(float(value)), title) for value, title in parameter.choices]
            self.choice = Choice(
                theme,
                parameter.title,
                options,
                repr(float(parameter.value)),
                height=24,
                expand=True,
            )
            self.choice.chosen.connect(self._chosen)
            row.addWidget(self.choice, 1)
        elif parameter.maximum - parameter.minimum > SLIDER_VALUES * parameter.step:
            self.field = NumberField(
                parameter.title,
                parameter.minimum,
                parameter.maximum,
                parameter.step,
                parameter.value,
                parameter.decimals,
            )
            self.field.changed.connect(lambda v: self.changed.emit(self._parameter.name, v))
            self.field.settled.connect(lambda v: self.settled.emit(self._parameter.name, v))
            row.addWidget(self.field, 1)
        else:
            self.slider = Slider(
                theme,
                parameter.title,
                parameter.minimum,
                parameter.maximum,
                parameter.step,
                parameter.value,
                default=parameter.default,
            )
            self.slider.changed.connect(self._slid)
            self.slider.settled.connect(lambda v: self.settled.emit(self._parameter.name, v))
            row.addWidget(self.slider, 1)
            self._value = Label(
                theme, parameter_text(parameter, parameter.value), token="text_1", align=RIGHT
            )
            self._value.setFixedWidth(36 + (12 if parameter.unit else 0))
            row.addWidget(self._value)
        low, high = (parameter_text(parameter, v) for v in (parameter.minimum, parameter.maximum))
        words = [parameter.help] if parameter.help else []
        if not parameter.choices:
            default = parameter_text(parameter, parameter.default)
            words.append(f"{low} to {high}, default {default}")
        self.setToolTip("\n".join(words))

    @property
    def parameter(self) -> ParameterProps:
        """What is shown."""
        return self._parameter

    def set_parameter(self, parameter: ParameterProps) -> None:
        """Show another value of the same parameter."""
        self._parameter = parameter
        if self.slider is not None:
            self.slider.set_number(parameter.value)
            if not self.slider.isSliderDown() and self._value is not None:
                self._value.set_text(parameter_text(parameter, parameter.value))
        if self.field is not None:
            self.field.set_number(parameter.value)
        if self.choice is not None:
            options = [(repr(float(value)), title) for value, title in parameter.choices]
            self.choice.set_options(options, repr(float(parameter.value)))

    def _slid(self, value: float) -> None:
        if self._value is not None:
            self._value.set_text(parameter_text(self._parameter, value))
        self.changed.emit(self._parameter.name, value)

    def _chosen(self, key: str) -> None:
        self.changed.emit(self._parameter.name, float(key))
        self.settled.emit(self._parameter.name, float(key))


class LadderRowView(ThemedWidget):
    """One stage: 40 px row, and its parameters below when it is open."""

    toggled = Signal(str, bool)
    parameter_changed = Signal(str, str, float)
    parameter_settled = Signal(str, str, float)
    opened = Signal(str, bool)

    def __init__(self, theme: Theme, row: LadderRow, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._row = row
        self._ladder = LadderProps()
        self._thumb = _Thumb()
        self._hover = False
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.switch = Switch(theme, row.title, on=row.enabled, parent=self)
        self.switch.clicked.connect(lambda on: self.toggled.emit(self._row.stage, on))
        self.chevron = IconButton(
            theme, "chevron-right", f"Parameters of {row.title}", glyph=12, parent=self
        )
        self.chevron.setCheckable(False)
        self.chevron.clicked.connect(lambda: self.set_open(not self.is_open))
        self._body = QWidget(self)
        self._column = QVBoxLayout(self._body)
        self._column.setContentsMargins(0, 0, 0, 8)
        self._column.setSpacing(0)
        self._body.hide()
        self._parameters: dict[str, ParameterRow] = {}
        self._open = False
        self._place()

    @property
    def row(self) -> LadderRow:
        """What is shown."""
        return self._row

    @property
    def is_open(self) -> bool:
        """Whether the parameters are shown."""
        return self._open

    @property
    def parameters(self) -> dict[str, ParameterRow]:
        """Rows of the parameters by name (empty until opened once)."""
        return self._parameters

    def set_row(self, row: LadderRow, ladder: LadderProps) -> None:
        """Show other facts of the same stage."""
        self._row, self._ladder = row, ladder
        self.switch.set_on(row.enabled)
        self.switch.setAccessibleName(
            f"{row.title}, {row.summary or 'on' if row.enabled else 'off'}"
        )
        self.setToolTip(row.help)
        self.chevron.setVisible(bool(row.parameters))
        if self._open or self._parameters:
            self._fill()
        self.update()

    def set_open(self, open_: bool) -> None:
        """Show or hide the parameters."""
        open_ = open_ and bool(self._row.parameters)
        if open_ == self._open:
            return
        self._open = open_
        if open_:
            self._fill()
        self._body.setVisible(open_)
        self.chevron.set_icon(
            "chevron-down" if open_ else "chevron-right", f"Parameters of {self._row.title}"
        )
        self._place()
        self.opened.emit(self._row.stage, open_)

    def _fill(self) -> None:
        names = [parameter.name for parameter in self._row.parameters]
        if names != list(self._parameters):
            for old in self._parameters.values():
                self._column.removeWidget(old)
                old.deleteLater()
            self._parameters = {}
            # Titles of one stage differ at their ends: all of them get the room of the longest.
            widest = max(
                (text_width(p.title, text_font(12)) for p in self._row.parameters), default=0
            )
            label_width = min(LABELS[1], max(LABELS[0], math.ceil(widest) + 8))
            for parameter in self._row.parameters:
                view = ParameterRow(self.theme, parameter, label_width)
                view.changed.connect(
                    lambda name, value: self.parameter_changed.emit(self._row.stage, name, value)
                )
                view.settled.connect(
                    lambda name, value: self.parameter_settled.emit(self._row.stage, name, value)
                )
                self._column.addWidget(view)
                self._parameters[parameter.name] = view
            self._place()
            return
        for parameter in self._row.parameters:
            self._parameters[parameter.name].set_parameter(parameter)
        for view in self._parameters.values():
            view.setEnabled(self._row.enabled)

    def _place(self) -> None:
        body = 28 * len(self._parameters) + 8 if self._open else 0
        self.setFixedHeight(ROW + body)
        self.switch.move(12, 12)
        self.chevron.move(self.width() - 32, 8)
        self._body.setGeometry(0, ROW, self.width(), body)

    def resizeEvent(self, event: QEvent) -> None:
        self._place()

    def enterEvent(self, event: QEvent) -> None:
        self._hover = True
        self.update()

    def leaveEvent(self, event: QEvent) -> None:
        self._hover = False
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and event.position().y() < ROW:
            self.set_open(not self._open)
        else:
            event.ignore()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t, row = self.theme, self._row
        if self._hover:
            p.fillRect(QRect(0, 0, self.width(), ROW), t.color("hover"))
        paint_thumb(p, t, self._thumb, row.values, self._ladder, faint=not row.enabled)
        right = self.width() - VALUE_RIGHT
        value = ""
        if row.delta is not None:
            value = signed(row.delta if row.enabled else 0.0, self._ladder.decimals)
        width = text_width(value, text_font(12))
        if value:
            change = float(value.replace("\u2212", "-"))
            token = "valid_text" if change > 0 else "failed_text" if change < 0 else "text_3"
            box = QRectF(right - width - 1, 0, width + 1, ROW)
            draw_text(p, box, value, text_font(12), t.color(token), RIGHT)
        room = right - width - 8 - TEXT_X
        name = text_font(12, MEDIUM)
        ink = "text_1" if row.enabled else "text_2"
        space = room - DOT if row.changed else room
        title = QRectF(TEXT_X, 4, space, 16)
        draw_text(p, title, row.title, name, t.color(ink), elide=True)
        if row.changed:
            p.setPen(Qt.PenStyle.NoPen)
            p.setBrush(t.color("accent_line"))
            p.drawEllipse(QPointF(TEXT_X + min(space, text_width(row.title, name)) + 11, 12), 3, 3)
        summary = row.summary if row.enabled else "Off"
        box = QRectF(TEXT_X, 20, room, 16)
        draw_text(p, box, summary, text_font(11), t.color("text_3"), LEFT, elide=True)
        p.end()


def paint_thumb(
    p: QPainter,
    theme: Theme,
    thumb: _Thumb,
    values: FloatArray | None,
    ladder: LadderProps,
    *,
    faint: bool = False,
) -> None:
    """Paint the 40 x 30 picture of a ladder row; ``faint`` for a stage that is off."""
    box = QRectF(THUMB_X, (ROW - THUMB.height()) / 2, THUMB.width(), THUMB.height())
    picture = ladder.image if ladder.image is not None else values
    if picture is not None:
        box = fitted(box, picture.shape[1] / picture.shape[0])
    if values is None:
        rounded(p, box, 3, None, theme.color("border"))
        return
    device = p.device()
    ratio = device.devicePixelRatioF() if device is not None else 1.0
    image = thumb.image(values, ladder.scale, ladder.image, ladder.opacity, box.size() * ratio)
    p.save()
    clip = QPainterPath()
    clip.addRoundedRect(box, 3, 3)
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    p.setClipPath(clip)
    p.setOpacity(0.4 if faint else 1.0)
    p.drawImage(box, image)
    p.restore()


class _RawRow(ThemedWidget):
    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._props = LadderProps()
        self._thumb = _Thumb()
        self.setFixedHeight(ROW)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_props(self, props: LadderProps) -> None:
        self._props = props
        value = "" if props.raw_value is None else number(props.raw_value, props.decimals)
        self.setAccessibleName(f"Raw map, {props.raw_summary}, {props.metric} {value}".strip(", "))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        p = QPainter(self)
        t, props = self.theme, self._props
        draw_icon(p, t, "open-image", "text_2", 18, 12)
        paint_thumb(p, t, self._thumb, props.raw_values, props)
        right = self.width() - VALUE_RIGHT
        room = right - 48 - TEXT_X
        box = QRectF(TEXT_X, 4, room, 16)
        draw_text(p, box, "Raw map", text_font(12, MEDIUM), t.color("text_1"))
        box = QRectF(TEXT_X, 20, room, 16)
        draw_text(p, box, props.raw_summary, text_font(11), t.color("text_3"), elide=True)
        if props.raw_value is not None:
            text = number(props.raw_value, props.decimals)
            box = QRectF(right - 60, 0, 60, ROW)
            draw_text(p, box, text, text_font(12), t.color("text_2"), RIGHT)
        p.end()


class RefinementLadder(Section):
    """The Refinement section of the right dock."""

    stage_toggled = Signal(str, bool)
    parameter_changed = Signal(str, str, float)
    parameter_settled = Signal(str, str, float)
    preset_requested = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, "Refinement", margins=(0, 0, 0, 8), spacing=0, parent=parent)
        self.preset = Choice(theme, "Refinement preset", height=24)
        self.preset.chosen.connect(self.preset_requested)
        self.header.add_action(self.preset)
        self.raw = _RawRow(theme)
        self.rows.addWidget(self.raw)
        self._views: dict[str, LadderRowView] = {}
        self._props = LadderProps()
        self.set_props(self._props)

    @property
    def props(self) -> LadderProps:
        """What is shown."""
        return self._props

    @property
    def stages(self) -> dict[str, LadderRowView]:
        """Row of each stage."""
        return self._views

    def set_props(self, props: LadderProps) -> None:
        """Show other stages, maps or values; open rows stay open."""
        self._props = props
        meta = f"change in {props.metric}" if props.metric else ""
        self.header.set_title("Refinement", meta)
        self.preset.setVisible(bool(props.presets))
        self.preset.set_options(props.presets, props.preset)
        self.raw.set_props(props)
        names = [row.stage for row in props.rows]
        if names != list(self._views):
            for name in [name for name in self._views if name not in names]:
                view = self._views.pop(name)
                self.rows.removeWidget(view)
                view.deleteLater()
            ordered: dict[str, LadderRowView] = {}
            for i, row in enumerate(props.rows):
                view = self._views.get(row.stage) or self._new_row(row)
                self.rows.removeWidget(view)
                self.rows.insertWidget(1 + i, view)
                ordered[row.stage] = view
            self._views = ordered
        for row in props.rows:
            self._views[row.stage].set_row(row, props)

    def _new_row(self, row: LadderRow) -> LadderRowView:
        view = LadderRowView(self.theme, row)
        view.toggled.connect(self.stage_toggled)
        view.parameter_changed.connect(self.parameter_changed)
        view.parameter_settled.connect(self.parameter_settled)
        return view


__all__ = ["LadderRowView", "ParameterRow", "RefinementLadder"]
