"""Attribution methods: probed states and gradients in, raw maps on the image grids out."""

from __future__ import annotations

from types import MappingProxyType

from diffcam_core.attribution.diffusion_cam import DIFFUSION_CAM, DIFFUSION_CAM_RELEASED
from diffcam_core.attribution.method import Method, Passes, Regime, StepMaps

METHODS = MappingProxyType(
    {method.name: method for method in (DIFFUSION_CAM, DIFFUSION_CAM_RELEASED)}
)
"""Every method by name; a rival is one more file and one more entry here."""

__all__ = ["METHODS", "Method", "Passes", "Regime", "StepMaps"]
