"""What a diffusion multimodal language model is to us, and how to load one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffcam_core.models.llada import Backbone, BackboneOutput, LladaConfig
from diffcam_core.models.loading import load_backbone, load_model

if TYPE_CHECKING:
    from diffcam_core.models.base import DiffusionVLM, ModelInfo, Prompt

__all__ = [
    "Backbone",
    "BackboneOutput",
    "DiffusionVLM",
    "LladaConfig",
    "ModelInfo",
    "Prompt",
    "load_backbone",
    "load_model",
]


def __getattr__(name: str) -> object:
    # The bare backbone needs neither tokenizers nor Pillow, so these wait until they are asked for.
    if name in ("DiffusionVLM", "ModelInfo", "Prompt"):
        from diffcam_core.models import base

        return getattr(base, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
