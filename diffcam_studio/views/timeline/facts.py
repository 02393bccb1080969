"""What the timeline's props say about a step, in words and in numbers."""

from __future__ import annotations

import math

import numpy as np

from diffcam_studio.views.painting import number
from diffcam_studio.views.props import Curve, TimelineProps


def describe(props: TimelineProps, step: int) -> str:
    """Return what is known about a step, for tooltips and screen readers."""
    if not 0 <= step < props.n_steps:
        return ""
    parts = [f"Step {step}"]
    if not is_valid(props, step):
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
        value = value_at(curve, step)
        if curve is not None and value is not None:
            parts.append(f"{curve.name} {number(value, curve.decimals)}")
    return ", ".join(parts)


def is_valid(props: TimelineProps, step: int) -> bool:
    """Whether a gradient path to the image exists at a step."""
    valid = props.valid
    return step >= len(valid) or bool(valid[step])


def validity_runs(props: TimelineProps) -> list[tuple[int, int, bool]]:
    """Return (first, last, valid) of each stretch of steps of one validity."""
    runs: list[tuple[int, int, bool]] = []
    for step in range(props.n_steps):
        valid = is_valid(props, step)
        if runs and runs[-1][2] == valid:
            runs[-1] = (runs[-1][0], step, valid)
        else:
            runs.append((step, step, valid))
    return runs


def next_commit(props: TimelineProps, step: int, way: int) -> int | None:
    """Return the next step (``way`` 1 or -1) at which a word is written, or None."""
    at = step + way
    while 0 <= at < len(props.commits):
        if any(not commit.end for commit in props.commits[at]):
            return at
        at += way
    return None


def next_computed(props: TimelineProps, step: int, way: int) -> int | None:
    """Return the next step with computed layers, or None."""
    at = step + way
    while 0 <= at < len(props.cells):
        if props.cells[at] in ("computed", "partly"):
            return at
        at += way
    return None


def value_at(curve: Curve | None, step: int) -> float | None:
    """Return a curve's value at a step; None without one."""
    if curve is None or not 0 <= step < len(curve.values):
        return None
    value = float(curve.values[step])
    return value if math.isfinite(value) else None


def same_facts(old: TimelineProps, new: TimelineProps) -> bool:
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
        and same_curve(old.curve, new.curve)
        and same_curve(old.second_curve, new.second_curve)
    )


def same_curve(old: Curve | None, new: Curve | None) -> bool:
    """Whether two curves say the same."""
    if old is new:
        return True
    if old is None or new is None or old.name != new.name:
        return False
    return np.array_equal(old.values, new.values, equal_nan=True)
