"""Attribution methods: probed states and gradients in, raw maps on the image grids out."""

from __future__ import annotations

from types import MappingProxyType

from diffcam_core.attribution.attention import ATTENTION
from diffcam_core.attribution.diffusion_cam import DIFFUSION_CAM, DIFFUSION_CAM_RELEASED
from diffcam_core.attribution.diffusion_cam_variants import (
    DIFFUSION_CAM_CONTRASTIVE,
    DIFFUSION_CAM_SIGNED,
)
from diffcam_core.attribution.grad_cam import GRAD_CAM
from diffcam_core.attribution.gradient_norm import GRADIENT_NORM
from diffcam_core.attribution.gradient_x_input import GRADIENT_X_INPUT
from diffcam_core.attribution.integrated_gradients import INTEGRATED_GRADIENTS
from diffcam_core.attribution.llava_cam import LLAVA_CAM, LLAVA_CAM_SMOOTH
from diffcam_core.attribution.logit_lens import LOGIT_LENS
from diffcam_core.attribution.method import Method, Passes, Regime, StepMaps, Workload
from diffcam_core.attribution.occlusion import OCCLUSION
from diffcam_core.attribution.rise import RISE
from diffcam_core.attribution.rollout import ROLLOUT
from diffcam_core.attribution.tam import TAM

METHODS = MappingProxyType(
    {
        method.name: method
        for method in (
            DIFFUSION_CAM,
            DIFFUSION_CAM_RELEASED,
            DIFFUSION_CAM_SIGNED,
            DIFFUSION_CAM_CONTRASTIVE,
            GRAD_CAM,
            LLAVA_CAM,
            LLAVA_CAM_SMOOTH,
            GRADIENT_X_INPUT,
            GRADIENT_NORM,
            INTEGRATED_GRADIENTS,
            TAM,
            LOGIT_LENS,
            ATTENTION,
            ROLLOUT,
            OCCLUSION,
            RISE,
        )
    }
)
"""Every method by name; a rival is one more file and one more entry here."""

__all__ = ["METHODS", "Method", "Passes", "Regime", "StepMaps", "Workload"]
