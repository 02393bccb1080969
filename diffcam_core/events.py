"""What the engine says while it works: immutable messages, the only output of a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

Phase = Literal["load", "prepare", "generate", "explain", "write"]


@dataclass(frozen=True)
class GridSpec:
    """One token grid of the image span, without sequence positions.

    ``rectangles`` has shape (rows, cols, 4): x0, y0, x1, y1 of the image
    pixels that each cell stands for (float32, inside the image; cells that
    stand for padding alone are empty).
    """

    name: str
    rows: int
    cols: int
    rectangles: FloatArray


@dataclass(frozen=True)
class Plan:
    """What a job is going to do, sent once before the first step."""

    run_id: str
    method: str
    n_steps: int
    n_positions: int
    layers: tuple[int, ...]
    grids: tuple[GridSpec, ...]
    valid: BoolArray  # (steps, layers)
    requested_steps: tuple[int, ...] | None  # None until the answer is known ("commit")
    prompt: str
    model: str
    forward_passes: int
    backward_passes: int
    seconds: float | None
    bytes_on_disk: int
    path: str
    default_layer: int = -1  # layer to show first; -1 where there is no opinion


@dataclass(frozen=True)
class Progress:
    """Work units done in the present phase; ``eta_seconds`` is None until it can be estimated."""

    phase: Phase
    done: int
    total: int
    eta_seconds: float | None


@dataclass(frozen=True)
class CanvasStep:
    """State of the answer canvas after one denoising step (phase "generate").

    ``guesses`` holds the argmax token of every position at this step, so that a
    masked position can show what the model leans to.
    """

    step: int
    token_ids: IntArray  # (positions,)
    guesses: IntArray  # (positions,)
    confidence: FloatArray  # (positions,) probability of the guess or of the written token
    committed: BoolArray  # (positions,) written at this very step
    texts: tuple[str, ...]  # display text of token_ids; "" where masked
    guess_texts: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """The finished answer, sent when generation ends and before the first map."""

    token_ids: IntArray  # (positions,)
    texts: tuple[str, ...]
    text: str
    commit_step: IntArray  # (positions,)
    targets: tuple[int, ...]  # positions that will be explained
    requested_steps: tuple[int, ...]


@dataclass(frozen=True)
class MapStep:
    """Maps of one denoising step (phase "explain"); also sent for steps restored by a resume.

    ``maps[grid_name]`` has shape (layers, targets, rows, cols), float32 raw
    values (not normalised), NaN where a (target, step) pair was not requested.
    """

    step: int
    layers: tuple[int, ...]
    targets: tuple[int, ...]
    maps: dict[str, FloatArray]
    target_probability: FloatArray  # (targets,) probability of the final token at this step


@dataclass(frozen=True)
class Notice:
    """Something the user should know that does not stop the job."""

    message: str
    mend: str = ""


@dataclass(frozen=True)
class Failure:
    """The job ended with an error; what was finished is in ``kept_path`` (or None)."""

    kind: str
    message: str
    kept_path: str | None = None


@dataclass(frozen=True)
class Done:
    """The job ended; ``cancelled`` jobs keep their finished steps at ``path``."""

    path: str
    cancelled: bool = False
    seconds: float = 0.0
    extra: dict[str, float] = field(default_factory=dict)


Event = Plan | Progress | CanvasStep | Answer | MapStep | Notice | Failure | Done
EventSink = Callable[[Event], None]
