"""Steps between a raw map and what a view shows of it: plain functions of arrays."""

from __future__ import annotations

import numpy as np

from diffcam_core.events import GridSpec
from diffcam_studio.state.source import FloatArray, RunFacts
from diffcam_studio.worker.queries import MapAddress, PanelFrame

LONGEST_MAP = 512
"""Longest side in pixels of a map that is handed to the canvas, which enlarges it further."""


def grid_of(facts: RunFacts, name: str) -> GridSpec | None:
    """Grid of a name, or the run's first one."""
    if name:
        return facts.grids.get(name)
    return next(iter(facts.grids.values()), None)


def unit(values: FloatArray) -> FloatArray:
    """Scale a map to [0, 1] by its own range; a constant map becomes zero."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)


def share_of(raw: FloatArray, top: float) -> FloatArray:
    """Write raw values as shares of the scope's maximum."""
    if top <= 0:
        return np.zeros_like(raw)
    return np.clip(raw / top, 0.0, 1.0).astype(np.float32)


def rescaled(refined: FloatArray, raw: FloatArray, top: float) -> FloatArray:
    """Give a refined map, in [0, 1] by itself, its absolute height back."""
    peak = float(raw.max())
    if top <= 0 or peak <= 0:
        return np.zeros_like(refined)
    return (refined * np.float32(min(1.0, peak / top))).astype(np.float32)


def mean_known(parts: list[FloatArray]) -> FloatArray:
    """Return the mean over those stacks that are known at a step, NaN where none is."""
    stack = np.stack(parts)
    known = np.isfinite(stack).all(axis=(2, 3), keepdims=True)
    count = known.sum(axis=0)
    total = np.where(known, stack, 0.0).sum(axis=0)
    mean = total / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan).astype(np.float32)


def on_picture(
    native: FloatArray, spec: GridSpec, facts: RunFacts, longest: int = LONGEST_MAP
) -> FloatArray:
    """Interpolate to the picture, at most ``longest`` pixels on its longer side."""
    from diffcam_core.heatmap import axis_weights, lattice_edges

    height, width = facts.image.shape[:2] if facts.image is not None else (LONGEST_MAP,) * 2
    scale = min(1.0, longest / max(height, width))
    columns, rows = lattice_edges(spec.rectangles)
    across = axis_weights(columns * scale, max(1, round(width * scale)))
    down = axis_weights(rows * scale, max(1, round(height * scale)))
    return np.ascontiguousarray(down @ native @ across.T, np.float32)


def reason_without_map(facts: RunFacts, step: int, address: MapAddress) -> PanelFrame | None:
    """Return the answer that says why there is no map; None where there should be one."""
    if not address.positions:
        return PanelFrame("not_computed", "Choose a word of the answer")
    if step in facts.failed_steps:
        return PanelFrame("error", facts.failed_steps[step])
    if not facts.is_computed(step, address.layer):
        if facts.valid.size and step < facts.n_steps and not facts.is_valid(step, address.layer):
            return PanelFrame("no_path", "No gradient path to the image")
        return PanelFrame("not_computed", "This step is not computed")
    if not set(address.positions) & set(facts.targets):
        return PanelFrame("not_computed", "This word was not explained")
    return None
