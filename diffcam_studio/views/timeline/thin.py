"""The thinned timeline: one bar instead of ruler and lanes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QPainter, QPen

from diffcam_studio.theme import Theme
from diffcam_studio.views.painting import draw_hatch
from diffcam_studio.views.props import TimelineProps
from diffcam_studio.views.timeline.facts import validity_runs
from diffcam_studio.views.timeline.ruler import paint_flag

THIN = 44


@dataclass(frozen=True)
class ThinBar:
    """Where steps lie on the one bar of a timeline of 44 px."""

    width: int
    height: int
    n_steps: int

    @property
    def bar(self) -> QRectF:
        """The bar that all steps share."""
        return QRectF(8, self.height / 2 - 2, max(1, self.width - 24), 4)

    def x(self, step: int) -> float:
        """Return the middle of a step."""
        bar = self.bar
        return bar.left() + (step + 0.5) * bar.width() / max(1, self.n_steps)

    def step_at(self, x: float) -> int:
        """Return the step that holds x, clipped to the steps there are."""
        bar, count = self.bar, max(1, self.n_steps)
        step = math.floor((x - bar.left()) / bar.width() * count)
        return min(count - 1, max(0, step))


def paint_thin(p: QPainter, thin: ThinBar, props: TimelineProps, theme: Theme) -> None:
    """Paint validity, written words and the playhead in one row."""
    t = theme
    bar = thin.bar
    share = bar.width() / max(1, props.n_steps)
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    for first, last, valid in validity_runs(props):
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
            p.drawEllipse(QPointF(thin.x(step), bar.bottom() + 9), 2, 2)
    x = thin.x(props.step)
    p.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    p.setPen(QPen(t.color("accent_line"), 1))
    p.drawLine(QPointF(x, 6), QPointF(x, thin.height - 6))
    paint_flag(p, x, thin.height / 2 - 9, props.step, t)
