"""How a masked answer becomes text: schedules, remasking rules and the sampler loop.

`GenerationConfig` and `tokens_per_step` need no torch; the sampler is loaded when it is
first asked for, so that planning a run or reading a run file never imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffcam_core.denoising.config import REMASKING, SCHEDULES, GenerationConfig
from diffcam_core.denoising.schedules import tokens_per_step

if TYPE_CHECKING:
    from diffcam_core.denoising.sampler import (
        StepRecord,
        sample,
        sample_batch,
        sample_batch_from_backbone,
        sample_from_backbone,
    )

__all__ = [
    "REMASKING",
    "SCHEDULES",
    "GenerationConfig",
    "StepRecord",
    "sample",
    "sample_batch",
    "sample_batch_from_backbone",
    "sample_from_backbone",
    "tokens_per_step",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from diffcam_core.denoising import sampler

        return getattr(sampler, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
