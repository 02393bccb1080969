"""The names at the left of the lanes."""

from __future__ import annotations

from PySide6.QtCore import QRectF
from PySide6.QtGui import QPainter

from diffcam_studio.theme import Theme
from diffcam_studio.views.painting import MEDIUM, RIGHT, draw_text, number, text_font
from diffcam_studio.views.props import TimelineProps
from diffcam_studio.views.timeline.facts import value_at
from diffcam_studio.views.timeline.geometry import LABELS, Geometry, Lane

LANE_TITLES: dict[Lane, str] = {
    "valid": "Valid",
    "computed": "Computed layers",
    "maps": "Maps",
    "commits": "Commits",
    "curve": "Curve",
}


def paint_labels(p: QPainter, geometry: Geometry, props: TimelineProps, theme: Theme) -> None:
    """Paint the names of the lanes, and the curves' values at the present step."""
    t = theme
    p.fillRect(0, 0, LABELS - 2, geometry.height, t.color("panel"))
    font = text_font(11)
    titles = {**LANE_TITLES, "maps": props.maps_title}
    for lane in geometry.lanes:
        box = QRectF(geometry.lane_rect(lane))
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
            value = value_at(curve, props.step)
            if value is not None:
                text = number(value, curve.decimals)
                place = QRectF(LABELS - 66, y, 51, 16)
                draw_text(p, place, text, text_font(11, MEDIUM), t.color(token), RIGHT)
            y += 16
