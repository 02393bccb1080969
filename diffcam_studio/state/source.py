"""What the Studio reads a run through, be it a file on disk or a job that still works."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from diffcam_core.events import GridSpec
from diffcam_core.words import Word

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class WordSpan:
    """A word of the answer and the positions that spell it."""

    text: str
    positions: tuple[int, ...]
    is_noun: bool = False


@dataclass(frozen=True, eq=False)
class RunFacts:
    """Everything about a run except its maps: small, immutable, safe on any thread.

    Attributes
    ----------
    key
        Path of the file, or ``live:<job>`` while the job works.
    texts
        Display text of every token id that occurs in the run.
    canvas, guesses, confidence
        (steps, positions) after each step; ids, ids, probabilities.
    commit_step
        (positions,), -1 where a token is not written yet.
    valid, computed
        (steps, layers) bool; columns follow ``layers``.
    target_probability
        (steps, positions), NaN where unknown.
    steps_known
        Steps whose canvas is known (grows during a job).
    """

    key: str
    title: str
    image: ByteArray | None
    prompt: str
    model: str
    methods: tuple[str, ...]
    answer: str
    token_ids: IntArray
    tokens: tuple[str, ...]
    texts: dict[int, str]
    mask_id: int
    end_ids: frozenset[int]
    n_steps: int
    layers: tuple[int, ...]
    targets: tuple[int, ...]
    grids: dict[str, GridSpec]
    canvas: IntArray
    guesses: IntArray
    confidence: FloatArray
    commit_step: IntArray
    valid: BoolArray
    computed: BoolArray
    target_probability: FloatArray
    words: tuple[WordSpan, ...]
    default_layer: int | None = None
    requested_steps: tuple[int, ...] | None = None
    steps_known: int = 0
    live: bool = False
    complete: bool = True
    failed_steps: dict[int, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    scene: str = ""

    @property
    def n_positions(self) -> int:
        """Length of the answer canvas."""
        return int(self.canvas.shape[1]) if self.canvas.ndim == 2 else 0

    @property
    def is_planned(self) -> bool:
        """Whether steps and layers are known; before that there is no map to ask for."""
        return self.n_steps > 0 and bool(self.layers)

    def word_at(self, position: int) -> WordSpan | None:
        """Word that a position belongs to."""
        return next((w for w in self.words if position in w.positions), None)

    def phrase(self, positions: tuple[int, ...]) -> str:
        """Text of several positions, as it reads in the answer."""
        known = [self.tokens[p] for p in positions if 0 <= p < len(self.tokens)]
        if any(text.startswith(" ") for text in known[1:]):
            return "".join(known).strip()
        spelled = [w for w in self.words if set(w.positions) <= set(positions)]
        covered = {p for w in spelled for p in w.positions}
        if spelled and covered == set(positions):
            return " ".join(w.text for w in spelled)
        return "".join(known).strip()

    def is_computed(self, step: int, layer: int) -> bool:
        """Whether maps of this step and layer exist."""
        if layer not in self.layers or not 0 <= step < self.computed.shape[0]:
            return False
        return bool(self.computed[step, self.layers.index(layer)])

    def is_valid(self, step: int, layer: int) -> bool:
        """Whether a gradient path from this step to the whole image span exists."""
        if layer not in self.layers or not 0 <= step < self.valid.shape[0]:
            return False
        return bool(self.valid[step, self.layers.index(layer)])


def spans_of(words: Iterable[Word]) -> tuple[WordSpan, ...]:
    """Words of :mod:`diffcam_core.words` without marks; content words count as nouns."""
    return tuple(
        WordSpan(word.text, tuple(word.positions), word.kind == "content")
        for word in words
        if word.kind not in ("special", "mark")
    )


class RunSource(Protocol):
    """A run that maps can be read from.

    Readers live on the I/O thread. Values are raw: native units, not
    normalised, NaN where nothing was computed.
    """

    def facts(self) -> RunFacts:
        """Everything but the maps, as it is now."""
        ...

    def maps(self, step: int, layer: int, grid: str, method: str) -> FloatArray | None:
        """Maps of all targets, (targets, rows, cols) float32, or None if not computed."""
        ...

    def trajectory(self, position: int, layer: int, grid: str, method: str) -> FloatArray:
        """Maps of one answer position at every step, (steps, rows, cols) float32."""
        ...

    def close(self) -> None:
        """Let go of the file, if there is one."""
        ...


def default_position(facts: RunFacts) -> tuple[int, ...]:
    """Words to select when a run is opened: the first noun that has maps, else the first target."""
    targets = set(facts.targets)
    for word in facts.words:
        if word.is_noun and set(word.positions) & targets:
            return word.positions
    return (min(facts.targets),) if facts.targets else ()


def default_layer(facts: RunFacts) -> int:
    """Layer to show first: the run's own, else two thirds of the way up."""
    if not facts.layers:
        return 0
    if facts.default_layer in facts.layers:
        return facts.default_layer
    return facts.layers[min(len(facts.layers) - 1, round(len(facts.layers) * 2 / 3))]


def default_step(facts: RunFacts, positions: tuple[int, ...]) -> int:
    """Step to show first: where the word was written, or the nearest step with a map."""
    known = np.flatnonzero(facts.computed.any(axis=1)) if facts.computed.size else np.zeros(0, int)
    steps = [int(facts.commit_step[p]) for p in positions if p < len(facts.commit_step)]
    written = max(steps, default=-1)
    if known.size == 0:
        return max(0, written)
    if written < 0:
        return int(known[-1])
    return int(known[np.argmin(np.abs(known - written))])
