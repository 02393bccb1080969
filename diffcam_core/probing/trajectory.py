"""What the model read at each denoising step, so that a step can be run again with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import TargetError
from diffcam_core.models.base import Prompt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trajectory:
    """The canvases of one finished generation and the regime that they were read in.

    Attributes
    ----------
    prompt : Prompt
        The packed prompt, image included.
    canvases : ndarray of int64, shape (steps, L)
        Answer ids BEFORE each step, that is, what the forward pass of the step reads.
    mask_id : int
        The id that stands where nothing is written yet.
    prefix_cache : bool
        True: the prompt was read once, without the answer. False: with the answer, every step.
    """

    prompt: Prompt
    canvases: IntArray
    mask_id: int
    prefix_cache: bool

    def __post_init__(self) -> None:
        canvases = np.asarray(self.canvases, dtype=np.int64)
        if canvases.ndim != 2 or 0 in canvases.shape:
            raise TargetError(
                f"canvases have shape {canvases.shape}, not (steps, answer positions)",
                "Give one row of answer ids for each denoising step.",
            )
        object.__setattr__(self, "canvases", canvases)

    @classmethod
    def from_written(
        cls, prompt: Prompt, written: Sequence[IntArray], mask_id: int, prefix_cache: bool
    ) -> Trajectory:
        """Build from the canvases AFTER each step, (steps, L), as the sampler records them."""
        after = np.asarray(written, dtype=np.int64)
        first = np.full((1, after.shape[-1]), mask_id, dtype=np.int64)
        return cls(prompt, np.concatenate((first, after[:-1])), mask_id, prefix_cache)

    @property
    def n_steps(self) -> int:
        """Number of denoising steps."""
        return int(self.canvases.shape[0])

    @property
    def n_positions(self) -> int:
        """Length L of the answer canvas."""
        return int(self.canvases.shape[1])
