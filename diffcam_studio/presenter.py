"""From state and data to props: pure functions that decide what each view says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from diffcam_studio.jobs import JobView
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import Panel, Refinement, Scope, ViewState, resolved
from diffcam_studio.views.props import (
    AppearanceProps,
    CanvasProps,
    CellState,
    Chip,
    ColourScale,
    Commit,
    Curve,
    LadderProps,
    LadderRow,
    LayerListProps,
    LayerRow,
    MetricProps,
    MetricsProps,
    PanelMessage,
    PanelProps,
    ParameterProps,
    PatchGrid,
    ProvenanceProps,
    SplitChoice,
    TimelineProps,
    TokenStripProps,
)
from diffcam_studio.worker.queries import (
    LadderFrame,
    LayersFrame,
    PanelFrame,
    Refused,
    TimelineFrame,
)

GUESS_SHOWN_FROM = 0.2
PRESET_TITLES = {"studio": "Studio", "paper": "Paper", "released": "Released code"}
SPLITS = (
    SplitChoice("stage", "Refinement stage"),
    SplitChoice("refinement", "Preset"),
    SplitChoice("layer", "Layer"),
    SplitChoice("step", "Step"),
    SplitChoice("token", "Word"),
)
METRIC_HELP = {
    "Obj-IoU": (
        "Overlap of the map, cut at Otsu's threshold, with the region.",
        "|M∩O| / |M∪O|",
        3,
    ),
    "Contrast": (
        "Mean of the map inside the region over its mean outside.",
        "mean(M·O) / mean(M·Ō)",
        2,
    ),
    "Concentration": ("Mass inside the region divided by all mass of the map.", "Σ M·O / Σ M", 3),
    "F3": (
        "Harmonic mean of Obj-IoU, contrast (20 counts as 1) and concentration.",
        "3 / (1/I + 1/C + 1/K)",
        3,
    ),
    "Mass": ("Mean of the map over the picture, in shares of the scope's maximum.", "Σ M / N", 3),
}  # fmt: skip


def scale_of(state: ViewState, facts: RunFacts | None) -> ColourScale:
    """Colour scale of the maps, with its scope in words."""
    look = state.appearance
    return ColourScale(look.colour_map, look.low, look.high, scope_words(look.scope, facts))


def scope_words(scope: Scope, facts: RunFacts | None) -> str:
    """Sentence beside the colour bar."""
    live = facts is not None and facts.live
    words = {
        "map": "this map",
        "trajectory": "trajectory so far" if live else "over trajectory",
        "run": "run so far" if live else "over the run",
    }
    return f"Share of maximum, {words[scope]}"


def preset_title(refinement: Refinement) -> str:
    """Name of a refinement in a tag."""
    if refinement.raw:
        return "Raw"
    title = PRESET_TITLES.get(refinement.preset, refinement.preset)
    return f"{title}, changed" if refinement.is_changed else title


# --- canvas ---------------------------------------------------------------------------------------


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
        for panel in state.panels
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
        pins.append(f"Layer {layer}")
    if panel.tokens is not None:
        pins.append(facts.phrase(tokens))
    look = state.appearance
    tag = preset_title(refinement)
    if panel.stage is not None and not refinement.raw:
        names = ("Raw", *stage_names)
        tag = names[min(panel.stage, len(names) - 1)]
    title = facts.phrase(tokens) or ("Answer" if facts.answer else facts.title)
    if state.split == "stage" and state.mode == "tile" and panel.stage is not None:
        title, tag = tag, ""
    base = PanelProps(
        key=panel.letter,
        badge=panel.letter,
        title=title,
        subtitle=f"Step {step}, layer {layer}",
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
    return _with_frame(base, facts, frame, fresh, step, job)


def _with_frame(
    base: PanelProps,
    facts: RunFacts,
    frame: PanelFrame | Refused | None,
    fresh: bool,
    step: int,
    job: JobView,
) -> PanelProps:
    if frame is None:
        return replace(base, state="loading" if not job.running else "ready", values=None)
    if isinstance(frame, Refused):
        message = PanelMessage(
            "error", f"Step {step} failed", frame.cause, "Try again", "retry", "retry"
        )
        return replace(base, state="error", message=message)
    if frame.state == "no_path":
        nearest = nearest_valid(facts, step)
        message = PanelMessage(
            "info",
            f"No map at step {step}",
            "No gradient path to the image.",
            "" if nearest is None else f"Go to step {nearest}",
            "step-back" if nearest is not None and nearest < step else "step-forward",
            f"step:{nearest}",
        )
        return replace(base, state="no_path", message=message)
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


def nearest_valid(facts: RunFacts, step: int) -> int | None:
    """Nearest step with a map or at least a gradient path."""
    good = np.flatnonzero(facts.valid.any(axis=1)) if facts.valid.size else np.zeros(0, int)
    if good.size == 0:
        return None
    return int(good[np.argmin(np.abs(good - step))])


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


# --- token strip ----------------------------------------------------------------------------------


def strip_props(state: ViewState, facts: RunFacts | None) -> TokenStripProps:
    """The answer at the cursor's step."""
    if facts is None or facts.n_positions == 0:
        return TokenStripProps()
    step = min(state.step, facts.n_steps - 1)
    row, guesses, confidence = facts.canvas[step], facts.guesses[step], facts.confidence[step]
    before = facts.canvas[step - 1] if step > 0 else None
    unknown = bool((row == -1).all()) and facts.mask_id != -1
    selected = set(state.tokens)
    chosen = {facts.tokens[p].strip().lower() for p in selected if p < len(facts.tokens)}
    chips: list[Chip] = []
    position = 0
    while position < facts.n_positions:
        token = int(row[position])
        if token in facts.end_ids and not unknown:
            count = 1
            while position + count < facts.n_positions and int(row[position + count]) in (
                facts.end_ids
            ):
                count += 1
            chips.append(Chip(position, "end", "end", count=count, selected=position in selected))
            position += count
            continue
        chips.append(
            _chip(facts, position, step, token, guesses, confidence, before, selected, chosen)
        )
        position += 1
    written = sum(int(t) not in (facts.mask_id, -1) for t in row)
    return TokenStripProps(tuple(chips), "Answer", written, facts.n_positions, state.step)


