"""Faithfulness of maps to a model: changed images at each map's own denoising step.

`diffcam_core.metrics.faithfulness` decides which images to make and what their scores mean; this
module has them scored by `StepScorer`, that is, at the SAME step with the SAME partly masked
answer as the map, so that nothing but the image differs.

What is shared: a change that several maps ask for is drawn, embedded and read by the model once,
for all their targets together; where they belong to different steps, the prompt is read once and
each step adds its own pass over the answer. All maps share the untouched and the fully changed
image. No step is run that no map of a change asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.metrics.faithfulness import MEASURES, Canvas, Change, Scorer
from diffcam_core.probing.scoring import StepScores
from diffcam_core.probing.targets import Target

FloatArray = npt.NDArray[np.float64]
Requests = Sequence[tuple[int, Sequence[Target]]]
Score = Literal["probability", "score"]

DEFAULT: Final = tuple(MEASURES)


class ScoresImages(Protocol):
    """What is needed of `StepScorer`."""

    def score(
        self, images: Iterable[npt.NDArray[np.uint8]], requests: Requests
    ) -> tuple[StepScores, ...]:
        """Score targets of some steps for every image."""
        ...


@dataclass(frozen=True, eq=False)
class ExplainedTarget:
    """A map and what it claims to explain.

    Parameters
    ----------
    step : int
        Denoising step that the map was read at.
    target : Target
    values : ndarray, shape (rows, cols)
        The map on the canvas's cells, in any scale; signed maps are taken as they are.
    """

    step: int
    target: Target
    values: npt.NDArray[np.floating]


def as_scorer(scorer: ScoresImages, requests: Requests, score: Score = "probability") -> Scorer:
    """Make a plain image scorer, whose columns are the targets of all requests in order."""

    def run(images: Iterable[npt.NDArray[np.uint8]]) -> FloatArray:
        found = scorer.score(images, requests)
        return np.concatenate([_read(part, score) for part in found], axis=1)

    return run


def measure_faithfulness(
    scorer: ScoresImages,
    canvas: Canvas,
    explained: Sequence[ExplainedTarget],
    measures: Sequence[str] = DEFAULT,
    *,
    score: Score = "probability",
) -> tuple[Mapping[str, float], ...]:
    """Measure maps of one image and trajectory.

    Parameters
    ----------
    scorer : StepScorer
        Of the trajectory that the maps belong to.
    canvas : Canvas
        The explained image and the cells of the maps' grid.
    explained : sequence of ExplainedTarget
        Maps of any targets, steps, layers and methods.
    measures : sequence of str
        Names in `metrics.faithfulness.MEASURES`.
    score : {"probability", "score"}
        What is read: the token's probability, for which the ranges of the measures hold, or the
        target's score (its logit, less its contrast).

    Returns
    -------
    tuple of mapping
        For each map, in the order given, measure -> value.

    Raises
    ------
    InputError
        If a measure does not exist or a map does not lie on the cells.
    TargetError, CancelledError
        From the scorer.
    """
    for name in measures:
        if name not in MEASURES:
            raise InputError(
                f"there is no faithfulness measure {name!r}", f"Choose from {', '.join(MEASURES)}."
            )
    rows = [
        {name: MEASURES[name].changes(item.values, canvas) for name in measures}
        for item in explained
    ]
    scores = _score(scorer, canvas, explained, rows, score)
    cells = len(canvas.cells.used)
    return tuple(
        {
            name: MEASURES[name].value(
                np.asarray([scores[item.step, item.target, change] for change in changes]), cells
            )
            for name, changes in row.items()
        }
        for item, row in zip(explained, rows, strict=True)
    )


def _score(
    scorer: ScoresImages,
    canvas: Canvas,
    explained: Sequence[ExplainedTarget],
    rows: Sequence[Mapping[str, Sequence[Change]]],
    score: Score,
) -> dict[tuple[int, Target, Change], float]:
    """Score every change at the steps at which some map asks for it."""
    steps_of: dict[Change, set[int]] = {}
    targets_of: dict[int, dict[Target, None]] = {}
    for item, row in zip(explained, rows, strict=True):
        targets_of.setdefault(item.step, {})[item.target] = None
        for changes in row.values():
            for change in changes:
                steps_of.setdefault(change, set()).add(item.step)
    groups: dict[tuple[int, ...], list[Change]] = {}
    for change, steps in steps_of.items():
        groups.setdefault(tuple(sorted(steps)), []).append(change)
    found: dict[tuple[int, Target, Change], float] = {}
    for group, changes in groups.items():
        requests = [(step, tuple(targets_of[step])) for step in group]
        parts = scorer.score((canvas.render(change) for change in changes), requests)
        for part in parts:
            for change, values in zip(changes, _read(part, score), strict=True):
                for target, value in zip(part.targets, values, strict=True):
                    found[part.step, target, change] = float(value)
    return found


def _read(part: StepScores, score: Score) -> FloatArray:
    return part.probabilities if score == "probability" else part.scores
