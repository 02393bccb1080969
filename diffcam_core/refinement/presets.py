"""The three presets: as published in code, as stated in the paper, and our own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from diffcam_core.refinement.akd import AKD
from diffcam_core.refinement.cba import CBA
from diffcam_core.refinement.dacg import DACG
from diffcam_core.refinement.pipeline import Pipeline, Stage
from diffcam_core.refinement.rescale import Rescale
from diffcam_core.refinement.sicd import SICD
from diffcam_core.refinement.studio import Background, Focus, Rivals, Smooth

RELEASED: Final = Pipeline(
    (
        # The number of steps is the constant 2 there and the size that of the token grid, so that
        # the kernel is always 3.
        Stage("akd", AKD(fixed_steps=2, size_from="map")),
        Stage("dacg", DACG(domain="column")),
        Stage("cba", CBA()),
        Stage("rescale", Rescale()),
        Stage("sicd", SICD(counting="ids")),
    ),
    "released",
    "The published code with its constants and its modules without effect, without its noise.",
)

PAPER: Final = Pipeline(
    (
        Stage("akd", AKD()),
        Stage("dacg", DACG()),
        Stage("cba", CBA()),
        Stage("rescale", Rescale()),
        # The only place where the paper prints the two weights has them this way round.
        Stage("sicd", SICD(repeat_weight=0.02, peak_weight=0.05)),
    ),
    "paper",
    "What the paper states: kernel from steps, spread and image size; gating in the plane.",
)

STUDIO: Final = Pipeline(
    (
        # Constants from tools/tune_studio_preset.py on 120 training scenes of the embedded model,
        # layer 0; the table on held-out scenes is in docs/method.md.
        Stage("rivals", Rivals(strength=1.0)),
        Stage("background", Background(spreads=1.2, limit=0.5)),
        Stage("smooth", Smooth(sigma=0.85)),
        Stage("focus", Focus(cut=1.7, softness=0.15, gamma=2.0, floor=0.02)),
        Stage("rescale", Rescale()),
    ),
    "studio",
    "Ours: other words subtracted, robust background, light smoothing, smooth focus.",
)

PRESETS: Final[Mapping[str, Pipeline]] = MappingProxyType(
    {pipeline.name: pipeline for pipeline in (RELEASED, PAPER, STUDIO)}
)
"""Presets by name."""