def _chip(
    facts: RunFacts,
    position: int,
    step: int,
    token: int,
    guesses: np.ndarray,
    confidence: np.ndarray,
    before: np.ndarray | None,
    selected: set[int],
    chosen: set[str],
) -> Chip:
    sure = float(np.nan_to_num(confidence[position]))
    is_selected = position in selected
    if token in (facts.mask_id, -1):
        old = int(before[position]) if before is not None else -1
        if old not in (facts.mask_id, -1) and old not in facts.end_ids:
            text = facts.texts.get(old, "").strip()
            return Chip(position, text, "masked_again", sure, selected=is_selected)
        guess = facts.texts.get(int(guesses[position]), "").strip()
        if int(guesses[position]) in facts.end_ids:
            guess = ""
        state = "guess" if guess and sure >= GUESS_SHOWN_FROM else "masked"
        return Chip(position, guess, state, sure, selected=is_selected)
    text = facts.texts.get(token, facts.tokens[position]).strip()
    commit = int(facts.commit_step[position])
    runner = facts.texts.get(int(guesses[position]), "").strip()
    return Chip(
        position,
        text,
        "written",
        sure,
        now=commit == step,
        selected=is_selected,
        same=not is_selected and text.lower() in chosen and len(text) > 1,
        commit_step=commit if commit >= 0 else None,
        runner_up=runner if runner != text else "",
    )


# --- timeline -------------------------------------------------------------------------------------


def timeline_props(
    state: ViewState, facts: RunFacts | None, frame: TimelineFrame | None, job: JobView
) -> TimelineProps:
    """Everything over steps."""
    if facts is None or facts.n_steps == 0:
        return TimelineProps()
    n = facts.n_steps
    valid = facts.valid.any(axis=1) if facts.valid.size else np.zeros(n, bool)
    # A layer without a gradient path has no map to wait for.
    possible = facts.valid.sum(axis=1) if facts.valid.size else np.zeros(n)
    done = facts.computed.sum(axis=1) if facts.computed.size else np.zeros(n)
    share = np.minimum(1.0, done / np.maximum(1, possible))
    cells = tuple(_cell(facts, s, bool(valid[s]), float(share[s]), job) for s in range(n))
    position = state.tokens[0] if state.tokens else None
    probability = None
    if position is not None and position < facts.n_positions:
        column = facts.target_probability[:, position]
        if np.isfinite(column).any():
            probability = Curve("Probability", column.astype(np.float32))
    step = min(state.step, n - 1)
    row = facts.canvas[step]
    masked = float(np.mean((row == facts.mask_id) | (row == -1))) if row.size else None
    play = state.playback
    loop = None
    if play.loop_in is not None or play.loop_out is not None:
        start = play.loop_in if play.loop_in is not None else 0
        end = play.loop_out if play.loop_out is not None else n - 1
        loop = (min(start, end), max(start, end))
    aspect = 4 / 3
    if facts.image is not None:
        aspect = facts.image.shape[1] / facts.image.shape[0]
    return TimelineProps(
        n_steps=n,
        step=step,
        valid=valid,
        cells=cells,
        shares=tuple(float(s) for s in share),
        cell_help=tuple(facts.failed_steps.get(s, "") for s in range(n)),
        maps=frame.maps if frame is not None else (None,) * n,
        maps_title=f"Maps, layer {state.layer}",
        map_aspect=aspect,
        scale=scale_of(state, facts),
        commits=_commits(state, facts),
        curve=Curve(frame.curve_name, frame.curve) if frame is not None else None,
        second_curve=probability,
        masked_share=masked,
        markers=state.markers,
        loop=loop,
        looping=play.loop,
        playing=play.playing,
        speed=play.speed,
        following=play.follow_job if job.running else None,
    )


