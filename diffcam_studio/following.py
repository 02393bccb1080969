"""A view that follows a job: the cursor goes where the job works."""

from __future__ import annotations

from dataclasses import replace

from diffcam_core.events import Answer, CanvasStep, Event, MapStep, Plan
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts, default_layer, default_position
from diffcam_studio.state.view_state import ViewState


def followed(state: ViewState, facts: RunFacts, event: Event, *, free: bool) -> ViewState:
    """Keep the cursor on what a job does, until someone takes it in hand.

    Parameters
    ----------
    state
        The present view.
    facts
        What is known of the job's run.
    event
        What the job did.
    free
        Whether the words are still those that following chose.
    """
    if isinstance(event, Plan) and facts.layers:
        state = replace(state, layer=default_layer(facts))
    if isinstance(event, (Answer, CanvasStep)) and (free or not state.tokens):
        best = default_position(facts) if isinstance(event, Answer) else _surest_noun(facts, event)
        state = replace(state, tokens=best or state.tokens)
    step = event.step if isinstance(event, (CanvasStep, MapStep)) else None
    if step is not None and state.playback.follow_job:
        state = vs.go_to_step(state, step, facts.n_steps)
    return state


def _surest_noun(facts: RunFacts, event: CanvasStep) -> tuple[int, ...]:
    """Something to look at before the answer is there: the surest noun written so far."""
    best, found = 0.0, ()
    for word in facts.words:
        written = all(event.texts[p].strip() for p in word.positions)
        sure = float(min(event.confidence[p] for p in word.positions))
        if word.is_noun and written and sure > best:
            best, found = sure, word.positions
    return found
