"""Wishes about playing, looping, marking and following: functions of the controller."""

from __future__ import annotations

import numpy as np

from diffcam_studio.controller import Controller
from diffcam_studio.state import view_state as vs


def play(c: Controller, on: bool) -> None:
    """Play or stop; at the last step playing begins anew."""
    state = c.state
    facts = c.facts
    if on and facts is not None and state.step >= facts.n_steps - 1:
        state = vs.go_to_step(state, 0, facts.n_steps)
    c.apply(vs.set_playback(state, playing=on, direction=1))


def shuttle(c: Controller, direction: int) -> None:
    """Play in a direction (1 or -1); once more in the same one is faster."""
    play = c.state.playback
    speed = play.speed
    if play.playing and play.direction == direction:
        faster = [s for s in vs.SPEEDS if s > speed]
        speed = faster[0] if faster else speed
    c.apply(vs.set_playback(c.state, playing=True, direction=direction, speed=speed))


def set_loop(c: Controller, start: int, end: int) -> None:
    """Loop over some steps."""
    c.apply(vs.set_playback(c.state, loop_in=start, loop_out=end, loop=True))


def loop_end(c: Controller, name: str) -> None:
    """Let the loop begin (``loop_in``) or end (``loop_out``) at the cursor."""
    c.apply(vs.set_playback(c.state, loop=True, **{name: c.state.step}))


def toggle_marker(c: Controller, step: int) -> None:
    """Set or take away the marker of a step."""
    c.apply(vs.toggle_marker(c.state, step))


def follow(c: Controller, on: bool) -> None:
    """Let the cursor follow the job, or hold it."""
    c.apply(vs.set_playback(c.state, follow_job=on))
    facts = c.facts
    if on and facts is not None and facts.live:
        known = np.flatnonzero(facts.computed.any(axis=1))
        c.go_to(int(known[-1]) if known.size else facts.steps_known - 1, follow=True)
