"""What the docks say: layers, appearance, refinement, measures, provenance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diffcam_core.layers import layer_title
from diffcam_studio.presenter.citing import code_of
from diffcam_studio.presenter.measures import METRIC_HELP
from diffcam_studio.presenter.naming import PRESET_TITLES, model_title, scale_of
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import Refinement, ViewState
from diffcam_studio.views.canvas.arrangement import difference_scale
from diffcam_studio.views.painting import MINUS
from diffcam_studio.views.props import (
    AppearanceProps,
    FloatArray,
    LadderProps,
    LadderRow,
    LayerListProps,
    LayerRow,
    MetricProps,
    MetricsProps,
    ParameterProps,
    ProvenanceProps,
)
from diffcam_studio.worker.queries import (
    LadderFrame,
    LayersFrame,
    PanelFrame,
    Refused,
    StageParameter,
)


def layer_props(
    state: ViewState, facts: RunFacts | None, frame: LayersFrame | None
) -> LayerListProps:
    """The list of layers."""
    if facts is None:
        return LayerListProps()
    rows = []
    values = frame.values if frame is not None else (None,) * len(facts.layers)
    maps = frame.maps if frame is not None else (None,) * len(facts.layers)
    top = max((v for v in values if v is not None), default=0.0)
    bounded = frame is not None and frame.metric != "Contrast" and frame.metric != "Mass"
    full = 1.0 if bounded and top > 0.5 else top
    step, layer_shown, _, _ = vs.resolved(state, vs.active_panel(state))
    for layer, value, picture in zip(facts.layers, values, maps, strict=False):
        share = value / full if value is not None and full > 0 else 0.0
        impossible = picture is None and facts.valid.size and not facts.is_valid(step, layer)
        reason = "No gradient path" if impossible else ""
        rows.append(LayerRow(layer, layer_title(layer), picture, value, min(1.0, share), reason))
    aspect = 4 / 3
    if facts.image is not None:
        aspect = facts.image.shape[1] / facts.image.shape[0]
    return LayerListProps(
        tuple(rows),
        layer_shown,
        scale_of(state, facts),
        frame.metric if frame is not None else "",
        frame.metrics if frame is not None else (),
        aspect,
    )


def ladder_props(
    state: ViewState, facts: RunFacts | None, frame: LadderFrame | None, panel: str
) -> LadderProps:
    """The refinement ladder."""
    presets = tuple(PRESET_TITLES.items())
    refinement = vs.active_refinement(state)
    if facts is None or frame is None:
        return LadderProps(preset=refinement.preset, presets=presets, target=panel)
    spec = next(iter(facts.grids.values()), None)
    rows = tuple(
        LadderRow(
            stage=s.stage,
            title=s.title,
            summary=s.summary,
            help=s.help,
            enabled=vs.is_stage_on(state, s.stage),
            changed=s.changed,
            values=s.values,
            delta=s.delta,
            parameters=tuple(
                ParameterProps(
                    p.name,
                    p.title,
                    _wanted(refinement, s.stage, p),
                    p.minimum,
                    p.maximum,
                    p.step,
                    p.default,
                    p.help,
                    p.decimals,
                    choices=p.choices,
                )
                for p in s.parameters
            ),
        )
        for s in frame.stages
    )
    return LadderProps(
        rows=rows,
        preset=refinement.preset,
        presets=presets,
        metric=frame.metric,
        raw_values=frame.raw,
        raw_summary=f"Native grid {spec.rows} × {spec.cols}" if spec is not None else "",
        raw_value=frame.raw_value,
        image=facts.image,
        scale=scale_of(state, facts),
        opacity=state.appearance.opacity,
        target=panel,
    )


def _wanted(refinement: Refinement, stage: str, parameter: StageParameter) -> float:
    """Value that the view asks for.

    A control must never jump back to the value in the last answer: the next key would start there.
    """
    value = {c[:2]: c[2] for c in refinement.changes}.get((stage, parameter.name))
    if value is None:
        return parameter.value
    if isinstance(value, str):
        return next((v for v, name in parameter.choices if name == value), parameter.value)
    return float(value)


def appearance_props(
    state: ViewState, facts: RunFacts | None, frames: Mapping[str, PanelFrame | Refused]
) -> AppearanceProps:
    """Colours of the panels that are in sight."""
    if state.mode == "difference":
        return _difference_appearance(state, frames)
    letters = [panel.letter for panel in state.panels]
    several = state.mode == "tile" and len(letters) > 1
    active = vs.active_panel(state).letter
    target = f"Panels {letters[0]} to {letters[-1]}" if several else f"Panel {active}"
    frame = frames.get(active)
    histogram = frame.histogram if isinstance(frame, PanelFrame) else None
    cmaps = ("inferno", "viridis", "magma", "cividis", "batlow", "grey")
    if vs.active_refinement(state).preset == "released":
        cmaps = (*cmaps, "jet")
    return AppearanceProps(
        target=target,
        scale=scale_of(state, facts),
        cmaps=cmaps,
        opacity=state.appearance.opacity,
        histogram=histogram,
        normalise=state.appearance.scope,
        show_bar=several,
    )


def _difference_appearance(
    state: ViewState, frames: Mapping[str, PanelFrame | Refused]
) -> AppearanceProps:
    first, second = (state.panels[i].letter for i in vs.compared(state))
    title = f"{second} {MINUS} {first}"
    a, b = _values_of(frames.get(first)), _values_of(frames.get(second))
    known = a is not None and b is not None and a.shape == b.shape
    values = np.subtract(b, a) if known else np.zeros((1, 1), np.float32)
    scale = difference_scale(values, title, state.appearance.difference_map)
    return AppearanceProps(
        target=f"Panels {title}",
        scale=scale,
        cmaps=vs.DIFFERENCE_MAPS,
        opacity=state.appearance.opacity,
        domain=(scale.low, scale.high),
        normalise=state.appearance.scope,
        fixed_range=True,
    )


def _values_of(frame: PanelFrame | Refused | None) -> FloatArray | None:
    return frame.values if isinstance(frame, PanelFrame) else None


def metrics_props(frame: LadderFrame | None) -> MetricsProps:
    """Measures of the active panel."""
    if frame is None:
        return MetricsProps(reason="No map is shown")
    if frame.reason:
        return MetricsProps(reason=frame.reason)
    metrics = []
    for name, value, delta in frame.metrics:
        text, formula, decimals = METRIC_HELP[name]
        metrics.append(
            MetricProps(name, name, value, delta, decimals, text, formula, name != "Mass")
        )
    region = f"{frame.region_word} region" if frame.region_word else ""
    return MetricsProps(tuple(metrics), region)


def provenance_props(
    state: ViewState, facts: RunFacts | None, stages: tuple[str, ...]
) -> ProvenanceProps:
    """Where the picture comes from."""
    if facts is None:
        return ProvenanceProps()
    wanted = (
        ("Method", ", ".join(facts.methods)),
        ("Model", model_title(facts.model)),
        ("Prompt", facts.prompt),
        ("Answer", facts.answer.strip()),
        ("Steps", f"{facts.n_steps}"),
        ("Created", facts.metadata.get("created", "")[:16].replace("T", " ")),
        ("Seconds", facts.metadata.get("seconds", "")[:6]),
        ("File", "" if facts.key.startswith("live:") else facts.key),
    )
    return ProvenanceProps(
        tuple((name, value) for name, value in wanted if value), code_of(state, facts, stages)
    )
