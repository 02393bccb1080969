"""Stretching to the full range, the step between CBA and SICD in the published procedure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from diffcam_core.refinement.parameters import Context, DoubleArray, Parameters

# Found by fitting the published outputs: it shows only on maps that are noise of 1e-6 or so.
_SOFTENER = 2e-8


@dataclass(frozen=True)
class Rescale(Parameters):
    """Clip to the largest value of the input, then stretch to [0, 1]; constant maps stay."""

    KIND: ClassVar[str] = "rescale"
    TITLE: ClassVar[str] = "Rescale"
    HELP: ClassVar[str] = "Stretches the map to the full range from 0 to 1."
    SOURCE: ClassVar[str] = "Diffusion-CAM, released code"

    def __call__(self, maps: DoubleArray, context: Context) -> DoubleArray:
        """Rescale a checked (K, H, W) batch."""
        if len(maps) == 0:
            return maps
        if context.input_max is not None:
            maps = np.clip(maps, 0.0, context.input_max)
        low = maps.min(axis=(1, 2), keepdims=True)
        span = maps.max(axis=(1, 2), keepdims=True) - low
        return np.where(span > 0, (maps - low) / (span + _SOFTENER), maps)
