"""The projector from vision width to language width: two linear layers with GELU between."""

from __future__ import annotations

from torch import nn

PROJECTOR_PREFIX = "model.mm_projector."


def make_projector(vision_width: int, width: int) -> nn.Sequential:
    """Build ``mlp2x_gelu``; its parameters are named ``0.weight … 2.bias`` as in checkpoints."""
    return nn.Sequential(nn.Linear(vision_width, width), nn.GELU(), nn.Linear(width, width))
