"""What the token strip says."""

from __future__ import annotations

import numpy as np

from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import ViewState
from diffcam_studio.views.props import Chip, TokenStripProps

GUESS_SHOWN_FROM = 0.2


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
