"""Arithmetic of a training run."""

from __future__ import annotations

from enum import StrEnum

import torch


class Precision(StrEnum):
    """What activations are computed in; weights and optimisers stay float32.

    bfloat16 is the faster one only on processors that multiply it natively
    (AVX512-BF16, AMX); elsewhere it is emulated, measured 20 to 50 times slower.
    """

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"

    def autocast(self) -> torch.autocast:
        """Context in which a forward pass runs."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self is Precision.BFLOAT16)
