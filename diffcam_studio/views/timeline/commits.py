"""The lane of the tokens written at each step: their dots, one word, and what lies at a point."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPen

from diffcam_studio.theme import Theme
from diffcam_studio.views.painting import (
    CENTRE,
    MEDIUM,
    REGULAR,
    draw_text,
    text_font,
    text_width,
    with_alpha,
)
from diffcam_studio.views.props import Commit, TimelineProps
from diffcam_studio.views.timeline.geometry import Geometry


def dots(
    geometry: Geometry, props: TimelineProps, step: int
) -> list[tuple[Commit, QPointF, float]]:
    """Return the commit dots of a step: token, centre, radius."""
    lane = geometry.lane_rect("commits")
    commits = props.commits[step] if step < len(props.commits) else ()
    if lane.isEmpty() or not commits:
        return []
    ordered = sorted(commits, key=lambda commit: (commit.end, commit.position))
    radius = 3.0 if len(ordered) < 5 else 2.0
    gap = 2 * radius + 2
    room = geometry.step_width - 4
    fit = max(1, int((room + 2) // gap))
    ordered = ordered[:fit]
    x = geometry.scale.centre(step) - (len(ordered) - 1) * gap / 2
    y = lane.y() + 9.0
    return [(commit, QPointF(x + i * gap, y), radius) for i, commit in enumerate(ordered)]


def paint_commits(
    p: QPainter, geometry: Geometry, steps: Sequence[int], props: TimelineProps, theme: Theme
) -> None:
    """Paint a dot for each token written at a step, and one word below them."""
    scale = geometry.scale
    lane = geometry.lane_rect("commits")
    if lane.isEmpty():
        return
    t = theme
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    for step in steps:
        # Selected last: its ring lies over the next dot, not under it.
        for commit, at, radius in sorted(
            dots(geometry, props, step), key=lambda dot: dot[0].selected
        ):
            p.setPen(Qt.PenStyle.NoPen)
            p.setBrush(t.color("invalid" if commit.end else "commit"))
            p.drawEllipse(at, radius, radius)
            if commit.selected:
                p.setBrush(Qt.BrushStyle.NoBrush)
                p.setPen(QPen(t.color("accent_line"), 2))
                p.drawEllipse(at, radius + 2, radius + 2)
        if scale.width < 24:
            continue
        word = _word(props, step)
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


def commit_at(geometry: Geometry, props: TimelineProps, at: QPointF) -> Commit | None:
    """Return the token whose dot or word lies under a point."""
    lane = geometry.lane_rect("commits")
    if lane.isEmpty() or not lane.contains(at.toPoint()):
        return None
    step = geometry.step_at(at.x())
    near = [
        (abs(dot.x() - at.x()), commit)
        for commit, dot, radius in dots(geometry, props, step)
        if abs(dot.x() - at.x()) <= radius + 3 and abs(dot.y() - at.y()) <= radius + 4
    ]
    if near:
        return min(near, key=lambda pair: pair[0])[1]
    below = at.y() > lane.y() + 14 and geometry.step_width >= 24
    return _word(props, step) if below else None


def _word(props: TimelineProps, step: int) -> Commit | None:
    """Return the word below the dots: the selected one, else the longest new one."""
    commits = props.commits[step] if step < len(props.commits) else ()
    words = [commit for commit in commits if not commit.end and commit.text.strip()]
    if not words:
        return None
    for commit in words:
        if commit.selected:
            return commit
    return max(words, key=lambda commit: len(commit.text.strip()))
