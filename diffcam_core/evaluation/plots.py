"""Plots of an evaluation: distributions over items, F3 by layer, sweeps. Matplotlib, no display."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from diffcam_core.evaluation.outcome import Row
from diffcam_core.evaluation.sensitivity import Sweep, SweepPoint
from diffcam_core.evaluation.summary import F3, Summary
from diffcam_core.evaluation.tables import metric_title
from diffcam_core.figures.styles import CURVES

_WIDTH: Final = 7.0  # inches
_ROW: Final = 0.24
_WIDE: Final = 20.0  # beyond it a linear axis shows nothing of the rest (Contrast)


def distribution_plot(
    summary: Summary, rows: Sequence[Row], metric: str, presets: Sequence[str]
) -> bytes | None:
    """Draw the items' means of a measure, one box a method and refinement, the best on top.

    Parameters
    ----------
    summary : Summary
    rows : sequence of dict
        Of all items.
    metric : str
        A column of the rows.
    presets : sequence of str
        Which refinements.

    Returns
    -------
    bytes or None
        A PNG; None if there is no value.
    """
    judged = {(r.method, r.preset, r.layer) for r in summary.table() if r.preset in presets}
    values: dict[tuple[str, str, int], dict[str, list[float]]] = {}
    for row in rows:
        key = (row["method"], row["preset"], row["layer"])
        if key in judged and metric in row:
            values.setdefault(key, {}).setdefault(row["item"], []).append(row[metric])
    boxes = {
        f"{method} / {preset}": [float(np.mean(found)) for found in items.values()]
        for (method, preset, _), items in values.items()
    }
    if not boxes:
        return None
    order = sorted(boxes, key=lambda name: float(np.mean(boxes[name])))
    figure, axes = _figure(1.1 + _ROW * len(order))
    axes.boxplot(
        [boxes[name] for name in order],
        orientation="horizontal",
        tick_labels=order,
        widths=0.6,
        showmeans=True,
        flierprops={"marker": ".", "markersize": 2},
        meanprops={"marker": "D", "markersize": 3, "markerfacecolor": CURVES[1]},
        medianprops={"color": CURVES[0]},
    )
    axes.set_xlabel(f"{metric_title(metric)} (mean of each item; diamond: mean of items)")
    if max(max(found) for found in boxes.values()) > _WIDE:
        axes.set_xscale("symlog", linthresh=1)
    axes.grid(axis="x", alpha=0.3)
    return _png(figure)


def layers_plot(summary: Summary, preset: str, titles: Mapping[str, str] | None) -> bytes | None:
    """Draw F3 by layer with its interval, a line for each method; None without two layers."""
    lines: dict[str, list[Any]] = {}
    for row in summary.rows:
        if row.preset == preset and F3 in row.estimates:
            lines.setdefault(row.method, []).append((row.layer, row.estimates[F3]))
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    figure, axes = _figure(3.4)
    styles = itertools.cycle([(c, d) for d in ("-", "--", ":") for c in CURVES])
    for name, points in list(lines.items()):
        colour, dash = next(styles)
        layers = [layer for layer, _ in points]
        axes.plot(
            layers,
            [e.value for _, e in points],
            dash,
            color=colour,
            label=(titles or {}).get(name, name),
        )
        axes.fill_between(
            layers,
            [e.low for _, e in points],
            [e.high for _, e in points],
            color=colour,
            alpha=0.1,
            linewidth=0,
        )
    axes.set_xlabel("Layer (-1: input)")
    axes.set_ylabel(f"F3, {preset}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=6, ncols=2, frameon=False)
    return _png(figure)


def sweep_plot(sweep: Sweep, stage: str) -> bytes | None:
    """Draw F3 over the values of each parameter of a stage; a ring marks the pipeline's own."""
    parameters: dict[str, list[SweepPoint]] = {}
    for point in sweep.points:
        if point.stage == stage and F3 in point.estimates:
            parameters.setdefault(point.parameter, []).append(point)
    parameters = {name: points for name, points in parameters.items() if len(points) > 1}
    if not parameters:
        return None
    from matplotlib.figure import Figure

    columns = min(4, len(parameters))
    lines = -(-len(parameters) // columns)
    figure = Figure(figsize=(_WIDTH, 1.9 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for axes, (name, points) in zip(grid.flat, parameters.items(), strict=False):
        places = [float(n if isinstance(p.value, str) else p.value) for n, p in enumerate(points)]
        found = [p.estimates[F3] for p in points]
        axes.plot(places, [e.value for e in found], "-", color=CURVES[0], marker=".")
        axes.fill_between(
            places,
            [e.low for e in found],
            [e.high for e in found],
            color=CURVES[0],
            alpha=0.15,
            linewidth=0,
        )
        for place, point in zip(places, points, strict=True):
            if point.is_own:
                axes.plot(place, point.estimates[F3].value, "o", mfc="none", color=CURVES[1], ms=9)
        if isinstance(points[0].value, str):
            axes.set_xticks(places, [str(p.value) for p in points])
        axes.set_title(name, fontsize=8)
        axes.tick_params(labelsize=6)
        axes.grid(alpha=0.3)
    for axes in grid.flat[len(parameters) :]:
        axes.set_visible(False)
    figure.supylabel("F3", fontsize=8)
    figure.suptitle(f"{sweep.method}, layer {sweep.layer}, {sweep.preset}: {stage}", fontsize=9)
    return _png(figure)


def _figure(height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(labelsize=7)
    return figure, axes


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=160, metadata={"Software": None})
    return stream.getvalue()
