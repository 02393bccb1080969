"""What methods share that read forward passes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffcam_core.attribution.method import FloatArray, Requests, StepMaps, Stream
from diffcam_core.probing import Prober, Target
from diffcam_core.probing.forward import StepStates, TargetScores


@dataclass(frozen=True, eq=False)
class StepEvidence:
    """One step run forward, and what is asked of it.

    Attributes
    ----------
    step : int
    targets : tuple of Target
        K of them.
    states : StepStates
    scores : TargetScores
    """

    step: int
    targets: tuple[Target, ...]
    states: StepStates
    scores: TargetScores


Compute = Callable[[Prober, StepEvidence], Mapping[int, dict[str, FloatArray]]]
"""(prober, one step) -> layer -> {grid name: (K, rows, cols)}."""


def from_states(compute: Compute) -> Stream:
    """Make a method out of what it does with one step's states."""

    def stream(prober: Prober, requests: Requests) -> Iterator[StepMaps]:
        for step, wanted in requests:
            evidence = look(prober, step, wanted)
            probabilities = np.asarray(evidence.scores.probabilities.cpu().numpy(), np.float64)
            yield StepMaps(step, evidence.targets, compute(prober, evidence), probabilities)

    return stream


def look(prober: Prober, step: int, wanted: Sequence[Target]) -> StepEvidence:
    """Run one step forward and score its targets; TargetError, CancelledError."""
    targets = tuple(wanted)
    prober.check(step, targets)
    prober.check_cancel()
    states = prober.forward.states(step)
    return StepEvidence(step, targets, states, prober.forward.score(states, step, targets))
