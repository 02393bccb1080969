"""Where steps and lanes lie on the timeline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QRect

Lane = Literal["valid", "computed", "maps", "commits", "curve"]
LANES: tuple[Lane, ...] = ("valid", "computed", "maps", "commits", "curve")
_LANE_HEIGHT: dict[Lane, int] = {
    "valid": 16,
    "computed": 20,
    "maps": 33,
    "commits": 34,
    "curve": 41,
}
RULER = 25  # 24 and the hairline above the transport
FOOT = 7
LABELS = 144  # px left of step 0's cell
TAIL = 16
MIN_STEP = 12


@dataclass(frozen=True)
class Scale:
    """Where steps lie: ``width`` px each, the first starting at ``left`` (may be off screen)."""

    left: float
    width: int

    def cell(self, step: int) -> QRect:
        """Return a step's column without its gaps; it has no height."""
        return QRect(round(self.left) + step * self.width + 2, 0, self.width - 4, 0)

    def centre(self, step: int) -> float:
        """Return the middle of a step's column."""
        return round(self.left) + (step + 0.5) * self.width

    def step_at(self, x: float) -> int:
        """Return the step whose column holds x; it need not be one there is."""
        return math.floor((x - round(self.left)) / self.width)


@dataclass(frozen=True)
class Geometry:
    """Where steps and lanes lie in a widget of one size.

    Parameters
    ----------
    width, height
        Size of the widget in px.
    n_steps
        How many steps there are.
    lanes
        The lanes in sight, from top to bottom.
    zoom
        1 shows all steps.
    first
        Step at the left edge while zoomed in; may be a part of one.
    """

    width: int
    height: int
    n_steps: int
    lanes: tuple[Lane, ...] = LANES
    zoom: float = 1.0
    first: float = 0.0

    @property
    def room(self) -> int:
        """Width of all that holds steps."""
        return max(1, self.width - LABELS - TAIL)

    @property
    def step_width(self) -> int:
        """Width of a step in px."""
        count = max(1, self.n_steps)
        fitted = max(MIN_STEP, self.room // count)
        return max(fitted, round(fitted * self.zoom))

    @property
    def scale(self) -> Scale:
        """Where each step lies."""
        width = self.step_width
        return Scale(LABELS - self.first * width, width)

    def clipped(self, first: float) -> float:
        """Return the nearest first step that leaves no empty room at either end."""
        seen = self.room / self.step_width
        return min(max(0.0, self.n_steps - seen), max(0.0, first))

    def revealing(self, step: int) -> float:
        """Return the first step that keeps a step in sight, the present one if it may stay."""
        seen = self.room / self.step_width
        first = self.first
        if seen >= self.n_steps:
            first = 0.0
        elif step < first:
            first = float(step)
        elif step + 1 > first + seen:
            first = step + 1 - seen
        return self.clipped(first)

    def lane_rect(self, lane: Lane) -> QRect:
        """Return where a lane lies (full width); empty if it is not shown."""
        y = RULER
        for shown in self.lanes:
            if shown == lane:
                return QRect(0, y, self.width, _LANE_HEIGHT[lane])
            y += _LANE_HEIGHT[shown]
        return QRect()

    def cell_rect(self, step: int) -> QRect:
        """Return the cell of the lane of computed layers."""
        lane = self.lane_rect("computed")
        cell = self.scale.cell(step)
        return QRect(cell.x(), lane.y() + 3, cell.width(), 14)

    def step_at(self, x: float) -> int:
        """Return the step whose column holds x, clipped to the steps there are."""
        return min(max(1, self.n_steps) - 1, max(0, self.scale.step_at(x)))

    def visible(self) -> range:
        """Return the steps whose columns are in sight."""
        scale = self.scale
        first = max(0, scale.step_at(LABELS))
        last = min(self.n_steps, scale.step_at(self.width) + 1)
        return range(first, max(first, last))


def lanes_height(lanes: tuple[Lane, ...]) -> int:
    """Return the height of the ruler and some lanes."""
    return RULER + sum(_LANE_HEIGHT[lane] for lane in lanes) + FOOT
