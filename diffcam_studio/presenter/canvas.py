"""What the panels of the canvas say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from diffcam_core.layers import layer_title
from diffcam_studio.jobs import JobView
from diffcam_studio.presenter.measures import METRIC_HELP
from diffcam_studio.presenter.naming import preset_title, scale_of
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import Panel, ViewState, resolved
from diffcam_studio.views.props import CanvasProps, PanelMessage, PanelProps, PatchGrid, SplitChoice
from diffcam_studio.worker.queries import PanelFrame, Refused

SPLITS = (
    SplitChoice("stage", "Refinement stage"),
    SplitChoice("refinement", "Preset"),
    SplitChoice("layer", "Layer"),
    SplitChoice("step", "Step"),
    SplitChoice("token", "Word"),
)


def canvas_props(
    state: ViewState,
    facts: RunFacts | None,
    frames: Mapping[str, PanelFrame | Refused],
    fresh: frozenset[str],
    job: JobView,
    stage_names: tuple[str, ...] = (),
    links: Mapping[str, bool] | None = None,
    columns: int | None = None,
) -> CanvasProps:
    """All panels. ``fresh`` names those whose frame belongs to the present state."""
    if facts is None:
        return CanvasProps(panels=(_no_run_panel(),))
    panels = tuple(
        _panel(state, facts, panel, frames.get(panel.letter), panel.letter in fresh, job,
               stage_names)
        for panel in vs.shown_panels(state)
    )  # fmt: skip
    links = links or {}
    return CanvasProps(
        panels=panels,
        mode=state.mode,
        active=state.active_panel,
        pair=vs.compared(state),
        columns=columns,
        show_colour_bar=state.appearance.colour_bar,
        link_zoom=links.get("zoom", True),
        link_cursor=links.get("cursor", True),
        link_colour=links.get("colour", True),
        splits=SPLITS,
        split=state.split,
        grids=_grids(len(panels)),
        difference_map=state.appearance.difference_map,
    )


def _no_run_panel() -> PanelProps:
    return PanelProps(
        "A",
        state="empty",
        message=PanelMessage(
            "open-image", "No image yet", "Drop one here or open it.", "Open image", "open-image",
            "open",
        ),
    )  # fmt: skip


def _panel(
    state: ViewState,
    facts: RunFacts,
    panel: Panel,
    frame: PanelFrame | Refused | None,
    fresh: bool,
    job: JobView,
    stage_names: tuple[str, ...],
) -> PanelProps:
    step, layer, tokens, refinement = resolved(state, panel)
    pins = []
    if panel.step is not None:
        pins.append(f"Step {step}")
    if panel.layer is not None:
        pins.append(layer_title(layer))
    if panel.tokens is not None:
        pins.append(facts.phrase(tokens))
    look = state.appearance
    tag = preset_title(refinement)
    if panel.stage is not None and not refinement.raw:
        names = ("Raw", *stage_names)
        tag = names[min(panel.stage, len(names) - 1)]
    title = facts.phrase(tokens) or ("Answer" if facts.answer else facts.title)
    subtitle = f"Step {step}, {layer_title(layer).lower()}"
    if state.split == "stage" and state.mode == "tile" and panel.stage is not None:
        # Tiles of one step and layer are told apart by their stage alone.
        title, tag, subtitle = tag, "", ""
    base = PanelProps(
        key=panel.letter,
        badge=panel.letter,
        title=title,
        subtitle=subtitle,
        tag=tag,
        pins=tuple(pins),
        image=facts.image,
        scale=scale_of(state, facts),
        opacity=look.opacity,
        grey_image=look.grey_image,
        patches=_patches(state, facts),
        show_regions=look.region,
        show_contour=look.contour,
        live=job.running,
        pinned=panel.is_pinned,
        linked=panel.linked,
        progress=job.share if job.running else None,
    )
    return _with_frame(base, facts, frame, fresh, step, layer, panel, job)


def _with_frame(
    base: PanelProps,
    facts: RunFacts,
    frame: PanelFrame | Refused | None,
    fresh: bool,
    step: int,
    layer: int,
    panel: Panel,
    job: JobView,
) -> PanelProps:
    if frame is None:
        # A run that waits or failed before its plan was there has no map to wait for.
        waiting = facts.is_planned and not job.running
        return replace(base, state="loading" if waiting else "ready", values=None)
    if isinstance(frame, Refused):
        message = PanelMessage(
            "error", f"Step {step} failed", frame.cause, "Try again", "retry", "retry"
        )
        return replace(base, state="error", message=message)
    if frame.state == "no_path":
        return replace(base, state="no_path", message=_without_path(facts, panel, step, layer))
    if frame.state == "error":
        message = PanelMessage(
            "error", f"Step {step} failed", frame.reason, "Compute again", "retry", "retry"
        )
        return replace(base, state="error", message=message)
    if frame.state == "not_computed":
        # The picture stays; a step without a map is plain image, with the reason in the header.
        return replace(base, values=None, tag=_reason_tag(frame.reason, job))
    first = dict(frame.metrics)
    name = "F3" if "F3" in first else "Mass"
    decimals = METRIC_HELP[name][2]
    return replace(
        base,
        state="ready" if fresh else "loading",
        values=frame.values,
        regions=frame.regions,
        contour=frame.contour,
        metric=f"{name} {first[name]:.{decimals}f}" if name in first else "",
    )


def _reason_tag(reason: str, job: JobView) -> str:
    if job.running:
        return "Map follows" if job.phase == "explain" else "No map yet"
    return reason


def _without_path(facts: RunFacts, panel: Panel, step: int, layer: int) -> PanelMessage:
    """Why there is no map, and the way to the nearest one: over the layers, else over the steps.

    A way that a pin of the panel bars is not offered.
    """
    to_layer, to_step = nearest_layer(facts, step, layer), nearest_step(facts, step, layer)
    reason = "No gradient path to the image."
    if to_layer is not None:
        message = PanelMessage(
            "info", f"No map in {layer_title(layer).lower()} at step {step}", reason
        )
        if panel.layer is None:
            way = "chevron-up" if to_layer < layer else "chevron-down"
            go = f"Go to {layer_title(to_layer).lower()}"
            message = replace(message, action=go, action_icon=way, action_key=f"layer:{to_layer}")
        return message
    message = PanelMessage("info", f"No map at step {step}", reason)
    if to_step is not None and panel.step is None:
        way = "step-back" if to_step < step else "step-forward"
        go = f"Go to step {to_step}"
        message = replace(message, action=go, action_icon=way, action_key=f"step:{to_step}")
    return message


def nearest_layer(facts: RunFacts, step: int, layer: int) -> int | None:
    """Nearest layer with a gradient path at a step; None if the step has none at all."""
    if not facts.valid.size:
        return None
    good = np.array(facts.layers)[facts.valid[step]]
    return int(good[np.argmin(np.abs(good - layer))]) if good.size else None


def nearest_step(facts: RunFacts, step: int, layer: int) -> int | None:
    """Nearest step with a gradient path in a layer, or in any where this layer has none."""
    if not facts.valid.size:
        return None
    here = facts.valid[:, facts.layers.index(layer)] if layer in facts.layers else facts.valid[:, 0]
    good = np.flatnonzero(here if here.any() else facts.valid.any(axis=1))
    return int(good[np.argmin(np.abs(good - step))]) if good.size else None


def _patches(state: ViewState, facts: RunFacts) -> PatchGrid | None:
    spec = facts.grids.get(state.grid) or next(iter(facts.grids.values()), None)
    return None if spec is None else PatchGrid(spec.rows, spec.cols, spec.rectangles)


def _grids(count: int) -> tuple[tuple[int, int], ...]:
    found = []
    for rows in (1, 2, 3):
        columns = -(-count // rows)
        if 1 <= columns <= 6 and (rows, columns) not in found and rows <= count:
            found.append((rows, columns))
    return tuple(found)
