"""What a diffusion multimodal language model is to us, and how to load one."""

from __future__ import annotations

from diffcam_core.models.llada import Backbone, BackboneOutput, LladaConfig
from diffcam_core.models.loading import load_backbone

__all__ = ["Backbone", "BackboneOutput", "LladaConfig", "load_backbone"]