def _cell(facts: RunFacts, step: int, valid: bool, share: float, job: JobView) -> CellState:
    if step in facts.failed_steps:
        return "failed"
    if share >= 1.0:
        return "computed"
    if job.running and job.computing == step:
        return "computing"
    if share > 0.0:
        return "partly"
    if not valid and facts.valid.size:
        return "invalid"
    wanted = facts.requested_steps
    if job.running and (wanted is None or step in wanted):
        return "queued" if job.phase == "explain" else "not_computed"
    return "not_computed"


def _commits(state: ViewState, facts: RunFacts) -> tuple[tuple[Commit, ...], ...]:
    steps: list[list[Commit]] = [[] for _ in range(facts.n_steps)]
    selected = set(state.tokens)
    for position, at in enumerate(facts.commit_step.tolist()):
        if not 0 <= at < facts.n_steps:
            continue
        token = int(facts.canvas[at, position])
        if token == -1:
            token = int(facts.token_ids[position])
        end = token in facts.end_ids
        text = facts.texts.get(token, facts.tokens[position]).strip()
        steps[at].append(Commit(position, "" if end else text, end, position in selected))
    return tuple(tuple(row) for row in steps)


# --- docks ----------------------------------------------------------------------------------------


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
    for layer, value, picture in zip(facts.layers, values, maps, strict=False):
        share = value / full if value is not None and full > 0 else 0.0
        rows.append(LayerRow(layer, f"Layer {layer}", picture, value, min(1.0, share)))
    aspect = 4 / 3
    if facts.image is not None:
        aspect = facts.image.shape[1] / facts.image.shape[0]
    return LayerListProps(
        tuple(rows),
        state.layer,
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
    if facts is None or frame is None:
        return LadderProps(preset=state.refinement.preset, presets=presets, target=panel)
    spec = next(iter(facts.grids.values()), None)
    rows = tuple(
        LadderRow(
            stage=s.stage,
            title=s.title,
            summary=s.summary,
            help=s.help,
            enabled=s.enabled and not state.refinement.raw,
            changed=s.changed,
            values=s.values,
            delta=s.delta,
            parameters=tuple(
                ParameterProps(
                    p.name,
                    p.title,
                    p.value,
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
        preset=state.refinement.preset,
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


def appearance_props(
    state: ViewState, facts: RunFacts | None, frame: PanelFrame | Refused | None
) -> AppearanceProps:
    """Colours of the panels."""
    letters = [panel.letter for panel in state.panels]
    several = state.mode == "tile" and len(letters) > 1
    target = f"Panels {letters[0]} to {letters[-1]}" if several else f"Panel {letters[0]}"
    histogram = frame.histogram if isinstance(frame, PanelFrame) else None
    cmaps = ("inferno", "viridis", "magma", "cividis", "batlow", "grey")
    if state.refinement.preset == "released":
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


def provenance_props(state: ViewState, facts: RunFacts | None) -> ProvenanceProps:
    """Where the picture comes from."""
    if facts is None:
        return ProvenanceProps()
    wanted = (
        ("Method", ", ".join(facts.methods)),
        ("Model", "Embedded model" if facts.model == "embedded" else facts.model),
        ("Prompt", facts.prompt),
        ("Answer", facts.answer.strip()),
        ("Steps", f"{facts.n_steps}"),
        ("Created", facts.metadata.get("created", "")[:16].replace("T", " ")),
        ("Seconds", facts.metadata.get("seconds", "")[:6]),
        ("File", "" if facts.key.startswith("live:") else facts.key),
    )
    return ProvenanceProps(
        tuple((name, value) for name, value in wanted if value), code_of(state, facts)
    )


def caption_of(state: ViewState, facts: RunFacts) -> str:
    """Sentence under an exported figure: everything that a reader must know."""
    refinement = preset_title(state.refinement).lower()
    words = facts.phrase(state.tokens)
    return (
        f"“{words}” in “{facts.answer.strip()}”, step {state.step} of 0–{facts.n_steps - 1}, "
        f"layer {state.layer}. {refinement.capitalize()} refinement. "
        f"{scope_words(state.appearance.scope, facts)}. "
        f"{'Embedded model' if facts.model == 'embedded' else facts.model}."
    )


def code_of(state: ViewState, facts: RunFacts) -> str:
    """Python that makes the shown map again."""
    path = facts.metadata.get("path", facts.key).removeprefix("live:")
    token = state.tokens[0] if state.tokens else 0
    lines = [
        "import diffcam_core as dc",
        "",
        f"run = dc.open_run({path!r})",
        f"heat = run.map(token={token}, step={state.step}, layer={state.layer})",
    ]
    refinement = state.refinement
    if not refinement.raw:
        if refinement.is_changed:
            lines.append("from diffcam_core.refinement import PRESETS")
            call = f"PRESETS[{refinement.preset!r}]"
            for stage, name, value in refinement.changes:
                call += f".with_parameters({stage!r}, {name}={value!r})"
            for stage in refinement.off:
                call += f".with_enabled({stage!r}, False)"
            lines.append(f"heat = heat.refine({call})")
        else:
            lines.append(f"heat = heat.refine({refinement.preset!r})")
    lines.append("values = heat.on_image()")
    return "\n".join(lines)
