"""Where the view lands when a run is shown: at its default word, or where it was left."""

from __future__ import annotations

from dataclasses import replace

from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts, default_layer, default_position, default_step
from diffcam_studio.state.view_state import ViewState


def first_view(state: ViewState, key: str, facts: RunFacts) -> ViewState:
    """Return the view of a run that is shown for the first time, or anew."""
    tokens = default_position(facts)
    layer = state.layer
    if layer not in facts.layers or state.run != key:
        layer = default_layer(facts)
    return vs.show_run(
        state,
        key,
        n_steps=facts.n_steps,
        layer=layer,
        step=default_step(facts, tokens),
        tokens=tokens,
    )


def kept_view(view: ViewState, key: str, facts: RunFacts) -> ViewState:
    """Return a view that was left before, kept inside the run that it is shown on."""
    tokens = tuple(t for t in view.tokens if t < facts.n_positions)
    if not set(tokens) & set(facts.targets):
        tokens = default_position(facts)
    layer = view.layer if view.layer in facts.layers else default_layer(facts)
    step = min(view.step, max(0, facts.n_steps - 1))
    return replace(view, run=key, page="workspace", hold="", tokens=tokens, layer=layer, step=step)
