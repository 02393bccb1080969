"""From what the sampler writes to events: the canvas of a step, the answer and its targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import TargetError
from diffcam_core.events import Answer, CanvasStep
from diffcam_core.request import Request
from diffcam_core.words import find_word, group_words

if TYPE_CHECKING:
    from diffcam_core.models.base import DiffusionVLM


IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


class Texts:
    """Display texts of a model's tokens, each looked up once."""

    def __init__(self, model: DiffusionVLM) -> None:
        self._model = model
        self._known: dict[int, str] = {}
        self.mask_id = model.mask_id

    def __call__(self, token_id: int) -> str:
        """Return the text of one token."""
        found = self._known.get(token_id)
        if found is None:
            found = self._known[token_id] = self._model.token_text(token_id)
        return found


def canvas_event(
    step: int,
    canvas: IntArray,
    guesses: IntArray,
    confidence: FloatArray,
    committed: npt.NDArray[np.bool_],
    text: Texts,
) -> CanvasStep:
    """Return the event of one step of writing, with the words that it shows."""
    return CanvasStep(
        step=step,
        token_ids=canvas,
        guesses=guesses,
        confidence=confidence,
        committed=committed,
        texts=tuple("" if i == text.mask_id else text(i) for i in canvas.tolist()),
        guess_texts=tuple(text(i) for i in guesses.tolist()),
    )


def answer_of(
    model: DiffusionVLM,
    request: Request,
    canvas: IntArray,
    commit_step: IntArray,
    distractor: str | int,
    text: Texts,
) -> tuple[Answer, bool]:
    """Return the finished answer with its targets, and whether some were left out.

    Those are tokens that are the distractor itself: there is nothing to differentiate.

    Raises
    ------
    TargetError
        If the answer lacks a word that was asked for, or nothing is left to explain.
    """
    texts = tuple(text(token_id) for token_id in canvas.tolist())
    end = _end_of(canvas, model.eos_ids)
    targets = _find_targets(request.tokens, texts, end)
    telling = tuple(p for p in targets if canvas[p] != distractor)
    if not telling:
        raise TargetError(
            "every token that was asked for is the distractor itself", "Choose another word."
        )
    if request.steps == "commit":
        asked = tuple(sorted({int(commit_step[position]) for position in telling}))
    else:
        asked = request.asked_steps
    answer = Answer(
        token_ids=canvas,
        texts=texts,
        text=model.decode(canvas[:end].tolist()).strip(),
        commit_step=commit_step,
        targets=telling,
        requested_steps=asked,
    )
    return answer, len(telling) < len(targets)


def _find_targets(
    tokens: tuple[int | str, ...] | None, texts: tuple[str, ...], end: int
) -> tuple[int, ...]:
    if tokens is None:
        return tuple(range(min(end + 1, len(texts))))
    words = group_words(texts[:end])
    chosen: set[int] = set()
    for token in tokens:
        places = (token,) if isinstance(token, int) else find_word(words, token)
        if not places:
            known = ", ".join(dict.fromkeys(word.text for word in words if word.kind != "special"))
            raise TargetError(
                f"the answer does not hold {token!r}", f"Its words are: {known[:300] or 'none'}."
            )
        chosen.update(places)
    return tuple(sorted(chosen))


def _end_of(canvas: IntArray, eos_ids: Sequence[int]) -> int:
    """Position of the first end token, or the length if there is none."""
    ends = np.flatnonzero(np.isin(canvas, np.asarray(eos_ids, np.int64)))
    return int(ends[0]) if ends.size else int(canvas.size)
