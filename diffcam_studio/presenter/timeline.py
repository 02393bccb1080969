"""What the timeline says."""

from __future__ import annotations

import numpy as np

from diffcam_core.layers import layer_title
from diffcam_studio.jobs import JobView
from diffcam_studio.presenter.naming import scale_of
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import ViewState
from diffcam_studio.views.props import CellState, Commit, Curve, TimelineProps
from diffcam_studio.worker.queries import TimelineFrame


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
    _, layer, tokens, _ = vs.resolved(state, vs.active_panel(state))
    position = tokens[0] if tokens else None
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
        maps_title=f"Maps, {layer_title(layer).lower()}",
        map_aspect=aspect,
        scale=scale_of(state, facts),
        commits=_commits(tokens, facts),
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


def _commits(tokens: tuple[int, ...], facts: RunFacts) -> tuple[tuple[Commit, ...], ...]:
    steps: list[list[Commit]] = [[] for _ in range(facts.n_steps)]
    selected = set(tokens)
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
