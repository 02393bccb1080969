"""Hidden states of chosen layers and exact gradients of K target scores, in few passes."""

from __future__ import annotations

from diffcam_core.probing.prober import Prober, ProbeResult, planned_chunk, probe
from diffcam_core.probing.scoring import StepScorer, StepScores
from diffcam_core.probing.targets import Contrast, Target
from diffcam_core.probing.trajectory import Trajectory

__all__ = [
    "Contrast",
    "ProbeResult",
    "Prober",
    "StepScorer",
    "StepScores",
    "Target",
    "Trajectory",
    "planned_chunk",
    "probe",
]
