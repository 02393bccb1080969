"""Wishes that move the cursor over steps and words: functions of the controller."""

from __future__ import annotations

import numpy as np

from diffcam_studio.controller import Controller
from diffcam_studio.jobs import Picture
from diffcam_studio.state import view_state as vs


def select_commit(c: Controller, step: int, position: int) -> None:
    """Go to where a token was written, and select its word."""
    facts = c.facts
    if facts is None:
        return
    word = facts.word_at(position)
    positions = word.positions if word is not None else (position,)
    state = vs.go_to_step(vs.select_tokens(c.state, positions), step, facts.n_steps)
    c.apply(vs.set_playback(state, follow_job=False))


def next_computed(c: Controller, way: int) -> None:
    """Go to the next step with maps (``way`` 1 or -1)."""
    if c.facts is not None:
        steps = np.flatnonzero(c.facts.computed.any(axis=1))
        _go_beyond(c, steps, way)


def next_commit(c: Controller, way: int) -> None:
    """Go to the next step at which a word was written."""
    facts = c.facts
    if facts is None:
        return
    steps = {
        int(s)
        for p, s in enumerate(facts.commit_step.tolist())
        if s >= 0 and int(facts.token_ids[p]) not in facts.end_ids
    }
    _go_beyond(c, np.array(sorted(steps), np.int64), way)


def end_step(c: Controller, index: int) -> None:
    """Go to the first (``index`` 0) or last (-1) step with a gradient path."""
    if c.facts is not None and c.facts.valid.size:
        good = np.flatnonzero(c.facts.valid.any(axis=1))
        if good.size:
            c.go_to(int(good[index]))


def word_step(c: Controller) -> None:
    """Go to the step that wrote the selected word."""
    if c.facts is not None and c.state.tokens:
        steps = [int(c.facts.commit_step[t]) for t in c.state.tokens]
        if max(steps) >= 0:
            c.go_to(max(steps))


def next_word(c: Controller, way: int, nouns: bool) -> None:
    """Select the next word or noun of the answer, around its ends."""
    facts = c.facts
    if facts is None:
        return
    words = [w for w in facts.words if w.is_noun or not nouns]
    if not words:
        return
    here = c.state.tokens[0] if c.state.tokens else -1
    after = [w for w in words if w.positions[0] > here]
    before = [w for w in words if w.positions[-1] < here]
    ahead = [*after, words[0]] if way > 0 else [*reversed(before), words[-1]]
    c.select_positions(ahead[0].positions)


def select_layer(c: Controller, layer: int) -> None:
    """Show another layer."""
    if c.facts is not None:
        c.apply(vs.select_layer(c.state, layer, c.facts.layers), "layer")


def move_layer(c: Controller, change: int) -> None:
    """Show the layer above or below."""
    if c.facts is not None:
        c.apply(vs.move_layer(c.state, change, c.facts.layers), "layer")


def compute_step(c: Controller, step: int) -> None:
    """Compute a step that the run lacks, as a run of its own."""
    facts = c.facts
    if facts is None or facts.image is None or facts.live:
        return
    if not facts.complete:
        c.resume_job(facts.key)
        return
    picture = Picture(facts.image, facts.title, scene=facts.scene)
    c.start_job(prompt=facts.prompt, picture=picture, layers=facts.layers, steps=(step,))


def _go_beyond(c: Controller, steps: np.ndarray, way: int) -> None:
    step = c.state.step
    found = steps[steps > step] if way > 0 else steps[steps < step]
    if found.size:
        c.go_to(int(found[0] if way > 0 else found[-1]))
